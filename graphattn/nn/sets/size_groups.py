"""Sets in order of their sizes, so that those of one size stand together as one dense batch."""

from collections import Counter
from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from graphattn.blocks import Blocks
from graphattn.dynamo import unseen
from graphattn.kernels.cpp.fallback import is_transformed
from graphattn.transforms import outside_transforms


class SizeGroups:
    """The sets of a structure: those of many pairs by size, and the others in one structure.

    Args:
        blocks: The structure.
        least_pairs: Sets with fewer pairs than this are small.
        many_pairs: So are sets of one size that have fewer than this together.

    Attributes:
        counts: Number of large sets of each size; without any, all sets are small ones, and there
            is nothing to put in order.
    """

    @outside_transforms
    def __init__(self, blocks: Blocks, least_pairs: int, many_pairs: int) -> None:
        self._small: Blocks | None = None
        size = _one_size(blocks)
        if size is not None:  # found without a walk over the sets
            pairs = size[0] * size[1]
            is_large = pairs >= least_pairs and blocks.num_sets * pairs >= many_pairs
            self.counts = [blocks.num_sets] * is_large
            self._queries, self._keys = (
                _Rows([number], None) for number in (blocks.num_targets, blocks.num_sources)
            )
            return
        sizes = list(zip(blocks.target_sizes, blocks.source_sizes, strict=True))
        counted = Counter(sizes).items()
        groups = {
            (queries, keys): count
            for (queries, keys), count in counted
            if queries * keys >= least_pairs and count * queries * keys >= many_pairs
        }
        self.counts = list(groups.values())
        if not groups:
            return
        numbers = {size: number for number, size in enumerate(groups)}
        order = sorted(range(len(sizes)), key=lambda s: numbers.get(sizes[s], -1))
        small = [sizes[s] for s in order if sizes[s] not in groups]
        if small:
            ends = ([0, *(size[end] for size in small)] for end in (0, 1))
            borders = (torch.tensor(own).cumsum(0) for own in ends)
            self._small = Blocks.from_ptr(*borders).to(blocks.device)
        is_sorted = order == list(range(len(sizes)))
        self._queries, self._keys = (
            _Rows(
                [*rows, *(count * size[end] for size, count in groups.items())],
                None if is_sorted else _order(ptr, order),
            )
            for end, rows, ptr in (
                (0, [self._small.num_targets] if self._small else [], blocks.target_ptr),
                (1, [self._small.num_sources] if self._small else [], blocks.source_ptr),
            )
        )

    def attend(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        of_small: Callable[[Blocks, Tensor, Tensor, Tensor], Tensor],
        of_large: Callable[[Tensor, Tensor, Tensor], Tensor],
    ) -> Tensor:
        """Attention of every query over the keys of its set, group by group; there must be some.

        Args:
            query: ``(N, H, C)``.
            key: ``(M, H, C)``.
            value: ``(M, H, D)``.
            of_small: Attends in a structure.
            of_large: Attends in a dense batch, ``(B, H, n, C)``, to ``(B, H, n, D)``.

        Returns:
            ``(N, H, D)``.
        """
        rows = (self._queries, self._keys, self._keys)
        parts = [own.split(x) for own, x in zip(rows, (query, key, value), strict=True)]
        groups = list(zip(*parts, strict=True))
        found = [] if self._small is None else [of_small(self._small, *groups.pop(0))]
        for count, own in zip(self.counts, groups, strict=True):
            dense = (x.unflatten(0, (count, -1)).transpose(1, 2) for x in own)
            found.append(of_large(*dense).transpose(1, 2).flatten(0, 1))
        return self._queries.joined(found)


def _one_size(blocks: Blocks) -> tuple[int, int] | None:
    """How many queries and keys every set has, if all have as many."""
    ends = [ptr.diff() for ptr in (blocks.target_ptr, blocks.source_ptr)]
    if blocks.num_sets == 0 or any(bool((sizes != sizes[0]).any()) for sizes in ends):
        return None
    return int(ends[0][0]), int(ends[1][0])


class _Rows:
    """The queries or the keys of the groups: how many of each, and where they come from."""

    def __init__(self, counts: list[int], order: tuple[Tensor, Tensor] | None) -> None:
        self.counts, self.order = counts, order

    def split(self, x: Tensor) -> tuple[Tensor, ...]:
        """The rows of each group."""
        x = x if self.order is None else _permuted(x, *self.order)
        # Not slices of them: the derivative of each slice is as large as the whole.
        return x.split(self.counts) if len(self.counts) > 1 else (x,)

    def joined(self, parts: list[Tensor]) -> Tensor:
        """All rows where they came from."""
        x = parts[0] if len(parts) == 1 else torch.cat(parts)
        return x if self.order is None else _permuted(x, *self.order[::-1])


_known: "WeakKeyDictionary[Blocks, dict[tuple[int, int], SizeGroups]]" = WeakKeyDictionary()


@unseen  # it counts, and keeps what it finds
def size_groups(blocks: Blocks, least_pairs: int, many_pairs: int) -> SizeGroups:
    """The groups of a structure; made once, for all layers that attend in it."""
    known = _known.setdefault(blocks, {})
    limits = (least_pairs, many_pairs)
    if limits not in known:
        known[limits] = SizeGroups(blocks, *limits)
    return known[limits]


def _order(ptr: Tensor, order: list[int]) -> tuple[Tensor, Tensor]:
    """Which rows are read to put sets in order, ``(N,)``, and the inverse."""
    chosen = torch.tensor(order, device=ptr.device)
    sizes = ptr.diff()[chosen]
    begins = sizes.cumsum(0) - sizes
    shift = (ptr[:-1][chosen] - begins).repeat_interleave(sizes, output_size=int(ptr[-1]))
    rows = shift + torch.arange(len(shift), device=ptr.device)
    return rows, rows.argsort()


def _permuted(x: Tensor, rows: Tensor, inverse: Tensor) -> Tensor:
    if torch.compiler.is_compiling() or is_transformed():
        return x.index_select(0, rows)
    permuted: Tensor = _Permutation.apply(x, rows, inverse)
    return permuted


class _Permutation(torch.autograd.Function):
    """A permutation of rows: its derivative reads rows too, where that of a gather adds to them."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, rows: Tensor, inverse: Tensor) -> Tensor:
        ctx.save_for_backward(rows, inverse)
        return x.index_select(0, rows)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        rows, inverse = ctx.saved_tensors
        return _permuted(gradient, inverse, rows), None, None
