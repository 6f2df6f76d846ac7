"""Edges grouped by the node at one of their ends, as kernels walk them."""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

_MAX_CHUNKS = 64  # many more than threads, so that all have work to the end
_MIN_EDGES = 1024  # fewer are not worth a chunk of their own


@dataclass(frozen=True)
class Rows:
    """The edges of a structure, grouped by the node at one of their ends.

    Attributes:
        ptr: Edges of node ``i`` stand at ``ptr[i]:ptr[i + 1]``, ``(N + 1,)``, int64.
        neighbor: The node at the other end of each edge, ``(E,)``, int32 where it fits; in range.
        order: The position of each edge in the structure, ``(E,)``, of the type of ``neighbor``.
    """

    ptr: Tensor
    neighbor: Tensor
    order: Tensor

    @cached_property
    def chunks(self) -> Tensor:
        """Bounds of runs of rows with about as many edges each, ``(K + 1,)``, int64.

        They depend on the structure only, never on the number of threads.
        """
        num_rows, num_edges = self.ptr.shape[0] - 1, self.order.shape[0]
        count = max(1, min(_MAX_CHUNKS, num_edges // _MIN_EDGES, num_rows))
        # Rows count as an edge each, so that a run of empty rows is work too.
        work = self.ptr + torch.arange(num_rows + 1)
        goals = torch.arange(1, count) * (num_edges + num_rows) // count
        cuts = torch.searchsorted(work, goals)
        return torch.cat([cuts.new_zeros(1), cuts, cuts.new_full((1,), num_rows)])
