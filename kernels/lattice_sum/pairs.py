"""What sums over crystals share in Triton: pairs of atoms, their images, gradients gathered."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from graphattn.kernels.lattice_sum.images import owners
from graphattn.kernels.segment_reduce.triton import segment_reduce

jit: Callable[[Any], Any] = triton.jit  # with types, which Triton's own has not


class Crystals(NamedTuple):
    """What kernels read of crystals.

    Attributes:
        place: Query, key and crystal of each pair, ``(P, 3)``, int32.
        position: ``(N, 3)``.
        cell: Vectors of the lattice, or of the reciprocal one, ``(S, 3, 3)``.
        limits: Of images or waves, ``(S, 3)``, int64.
        sigma: ``(N, H)``.
    """

    place: Tensor
    position: Tensor
    cell: Tensor
    limits: Tensor
    sigma: Tensor


class Pairs(NamedTuple):
    """All pairs of atoms of each crystal.

    Attributes:
        place: Query, key and crystal of each pair, ``(P, 3)``, int32.
        first: The first pair of each query, and the number of pairs, ``(N + 1,)``, int64.
        ptr: The first atom of each crystal, and the number of atoms, ``(S + 1,)``, int64.
    """

    place: Tensor
    first: Tensor
    ptr: Tensor

    @classmethod
    def of(cls, ptr: Tensor, num_atoms: int, num_pairs: int) -> "Pairs":
        """The pairs of crystals with these boundaries, without waiting for the device."""
        crystal = owners(ptr, num_atoms)
        sizes = ptr.diff()[crystal]
        first = torch.cat([sizes.new_zeros(1), sizes.cumsum(0)])
        atom = torch.arange(num_atoms, device=ptr.device)
        query = atom.repeat_interleave(sizes, output_size=num_pairs)
        pair = torch.arange(num_pairs, device=ptr.device)
        key = pair - first[query] + ptr[crystal[query]]
        return cls(torch.stack([query, key, crystal[query]], dim=1).int(), first, ptr)

    def crystals(self, position: Tensor, cell: Tensor, limits: Tensor, sigma: Tensor) -> Crystals:
        """What kernels read; the limits may be on the CPU."""
        limits = limits.to(sigma.device, non_blocking=True)
        tensors = (self.place, position, cell, limits, sigma)
        return Crystals(*(t.contiguous() for t in tensors))

    def by_query(self, x: Tensor) -> Tensor:
        """Sums over the keys of each query, of what is known of pairs."""
        return segment_reduce(x, self.first, "sum")

    def gathered(self, pulls: Tensor) -> tuple[Tensor, Tensor]:
        """Gradients of positions, ``(N, 3)``, and of the vectors of cells, ``(S, 3, 3)``.

        Args:
            pulls: At the three vectors of the cell and at that of the pair, ``(P, 4, 4)``, float64.
        """
        query, key, crystal = self.place.long().T
        twin = self.first[key] + query - self.ptr[crystal]  # the pair of the same two, as seen back
        apart = pulls[:, 3, :3]
        of_cell = segment_reduce(self.by_query(pulls[:, :3, :3]), self.ptr, "sum")
        return self.by_query(apart[twin] - apart), of_cell


@jit
def pair_of(pair: tl.tensor, given: tl.tuple) -> tl.tuple:
    """Atoms and crystal of a pair, and the vectors of the cell above that between the atoms."""
    place = given.place + pair * 3
    query, key = tl.load(place).to(tl.int64), tl.load(place + 1).to(tl.int64)
    crystal = tl.load(place + 2).to(tl.int64)
    row, column = tl.arange(0, 4)[:, None], tl.arange(0, 4)[None, :]
    is_axis = column < 3
    start = tl.load(given.position + query * 3 + column, mask=is_axis, other=0)
    end = tl.load(given.position + key * 3 + column, mask=is_axis, other=0)
    at = given.cell + crystal * 9 + row * 3 + column
    vectors = tl.load(at, mask=is_axis & (row < 3), other=0)
    return query, key, crystal, tl.where(row == 3, end - start, vectors)


@jit
def box_of(crystal: tl.tensor, limits: tl.tensor, is_half: tl.constexpr) -> tl.tuple:
    """How the images of a crystal are numbered, and how many there are.

    Of two images that are opposite one another, half of them leave out one.
    """
    limits += crystal * 3
    first, second = tl.load(limits).to(tl.int32), tl.load(limits + 1).to(tl.int32)
    third = tl.load(limits + 2).to(tl.int32)
    lowest = 0 if is_half else -first
    rows, columns, size = first - lowest + 1, 2 * second + 1, 2 * third + 1
    axis = tl.arange(0, 4)[None, :]
    step = _along(axis, columns * size, size, 1)
    start = _along(axis, lowest, -second, -third)
    return (step, _along(axis, rows, columns, size), start), rows * columns * size


@jit
def _along(axis: tl.tensor, first: tl.tensor, second: tl.tensor, third: tl.tensor) -> tl.tensor:
    return tl.where(axis == 0, first, tl.where(axis == 1, second, tl.where(axis == 2, third, 1)))


@jit
def numbers(index: tl.tensor, box: tl.tuple) -> tl.tensor:
    """How many of each vector of the cell lead to images, and one of the pair's: (images, 4)."""
    return index[:, None] // box[0] % box[1] + box[2]


@jit
def combined(number: tl.tensor, vectors: tl.tensor) -> tl.tensor:
    """Sums of so many of each vector: (images, 4)."""
    return tl.sum(number.to(vectors.dtype)[:, :, None] * vectors[None, :, :], 1)
