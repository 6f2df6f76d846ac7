"""Which sets are timed: sizes, widths, layers and peers of every case, in groups by name."""

import math
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any, ClassVar

import torch
from torch import Tensor

from benchmarks.cases import Inputs

INDUCED_POINTS = 32
SEED_POINTS = 4
LATENTS = 128
BLOCKS = ("SetAttentionBlock", "InducedSetAttentionBlock")


@dataclass(frozen=True)
class SetCase:
    """Sets on which layers are timed; to the harness what ``Case`` is for graphs.

    Sets are given as the graph of what belongs to what: an edge from each element to its set.

    Attributes:
        name: What the record calls it.
        num_sets: S.
        smallest: The least number of elements that a set may have.
        largest: The greatest; the logarithms of sizes are uniform between the two.
        layers: Names of layers.
        peers: Keys of ``peers.PEERS`` that are timed unless others are asked for.
        channels: Width of the elements and of what the layers make of them.
        heads: H.
        rounds: Iterations of each contestant.
        repeats: Steps in one iteration.
        has_peak: Whether peak memory is measured too.
    """

    name: str
    num_sets: int
    smallest: int
    largest: int
    layers: tuple[str, ...]
    peers: tuple[str, ...]
    channels: int = 128
    heads: int = 4
    rounds: int = 7
    repeats: int = 1
    has_peak: bool = False

    # What only graphs vary.
    edge_channels: ClassVar[int] = 0
    fresh: ClassVar[bool] = False

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> "SetCase":
        """The case that ``plain`` made."""
        return cls(**{**plain, "layers": tuple(plain["layers"]), "peers": tuple(plain["peers"])})

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    @cached_property
    def sizes(self) -> Tensor:
        """Number of elements of each set, ``(S,)``, int64, the same in every process."""
        generator = torch.Generator().manual_seed(0)
        place = torch.rand(self.num_sets, generator=generator, dtype=torch.float64)
        wide = math.log((self.largest + 1) / self.smallest)
        return (self.smallest * (wide * place).exp()).long()

    @property
    def num_nodes(self) -> int:
        """Number of elements."""
        return int(self.sizes.sum())

    @property
    def num_bytes(self) -> int:
        """Of the elements."""
        return 4 * self.num_nodes * self.channels

    def inputs(self) -> list[Inputs]:
        """One batch of sets with features."""
        generator = torch.Generator().manual_seed(0)
        x = torch.randn(self.num_nodes, self.channels, generator=generator)
        own = torch.arange(self.num_sets).repeat_interleave(self.sizes)
        return [Inputs((x,), torch.stack([torch.arange(self.num_nodes), own]), None)]

    def output_shape(self, layer: str) -> tuple[int, int]:
        """Of a layer."""
        of_sets = {
            "SetTransformerAggregation": (self.num_sets, SEED_POINTS * self.channels),
            "Perceiver": (self.num_sets, self.channels),
            "Perceiver's read": (self.num_sets * LATENTS, self.channels),
        }
        return of_sets.get(layer, (self.num_nodes, self.channels))

    def small(self) -> "SetCase":
        """Five sets of at most forty elements, one round: to see that it works."""
        return replace(
            self,
            num_sets=min(self.num_sets, 5),
            smallest=min(self.smallest, 40),
            largest=min(self.largest, 40),
            repeats=1,
            rounds=1,
        )


_RAGGED = SetCase(
    "sets of 10 to 2000",
    num_sets=64,
    smallest=10,
    largest=2000,
    layers=BLOCKS,
    peers=("ours", "pyg", "pyg-compile", "pyg-buckets"),
    has_peak=True,
)
_POINTS = (1000, 10_000, 100_000, 1_000_000)

SET_GROUPS: dict[str, tuple[SetCase, ...]] = {
    "sets-ragged": (_RAGGED,),
    "sets-equal": tuple(
        replace(
            _RAGGED,
            name=f"sets of {size}",
            smallest=size,
            largest=size,
            peers=("ours", "dense", "pyg"),
            repeats=2048 // size // 4,
            rounds=15,
            has_peak=False,
        )
        for size in (32, 256)
    ),
    "aggregation": (
        replace(
            _RAGGED,
            name="aggregation",
            layers=("SetTransformerAggregation",),
            peers=("ours", "pyg", "pyg-compile"),
            has_peak=False,
        ),
    ),
    "perceiver": tuple(
        SetCase(
            f"points {size}",
            num_sets=1,
            smallest=size,
            largest=size,
            layers=("Perceiver", "Perceiver's read"),
            peers=("ours",),
            repeats=max(1, 20_000 // size),
        )
        for size in _POINTS
    ),
}
