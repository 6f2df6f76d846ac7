"""A training step of a two-layer network on real graphs: ours, PyG's layer, and no attention.

    python -m benchmarks.training

Sizes and settings are those of examples/citation.py, on the whole graph and with one dropout mask
for all heads. The third contestant has the linear maps alone; what the others take above it is
their share of time in attention, its dropout and its structure, forward and backward.
"""

import functools
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
import torch_geometric.nn
from torch import Tensor, nn
from torch.nn import functional as F
from torch_geometric.data import Data
from torch_geometric.io import read_npz

import graphattn.nn
from examples.citation import RECIPES, Recipe
from graphattn.datasets.files import data_folder
from graphattn.datasets.planetoid import planetoid

ROUNDS = 15
PHOTO = "amazon/Photo/raw/amazon_electronics_photo.npz"
Build = Callable[..., nn.Module]


class LinearMaps(nn.Module):
    """What is left of a layer without its attention; ``num_maps`` linear maps, added up."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        heads: int,
        concat: bool = True,
        dropout: float = 0.0,
        *,
        num_maps: int,
    ) -> None:
        super().__init__()
        self.heads, self.concat = heads, concat
        width = heads * out_channels
        self.lin_l = nn.Linear(in_channels, width)
        self.others = nn.ModuleList(nn.Linear(in_channels, width) for _ in range(num_maps - 1))

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        out: Tensor = self.lin_l(x)
        for linear in self.others:
            out = out + linear(x)
        return out if self.concat else out.unflatten(1, (self.heads, -1)).mean(1)


class Network(nn.Module):
    """Two attention layers: 8 heads of 8 channels, ELU, then the classes (heads averaged).

    Dropout of 0.6 is on the inputs of both layers, on the attention weights and on the projected
    features that are summed.
    """

    def __init__(self, layer: Build, num_features: int, num_classes: int, heads: int) -> None:
        super().__init__()
        self.hidden = layer(num_features, 8, heads=8, dropout=0.6)
        self.output = layer(64, num_classes, heads=heads, concat=False, dropout=0.6)
        for attention in (self.hidden, self.output):
            projection: Any = attention.lin if hasattr(attention, "lin") else attention.lin_l
            projection.register_forward_hook(_drop_projected)

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        x = F.elu(self.hidden(_dropout(x, self.training), edge_index))
        logits: Tensor = self.output(_dropout(x, self.training), edge_index)  # (N, classes)
        return logits


def _drop_projected(projection: nn.Module, inputs: tuple[Tensor], output: Tensor) -> Tensor:
    return F.dropout(output, 0.6, projection.training)


def _dropout(x: Tensor, training: bool) -> Tensor:
    """Dropout of 0.6; of a sparse ``x`` only the stored values are drawn, since zeros stay zero."""
    if not x.is_sparse:
        return F.dropout(x, 0.6, training)
    values = F.dropout(x.values(), 0.6, training)
    return torch.sparse_coo_tensor(
        x.indices(), values, x.shape, is_coalesced=True, check_invariants=False
    )


LAYERS: dict[str, dict[str, Build]] = {
    "GAT": {
        "ours": graphattn.nn.GATConv,
        "pyg": torch_geometric.nn.GATConv,
        "linear maps": functools.partial(LinearMaps, num_maps=1),
    },
    "GATv2": {
        "ours": graphattn.nn.GATv2Conv,
        "pyg": torch_geometric.nn.GATv2Conv,
        "linear maps": functools.partial(LinearMaps, num_maps=2),
    },
}


def pubmed() -> Data:
    """PubMed with its public split, features sparse."""
    data = planetoid("PubMed", normalize=True)
    data.x = data.x.to_sparse()
    return data


def photo() -> Data:
    """Amazon Photo: 7,650 products, 238,162 edges, 745 features, 8 classes; 20 a class train."""
    folder = data_folder()
    if folder is None or not (folder / PHOTO).is_file():
        raise FileNotFoundError(
            f"put amazon_electronics_photo.npz, of the repository shchur/gnn-benchmark, at {PHOTO}"
            " of the folder that GRAPHATTN_DATA names"
        )
    data = read_npz(str(folder / PHOTO))
    generator = torch.Generator().manual_seed(0)
    data.train_mask = torch.zeros(data.num_nodes, dtype=torch.bool)
    for label in range(int(data.y.max()) + 1):
        members = (data.y == label).nonzero().squeeze(1)
        order = torch.randperm(len(members), generator=generator)
        data.train_mask[members[order[:20]]] = True
    return data


def measure(rounds: int, say: Callable[[str], None]) -> list[dict[str, Any]]:
    """Times the contestants in turn.

    Args:
        rounds: Steps of each.
        say: Told what goes on.

    Returns:
        For each contestant, plain data: ``case`` (its name), ``layer``, ``peer``, ``training``
        (seconds of every step) and ``loss``, that of the first step.

    Raises:
        FileNotFoundError: If the data are not there.
        RuntimeError: If ours and PyG's differ in the loss of the first step.
    """
    results = []
    for name, load, recipe in (("PubMed", pubmed, RECIPES["PubMed"]), ("Photo", photo, Recipe())):
        data = load()
        for layer, peers in LAYERS.items():
            steps = {peer: _step(build, data, recipe) for peer, build in peers.items()}
            losses = {}
            for peer, step in steps.items():
                torch.manual_seed(0)  # the same dropout for all
                losses[peer] = step()
            if abs(losses["ours"] - losses["pyg"]) > 1e-3 * losses["pyg"]:
                raise RuntimeError(f"ours must lose as much as PyG's on {name}, got {losses}")
            seconds: dict[str, list[float]] = {peer: [] for peer in steps}
            for _ in range(rounds):
                for peer, step in steps.items():
                    start = time.perf_counter()
                    step()
                    seconds[peer].append(time.perf_counter() - start)
            for peer, own in seconds.items():
                say(f"{name}: {layer:5} {peer:12} {1e3 * statistics.median(own):9.2f} ms a step")
                result = {"case": {"name": name}, "layer": layer, "peer": peer}
                results.append({**result, "training": own, "loss": losses[peer]})
    return results


def _step(build: Build, data: Data, recipe: Recipe) -> Callable[[], float]:
    torch.manual_seed(0)
    num_classes = int(data.y.max()) + 1
    network = Network(build, data.num_features, num_classes, recipe.output_heads)
    adam = torch.optim.Adam(
        network.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay
    )

    def step() -> float:
        network.train()
        adam.zero_grad()
        logits = network(data.x, data.edge_index)
        loss = F.cross_entropy(logits[data.train_mask], data.y[data.train_mask])
        loss.backward()
        adam.step()
        return float(loss.detach())

    return step


if __name__ == "__main__":
    measure(ROUNDS, print)
