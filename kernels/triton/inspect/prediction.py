"""How long a kernel takes at the least on a GPU that is not there: a prediction, not a timing."""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from graphattn.kernels.edge_attention.rows import End
from graphattn.kernels.triton.inspect.inspection import Inspection
from graphattn.kernels.triton.inspect.minimum import Minimum


@dataclass(frozen=True)
class Machine:
    """A GPU.

    Attributes:
        name: What it is called.
        architecture: What its kernels are compiled for.
        bandwidth: Bytes of its memory a second.
        issues: Instructions of warps a second, of all its schedulers together.
    """

    name: str
    architecture: str
    bandwidth: float
    issues: float


# NVIDIA, "H100 Tensor Core GPU" data sheet, SXM: 3.35 TB/s. 132 multiprocessors of four schedulers,
# at the 1.98 GHz that its 66.9 TFLOP/s in float32 say (128 multiply-adds a cycle in each).
H100 = Machine("H100 SXM", "sm_90", 3.35e12, 132 * 4 * 1.98e9)


@dataclass(frozen=True)
class Graph:
    """A random graph; sources are drawn evenly, targets more often the lower their number.

    Attributes:
        num_nodes: ``N``.
        num_edges: ``E``.
    """

    num_nodes: int
    num_edges: int

    @property
    def degree(self) -> float:
        """Mean number of edges of a row."""
        return self.num_edges / self.num_nodes

    @cached_property
    def _degrees(self) -> dict[End, Tensor]:
        """Number of edges of each target and each source, ``(N,)``, int64."""
        generator = torch.Generator().manual_seed(0)
        drawn = torch.rand(2, self.num_edges, generator=generator, dtype=torch.float64)
        drawn[0].square_()
        ends = (drawn * self.num_nodes).long()
        target, source = (torch.bincount(end, minlength=self.num_nodes) for end in ends)
        return {"target": target, "source": source}

    def num_tiles(self, end: End, edges: int) -> int:
        """How many tiles hold all edges, if a tile holds edges of one row alone.

        Args:
            end: ``"target"`` or ``"source"``: whose rows those are.
            edges: How many fit in a tile.
        """
        return int(((self._degrees[end] + (edges - 1)) // edges).sum())


# The graph of the benchmarks' reference case.
REFERENCE = Graph(169_343, 2_332_486)


@dataclass(frozen=True)
class Prediction:
    """Seconds that a kernel takes at the least.

    Attributes:
        memory: For its bytes, each row of a gather read from memory anew.
        issue: For its instructions.
    """

    memory: float
    issue: float

    @property
    def seconds(self) -> float:
        """The longer of the two."""
        return max(self.memory, self.issue)


def predicted(
    inspection: Inspection, least: Minimum, end: End, graph: Graph, machine: Machine
) -> Prediction:
    """How long a pass over a graph takes at the least.

    Memory gives no more than its bandwidth, and schedulers start no more than one instruction of a
    warp a cycle. Whatever else there is to wait for comes on top.

    Args:
        inspection: Of the pass, compiled for the machine.
        least: What the pass must move; rows are taken to be moved once.
        end: The end of the edges that its rows are.
        graph: The edges.
        machine: The GPU.

    Raises:
        ValueError: If the pass was compiled for another architecture, or walks over no edges.
    """
    if inspection.architecture != machine.architecture or not inspection.edges:
        raise ValueError(
            f"a pass must be compiled for {machine.architecture} and walk over edges, got"
            f" {inspection.architecture} and {inspection.edges} edges at a time"
        )
    of_edge = sum(inspection.moved.values()) + least.padding
    moved = graph.num_edges * of_edge + graph.num_nodes * sum(least.per_row.values())
    tiles = graph.num_tiles(end, inspection.edges)
    of_tile = sum(loop.instructions for loop in inspection.loops)
    started = tiles * of_tile + graph.num_nodes * inspection.rest
    return Prediction(
        moved / machine.bandwidth, started * inspection.kernel.num_warps / machine.issues
    )
