"""Which molecules are timed, and in which networks: real ones, every batch of others."""

import functools
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch_geometric.data import Batch, Data

from examples.molecules import Recipe, encodings
from graphattn.datasets.molecules import ogb_molecules
from graphattn.datasets.smiles import graphs_from_smiles
from graphattn.encodings import add_encodings

_FEW = ("CCO", "c1ccccc1O", "CC(=O)Oc1ccccc1C(=O)O", "CN1C=NC2=C1C(=O)N(C(=O)N2C)C", "OCC1CC1")


@dataclass(frozen=True)
class MoleculeCase:
    """A network and the molecules of its training steps.

    Attributes:
        name: Whose molecules, of ``ogb_molecules``.
        layer: The network, of ``networks.NETWORKS``.
        molecules: How many in a batch.
        channels: Width of atoms and bonds.
        num_layers: Number of layers.
        heads: Number of heads.
        dropout: Probability with which features, and weights of attention, are set to zero.
        is_real: Whether the molecules are those; else a few, over and over, which need no files.
        peers: Who takes part.
        rounds: Steps of each.
        has_peak: Whether peak memory is measured too.
    """

    name: str
    layer: str
    molecules: int = 256
    channels: int = 64
    num_layers: int = 4
    heads: int = 4
    dropout: float = 0.3
    is_real: bool = True
    peers: tuple[str, ...] = ("ours", "pyg")
    rounds: int = 9
    has_peak: bool = False

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> "MoleculeCase":
        """The case that ``plain`` made."""
        return cls(**{**plain, "peers": tuple(plain["peers"])})

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    @property
    def recipe(self) -> Recipe:
        """That of the example, whose inputs, readout and optimizer the networks have."""
        sizes = (self.channels, self.num_layers, self.heads, self.dropout)
        return Recipe("random-walk", *sizes, reduce="sum", batch_size=self.molecules)

    def batches(self, count: int) -> list[Batch]:
        """Collated molecules with their encodings, none of them twice, the same in every process.

        Raises:
            FileNotFoundError: If the molecules are not there.
            ValueError: If there are too few of them.
        """
        every = _shuffled(self.name) if self.is_real else _few(count * self.molecules)
        if count * self.molecules > len(every):
            raise ValueError(
                f"{self.name} must have {count} batches of {self.molecules} molecules,"
                f" got {len(every)} molecules: ask for fewer rounds"
            )
        stored = [encoding.transform() for encoding in encodings(self.recipe)]
        graphs = add_encodings(every[: count * self.molecules], stored, progress=False)
        starts = range(0, len(graphs), self.molecules)
        return [Batch.from_data_list(graphs[at : at + self.molecules]) for at in starts]

    def small(self) -> "MoleculeCase":
        """A few molecules, which need no files, and one round: to see that it works."""
        return replace(self, molecules=6, channels=16, num_layers=2, is_real=False, rounds=1)


@functools.cache
def _shuffled(name: str) -> list[Data]:
    data = ogb_molecules(name)
    every = [*data.train, *data.validation, *data.test]
    order = torch.randperm(len(every), generator=torch.Generator().manual_seed(0))
    return [every[place] for place in order.tolist()]


def _few(count: int) -> list[Data]:
    graphs = graphs_from_smiles(_FEW, num_workers=1).graphs
    for place, graph in enumerate(graphs):
        graph.y = torch.tensor([[float(place % 2)]])
    return (graphs * math.ceil(count / len(graphs)))[:count]


def sizes(batches: Sequence[Batch]) -> dict[str, float]:
    """What is in a batch, on average: molecules, atoms, bonds both ways, pairs, the largest."""
    counts = [
        {
            "molecules": batch.num_graphs,
            "atoms": batch.num_nodes,
            "bonds": batch.num_edges,
            "pairs": int(batch.ptr.diff().square().sum()),
            "largest": int(batch.ptr.diff().max()),
        }
        for batch in batches
    ]
    return {what: sum(own[what] for own in counts) / len(counts) for what in counts[0]}


_GATED = MoleculeCase("molhiv", "GPS, GatedGCN", has_peak=True)

MOLECULE_CASES = (
    _GATED,
    replace(_GATED, name="mollipo", has_peak=False),
    *(
        replace(_GATED, layer=layer, has_peak=False)
        for layer in ("GPS, GINE", "GPS, GINE, all weights kept", "GPS, GATv2", "TransformerConv")
    ),
    replace(_GATED, layer="GraphTransformer"),
)
