"""What is timed: graphs, widths, layers and peers of every case, in groups by name."""

import math
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor

from benchmarks.graphs import GRAPHS

LAYERS = ("GATConv", "GATv2Conv", "TransformerConv")
ALL = ("ours", "pyg", "pyg-sorted", "pyg-compile", "pyg-scatter", "dgl")


@dataclass(frozen=True)
class Inputs:
    """One graph with features.

    Attributes:
        x: Node features, each ``(N, F)``; one, or the sources' and the targets'.
        edge_index: ``(2, E)``, int64.
        edge_attr: ``(E, edge_channels)``, or None.
    """

    x: tuple[Tensor, ...]
    edge_index: Tensor
    edge_attr: Tensor | None


@dataclass(frozen=True)
class Case:
    """One shape on which layers are timed.

    Attributes:
        name: What the record calls it.
        graph: Key of ``graphs.GRAPHS``.
        num_nodes: N.
        num_edges: E, without the loops that layers add.
        in_channels: Width of the node features.
        heads: H.
        channels: C.
        layers: Names of layers.
        peers: Keys of ``peers.PEERS`` that are timed unless others are asked for.
        rounds: Iterations of each contestant.
        num_inputs: Tensors of node features: 2 where sources' and targets' differ.
        edge_channels: Width of the edge features; 0 for none.
        self_loops: Whether layers that can add self-loops do.
        fresh: Whether every step brings a new edge list, whose structure is built in the step.
        repeats: Steps in one iteration, for steps too short to time alone.
        num_batches: Different graphs that the steps go through.
        has_peak: Whether peak memory is measured too.
    """

    name: str
    graph: str
    num_nodes: int
    num_edges: int
    in_channels: int = 64
    heads: int = 8
    channels: int = 16
    layers: tuple[str, ...] = LAYERS
    peers: tuple[str, ...] = ALL
    rounds: int = 5
    num_inputs: int = 1
    edge_channels: int = 0
    self_loops: bool = True
    fresh: bool = False
    repeats: int = 1
    num_batches: int = 1
    has_peak: bool = False

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> "Case":
        """The case that ``plain`` made."""
        return cls(**{**plain, "layers": tuple(plain["layers"]), "peers": tuple(plain["peers"])})

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    def output_shape(self, layer: str) -> tuple[int, int]:
        """Of a layer."""
        return self.num_nodes, self.heads * self.channels

    def inputs(self) -> list[Inputs]:
        """Its graphs with features, the same in every process."""
        return [self._input(seed) for seed in range(self.num_batches)]

    def _input(self, seed: int) -> Inputs:
        generator = torch.Generator().manual_seed(seed)
        edge_index = GRAPHS[self.graph](self.num_nodes, self.num_edges, generator)
        x = tuple(
            torch.randn(self.num_nodes, self.in_channels, generator=generator)
            for _ in range(self.num_inputs)
        )
        edge_attr = None
        if self.edge_channels:
            edge_attr = torch.randn(self.num_edges, self.edge_channels, generator=generator)
        return Inputs(x, edge_index, edge_attr)

    def small(self) -> "Case":
        """The same at a hundredth of its size at most, one round: to see that it works."""
        if self.graph == "molecules":
            return replace(self, num_nodes=50, num_edges=108, num_batches=2, rounds=1)
        shrink = min(1.0, 200 / self.num_nodes)
        return replace(
            self,
            num_nodes=math.ceil(self.num_nodes * shrink),
            num_edges=min(math.ceil(self.num_edges * shrink), 4000),
            in_channels=min(self.in_channels, 128),
            repeats=min(self.repeats, 2),
            rounds=1,
        )


REFERENCE = Case("reference", "with hubs", 169_343, 2_332_486, has_peak=True)
_OURS = replace(REFERENCE, layers=("GATv2Conv",), peers=("ours",), has_peak=False)
_GROWTH = tuple(78_125 * 2**step for step in range(8))  # to 10^7

GROUPS: dict[str, tuple[Case, ...]] = {
    "reference": (REFERENCE,),
    "cold": (
        replace(
            REFERENCE,
            name="cold",
            fresh=True,
            has_peak=False,
            rounds=3,
            peers=("ours", "pyg", "pyg-sorted", "dgl"),
        ),
    ),
    "cora": (
        Case("cora", "uniform", 2708, 10_556, in_channels=1433, channels=8, repeats=5, rounds=15),
    ),
    "molecules": (
        Case(
            "molecules",
            "molecules",
            256 * 25,
            256 * 54,
            heads=4,
            rounds=15,
            edge_channels=16,
            self_loops=False,
            fresh=True,
            repeats=8,
            num_batches=8,
        ),
    ),
    "stars": tuple(
        replace(_OURS, name=name, graph=name, layers=LAYERS, rounds=7)
        for name in ("regular", "target star", "source star")
    ),
    "width": tuple(
        replace(
            _OURS,
            name=f"width {8 * channels}",
            graph="uniform",
            num_nodes=20_000,
            num_edges=200_000,
            channels=channels,
            peers=("ours", "pyg", "pyg-scatter", "dgl"),
        )
        for channels in (2, 4, 8, 16, 32, 64)
    ),
    "growth": (
        *(
            replace(
                _OURS, name=f"fixed {edges}", graph="uniform", num_nodes=100_000, num_edges=edges
            )
            for edges in _GROWTH
        ),
        *(
            replace(
                _OURS,
                name=f"proportional {edges}",
                graph="uniform",
                num_nodes=edges // 14,
                num_edges=edges,
            )
            for edges in _GROWTH
        ),
    ),
    "tiny": (
        Case("tiny", "uniform", 10, 30, in_channels=16, heads=4, channels=8, repeats=200, rounds=9),
    ),
    "yardstick": (
        replace(
            REFERENCE,
            name="yardstick",
            in_channels=128,
            num_inputs=2,
            layers=("GATv2 attention",),
            peers=("generated", "yardstick"),
            rounds=9,
            self_loops=False,
            has_peak=True,
        ),
    ),
    "compile": (Case("compile", "uniform", 1000, 5000, peers=("ours", "pyg-compile"), rounds=2),),
    "custom": (replace(_OURS, name="custom", peers=("custom", "ours"), rounds=9),),
}
