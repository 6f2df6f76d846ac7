"""Edges grouped by the node at one of their ends, as kernels walk them."""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

_MAX_CHUNKS = 64  # many more than threads, so that all have work to the end
_MIN_EDGES = 1024  # fewer are not worth a chunk of their own


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
class Rows:
    """The edges of a structure, grouped by the node at one of their ends.

    Attributes:
        ptr: Edges of node ``i`` stand at ``ptr[i]:ptr[i + 1]``, ``(N + 1,)``, int64.
        neighbor: The node at the other end of each edge, ``(E,)``, int32 where it fits; in range.
        order: The position of each edge in the structure, ``(E,)``, of the type of ``neighbor``.
        twin: Where each edge stands in the grouping by target, ``(E,)``, of the same type; ``None``
            in that grouping itself.
    """

    ptr: Tensor
    neighbor: Tensor
    order: Tensor
    twin: Tensor | None = None

    @cached_property
    def chunks(self) -> Chunks:
        """How the edges are cut."""
        num_rows, num_edges = self.ptr.shape[0] - 1, self.order.shape[0]
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
