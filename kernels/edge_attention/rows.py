"""Edges grouped by the node at one of their ends, as kernels walk them."""

from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple

import torch
from torch import Tensor

End = Literal["target", "source"]
Layout = Literal["edges", "blocks"]
_MAX_CHUNKS = 64  # many more than threads, so that all have work to the end
_MIN_EDGES = 1024  # fewer are not worth a chunk of their own
PIECE = 512  # edges of a row that one instance of a kernel on a GPU takes at most


class Kind(NamedTuple):
    """What kernels are compiled for: the type of positions, and how edges are found."""

    positions: torch.dtype
    layout: Layout


INT32_EDGES = Kind(torch.int32, "edges")


@dataclass(frozen=True)
class Chunks:
    """Runs of edges with about as much work each; the units that workers take.

    They depend on the structure only, never on the number of threads. A row with more edges than a
    quarter of a chunk may be shared by several: what they find of it is merged in order.

    Attributes:
        rows: The row in which each chunk begins, ``(K + 1,)``, int64.
        cuts: Its first edge, ``(K + 1,)``, int64.
        count: ``K``.
        shares_rows: Whether a chunk begins within a row.
    """

    rows: Tensor
    cuts: Tensor
    count: int
    shares_rows: bool


@dataclass(frozen=True)
class Pieces:
    """Rows, those with many edges cut into several pieces; the units that a GPU's instances take.

    Their shapes depend on the numbers of nodes and edges alone, so that nobody has to wait for the
    device to say how many there are; the last ones may be spare.

    Attributes:
        row: The row of each piece, ``(K,)``, int64; the number of rows for a spare one.
        first: The first piece of each row, ``(N,)``, int64.
        first_slot: Where the first piece of a row that is cut leaves what it finds, ``(N + 1,)``,
            int64.
        split_rows: The rows that are cut, int64; the number of rows in spare places.
        num_slots: How many pieces may have to leave something.
        count: ``K``.
    """

    row: Tensor
    first: Tensor
    first_slot: Tensor
    split_rows: Tensor
    num_slots: int
    count: int


@dataclass(frozen=True)
class Rows:
    """The edges of a structure, grouped by the node at one of their ends.

    Where the edges are all pairs of blocks, each row's neighbors follow one another, and the edges
    stand in the structure target by target; then there is nothing of the length of the edges.

    Attributes:
        ptr: Edges of node ``i`` stand at ``ptr[i]:ptr[i + 1]``, ``(N + 1,)``, int64.
        neighbor: The node at the other end of each edge, ``(E,)``, int32 where it fits; in range.
            Of blocks, the first neighbor of each row, ``(N,)``, int64.
        order: The position of each edge in the structure, ``(E,)``, of the type of ``neighbor``. Of
            blocks, the place of each row in its own set, ``(N,)``.
        twin: Where each edge stands in the grouping by target, ``(E,)``, of the same type; ``None``
            in that grouping itself. Of blocks, the ``ptr`` of that grouping.
        num_pairs: ``E`` of blocks, ``None`` otherwise.
    """

    ptr: Tensor
    neighbor: Tensor
    order: Tensor
    twin: Tensor | None = None
    num_pairs: int | None = None

    @property
    def num_edges(self) -> int:
        """``E``."""
        return self.order.shape[0] if self.num_pairs is None else self.num_pairs

    @property
    def layout(self) -> Layout:
        """How the edges are found."""
        return "edges" if self.num_pairs is None else "blocks"

    @property
    def kind(self) -> Kind:
        """What a kernel must be compiled for to walk these rows."""
        return Kind(self.neighbor.dtype, self.layout)

    @cached_property
    def chunks(self) -> Chunks:
        """How the edges are cut."""
        num_rows, num_edges = self.ptr.shape[0] - 1, self.num_edges
        count = max(1, min(_MAX_CHUNKS, num_edges // _MIN_EDGES))
        if count == 1:
            return Chunks(torch.tensor([0, num_rows]), torch.tensor([0, num_edges]), 1, False)
        # Rows count as an edge each, so that a run of empty rows is work too.
        work = self.ptr + torch.arange(num_rows + 1)
        goals = torch.arange(1, count) * (num_edges + num_rows) // count
        rows = torch.searchsorted(work, goals, right=True) - 1
        first, size = self.ptr[rows], self.ptr[rows + 1] - self.ptr[rows]
        is_shared = size > num_edges // (4 * count)
        cuts = torch.where(is_shared, torch.minimum(goals - rows, first + size), first)
        rows = torch.where(cuts == first + size, rows + 1, rows)
        within = bool((cuts > self.ptr[rows]).any())
        zero = rows.new_zeros(1)
        rows = torch.cat([zero, rows, rows.new_full((1,), num_rows)])
        cuts = torch.cat([zero, cuts, cuts.new_full((1,), num_edges)])
        return Chunks(rows, cuts, count, within)

    @cached_property
    def pieces(self) -> Pieces:
        """How the rows are cut."""
        num_rows, num_edges = self.ptr.shape[0] - 1, self.num_edges
        most_split = num_edges // PIECE  # each row that is cut has more edges than a piece
        of_row = (self.ptr.diff() + (PIECE - 1)).div(PIECE, rounding_mode="floor").clamp(min=1)
        is_split = of_row > 1
        ends, ends_of_split = of_row.cumsum(0), is_split.cumsum(0)
        slots = (of_row * is_split).cumsum(0)
        count = num_rows + most_split
        return Pieces(
            row=torch.searchsorted(ends, torch.arange(count, device=ends.device), right=True),
            first=ends - of_row,
            first_slot=torch.cat([slots.new_zeros(1), slots]),
            split_rows=torch.searchsorted(
                ends_of_split, torch.arange(1, most_split + 1, device=ends.device)
            ),
            num_slots=2 * most_split,
            count=count,
        )
