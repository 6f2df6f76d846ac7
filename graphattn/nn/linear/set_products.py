"""Sums of products over the elements of each set, and products with what a set has: both linear."""

import torch
from torch import Tensor

from graphattn.blocks import Blocks
from graphattn.kernels.segment_reduce.op import segment_expand, segment_reduce

# Elements of sets of unequal size are multiplied in tiles of so many: short ones waste little where
# sets are small, long ones make few products. (Measured forward and backward, 4 heads of 16 to 32
# channels: 5 times as fast as a loop over 2,000 sets of 25, 10 times as all outer products.)
_TILES = {"small": 16, "large": 64}
_LARGE = 64  # elements on average


class SetTiles:
    r"""The elements of sets, cut into tiles of equal length for products of matrices.

    A sum over a set of outer products, :math:`\sum_i a_i b_i^\top`, is a product of two matrices.
    Sets of one size take part as one batch of these; others are cut into tiles, the last of which
    is filled up with zeros, and the tiles of a set are summed. So nothing is as large as all outer
    products, and no loop runs over the sets.

    Args:
        blocks: The sets; the elements are the queries.
    """

    def __init__(self, blocks: Blocks) -> None:
        ptr, num_rows, num_sets = blocks.target_ptr, blocks.num_targets, blocks.num_sets
        most = blocks.most_targets
        self.are_sets = num_rows > 0 and num_rows == num_sets * most
        if self.are_sets:  # every set is a tile
            self.length, self.num_tiles = most, num_sets
            return
        tile = _TILES["small" if num_rows <= _LARGE * num_sets else "large"]
        self.length = max(min(most, tile), 1)
        sizes = ptr.diff()
        tiles = (sizes + (self.length - 1)).div(self.length, rounding_mode="floor")
        if torch.compiler.is_compiling():  # not known to a graph: the most, some of them empty
            self.num_tiles = num_rows // self.length + min(num_rows, num_sets)
        else:
            self.num_tiles = int(tiles.sum())
        first = tiles.cumsum(0) - tiles
        self.ptr = torch.cat([first, first.new_full((1,), self.num_tiles)])  # of each set, (S + 1,)
        shift = first * self.length - ptr[:-1]
        shift = shift.repeat_interleave(sizes, output_size=num_rows)
        self.place = shift + torch.arange(num_rows, device=ptr.device)  # in the tiles, (N,)

    def outer_sums(self, left: Tensor, right: Tensor) -> Tensor:
        """The sum over each set of the outer products of two features of its elements.

        Args:
            left: ``(N, H, A)``.
            right: ``(N, H, B)``.

        Returns:
            ``(S, H, A, B)``; zeros for an empty set.
        """
        products = self._cut(left).transpose(-1, -2) @ self._cut(right)  # (tiles, H, A, B)
        return products if self.are_sets else segment_reduce(products, self.ptr)

    def products(self, left: Tensor, matrices: Tensor) -> Tensor:
        """Every element's features times the matrix of its set; the adjoint of ``outer_sums``.

        Args:
            left: ``(N, H, A)``.
            matrices: ``(S, H, A, B)``.

        Returns:
            ``(N, H, B)``.
        """
        if not self.are_sets:
            matrices = segment_expand(matrices.contiguous(), self.ptr, self.num_tiles)
        found = (self._cut(left) @ matrices).transpose(1, 2).flatten(0, 1)
        return found if self.are_sets else found.index_select(0, self.place)

    def _cut(self, x: Tensor) -> Tensor:
        """The features of each tile, ``(tiles, H, length, A)``."""
        if not self.are_sets:
            room = x.new_zeros(self.num_tiles * self.length, *x.shape[1:])
            x = room.index_copy(0, self.place, x)
        return x.unflatten(0, (self.num_tiles, self.length)).transpose(1, 2)
