"""Graph transformers on molecules of OGB: solubility (molesol) in two minutes a seed.

Official scaffold splits and evaluators. The learning rate rises and falls, and the mean of the
weights after each of the last ten epochs is tested: the measure on so few validation molecules goes
up and down too much to choose an epoch by. One file per seed is kept, and the same command given
again continues a run that was cut off, to the same numbers:

    python examples/molecules.py --dataset molesol --model GraphTransformer --seeds 5

Hu et al., "Open Graph Benchmark", NeurIPS 2020, report an RMSE of 0.998 for the best of their four
baselines on molesol; the graph transformer comes to 0.957 ± 0.013 over five seeds, GPS to 1.055.
"""

import argparse
import functools
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from ogb.utils.features import get_atom_feature_dims, get_bond_feature_dims
from torch import Tensor, nn
from torch.nn import functional as F
from torch_geometric.data import Data
from torch_geometric.loader import DataLoader

from graphattn.datasets.molecules import MoleculeBenchmark, ogb_molecules
from graphattn.encodings import add_encodings
from graphattn.models.gps import GPS
from graphattn.models.graph_inputs import (
    FromAttribute,
    GraphInputs,
    LaplacianEncoding,
    RandomWalkEncoding,
    SummedEmbeddings,
)
from graphattn.models.graph_readout import GraphReadout, Scaled
from graphattn.models.graph_transformer import GraphTransformer, GraphTransformerForm
from graphattn.models.message_passing import MessagePassingNetwork, gcn_convs, gin_convs
from graphattn.nn import GatedGCNLayer, GPSConv
from graphattn.training import (
    AverageOfLast,
    Settings,
    Stage,
    Task,
    add_run_arguments,
    fit,
    mean_and_error,
    one_cycle,
    recorded_seed,
    seeds_of,
)
from graphattn.training.measures import MeasureOfAll

# Mean and standard deviation; baselines from OGB's paper.
PUBLISHED: dict[str, dict[str, tuple[float, float]]] = {
    "molesol": {"GCN": (1.114, 0.036), "GIN": (1.173, 0.057), "GIN-VN": (0.998, 0.066)},
    "molfreesolv": {"GCN": (2.640, 0.239), "GIN": (2.755, 0.349), "GIN-VN": (2.151, 0.295)},
    "mollipo": {"GCN": (0.797, 0.023), "GIN": (0.757, 0.018), "GIN-VN": (0.704, 0.015)},
    "molbbbp": {},
    "molhiv": {
        "GCN": (0.7606, 0.0097),
        "GCN-VN": (0.7599, 0.0119),
        "GIN": (0.7558, 0.0140),
        "GIN-VN": (0.7707, 0.0149),
        "GPS": (0.7880, 0.0101),  # of 10 layers; Rampášek et al., NeurIPS 2022
    },
}


@dataclass(frozen=True)
class Recipe:
    """How a network is built and trained."""

    encoding: str
    channels: int = 64
    num_layers: int = 4
    heads: int = 4
    dropout: float = 0.3
    norm: Literal["batch", "layer"] = "batch"  # of graph transformers
    reduce: Literal["mean", "sum"] = "mean"
    readout_layers: int = 2
    learning_rate: float = 1e-3
    weight_decay: float = 1e-5
    batch_size: int = 32
    max_epochs: int = 100


OURS = Recipe("random-walk", reduce="sum", max_epochs=50)
OGB = Recipe(  # the baselines' settings, but for the schedule of the learning rate
    "none", channels=300, num_layers=5, dropout=0.5, readout_layers=1, weight_decay=0.0
)

ENCODINGS: dict[str, Callable[[int], Any]] = {
    # Not normed: walks of three steps come home in rings of three alone, which are so rare that a
    # norm makes 40 deviations of them.
    "random-walk": functools.partial(RandomWalkEncoding, 16, norm=nn.Identity),
    "laplacian": functools.partial(LaplacianEncoding, 8),
}


def encodings(recipe: Recipe) -> list[Any]:
    """What says where atoms are in the molecule, and how that is stored; or nothing."""
    return [] if recipe.encoding == "none" else [ENCODINGS[recipe.encoding](recipe.channels)]


def inputs(recipe: Recipe, reads_bonds: bool = True) -> GraphInputs:
    atoms = SummedEmbeddings(get_atom_feature_dims(), recipe.channels)
    bonds = SummedEmbeddings(get_bond_feature_dims(), recipe.channels)
    return GraphInputs(
        [FromAttribute("x", atoms), *encodings(recipe)],
        [FromAttribute("edge_attr", bonds)] if reads_bonds else [],
    )


def readout(recipe: Recipe, num_properties: int) -> GraphReadout:
    return GraphReadout(recipe.channels, num_properties, recipe.reduce, recipe.readout_layers)


def graph_transformer(recipe: Recipe, num_properties: int) -> nn.Module:
    """Attention of atoms over their neighbours, with an edge stream."""
    norm = nn.LayerNorm if recipe.norm == "layer" else nn.BatchNorm1d
    return GraphTransformer(
        inputs(recipe),
        readout(recipe, num_properties),
        recipe.channels,
        recipe.heads,
        recipe.num_layers,
        GraphTransformerForm(norm=norm, dropout=recipe.dropout),
    )


def gps(attention: str, recipe: Recipe, num_properties: int) -> nn.Module:
    """Gated message passing along bonds beside attention among all atoms."""
    options: dict[str, Any] = {"dropout": recipe.dropout}
    if attention == "performer":  # PyG's default is one module in all layers of a process
        options["kernel"] = nn.ReLU()
    convs = [GatedGCNLayer(recipe.channels, recipe.dropout) for _ in range(recipe.num_layers)]
    # Nobody reads the bonds behind the last layer: their norm would never have a gradient, which
    # training on several devices does not allow.
    convs[-1].edge_norm = nn.Identity()
    layers = (
        GPSConv(
            recipe.channels,
            conv,
            heads=recipe.heads,
            dropout=recipe.dropout,
            attn_type=attention,
            attn_kwargs=options,
        )
        for conv in convs
    )
    return GPS(inputs(recipe), readout(recipe, num_properties), layers)


def message_passing(
    convs: Callable[[int, int], list[nn.Module]],
    has_virtual_node: bool,
    recipe: Recipe,
    num_properties: int,
) -> nn.Module:
    """Layers of PyG as in OGB's baselines."""
    return MessagePassingNetwork(
        inputs(recipe, reads_bonds=convs is gin_convs),
        readout(recipe, num_properties),
        convs(recipe.channels, recipe.num_layers),
        recipe.channels,
        recipe.dropout,
        has_virtual_node,
    )


MODELS: dict[str, tuple[Callable[[Recipe, int], nn.Module], Recipe]] = {
    "GraphTransformer": (graph_transformer, replace(OURS, norm="layer")),
    "GPS": (functools.partial(gps, "multihead"), OURS),
    "GPS-Performer": (functools.partial(gps, "performer"), OURS),
    "GIN": (functools.partial(message_passing, gin_convs, False), OGB),
    "GIN-VN": (functools.partial(message_passing, gin_convs, True), OGB),
    "GCN": (functools.partial(message_passing, gcn_convs, False), OGB),
    "GCN-VN": (functools.partial(message_passing, gcn_convs, True), OGB),
}


def scale(data: MoleculeBenchmark) -> tuple[Tensor, Tensor]:
    """Mean and deviation of the properties of the molecules to train on, ``(T,)`` each."""
    y = torch.cat([graph.y for graph in data.train])
    if not data.is_regression:
        return torch.zeros(y.shape[1]), torch.ones(y.shape[1])
    mean = y.nanmean(0)
    deviation = (y - mean).square().nanmean(0).sqrt()
    return mean, deviation.where(deviation > 0, 1.0)


def molecule_task(data: MoleculeBenchmark, recipe: Recipe) -> Task:
    """Squared error in deviations, or cross-entropy, of what was measured; the official number."""
    _, deviation = scale(data)
    stored = [encoding.transform() for encoding in encodings(recipe)]

    def loader(graphs: list[Data], stage: Stage) -> DataLoader:
        graphs = add_encodings(graphs, stored, progress=len(graphs) > 10_000)
        is_train = stage == "train"
        # A norm over graphs, as virtual nodes have, refuses a batch of one.
        drop_last = is_train and len(graphs) % recipe.batch_size == 1
        return DataLoader(graphs, recipe.batch_size, shuffle=is_train, drop_last=drop_last)

    def predict(model: nn.Module, batch: Any, stage: Stage) -> tuple[Tensor, Tensor]:
        return model(batch), batch.y

    def loss(prediction: Tensor, target: Tensor) -> Tensor:
        is_known = ~target.isnan()
        if data.is_regression:
            error = (prediction - target) / deviation.to(target.device)
            return error[is_known].square().mean()
        return F.binary_cross_entropy_with_logits(prediction[is_known], target[is_known])

    measure = MeasureOfAll(lambda target, prediction: data.evaluate(target, prediction))
    return Task(
        loader(data.train, "train"),
        loader(data.validation, "validation"),
        loader(data.test, "test"),
        predict,
        loss,
        {data.metric: measure},
    )


def train(
    build: Callable[[], nn.Module], task: Task, averaged: int, settings: Settings, folder: Path
) -> dict[str, Any]:
    """One seed: the mean of the weights of the last epochs is tested."""
    result = fit(build, task, settings, folder, AverageOfLast(averaged), one_cycle)
    return {**asdict(result), "weights": result.weights.name}


def main(arguments: Sequence[str] | None = None) -> float:
    """Train and report; returns the mean of the official measure on test data."""
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0],
        epilog="A run that was cut off continues from its last checkpoint when the same command is "
        "given again, to the same numbers; a finished one is read from its file.",
    )
    parser.add_argument("--dataset", choices=list(PUBLISHED), default="molesol")
    parser.add_argument("--model", choices=list(MODELS), default="GPS")
    parser.add_argument("--encoding", choices=["none", *ENCODINGS], help="default: of the model")
    parser.add_argument("--channels", type=int, help="width (default: of the model)")
    parser.add_argument("--dropout", type=float, help="default: of the model")
    parser.add_argument("--reduce", choices=["mean", "sum"], help="atoms (default: of the model)")
    parser.add_argument("--learning-rate", type=float, help="default: of the model")
    parser.add_argument("--batch-size", type=int, help="molecules (default: 32)")
    parser.add_argument("--max-epochs", type=int, help="default: of the model")
    parser.add_argument("--averaged", type=int, default=10, help="last epochs (default: 10)")
    parser.add_argument("--precision", default="32-true", help="such as bf16-mixed")
    parser.add_argument("--devices", type=int, default=1, help="with torchrun: its processes")
    parser.add_argument("--checkpoint-every", type=int, default=10, help="epochs (default: 10)")
    add_run_arguments(parser)
    given = parser.parse_args(arguments)

    make, recipe = MODELS[given.model]
    names = set(asdict(recipe)) & set(vars(given))
    chosen = {name: value for name in names if (value := getattr(given, name)) is not None}
    recipe = replace(recipe, **chosen)
    data = ogb_molecules(given.dataset)
    task = molecule_task(data, recipe)

    def build() -> nn.Module:
        return Scaled(make(recipe, data.num_properties), *scale(data))

    folder = given.output / "molecules" / f"{given.dataset}-{given.model}"
    told = {name: getattr(given, name) for name in ("dataset", "model", "averaged")}
    told |= asdict(recipe)
    measured = []
    settings = Settings(
        max_epochs=recipe.max_epochs,
        learning_rate=recipe.learning_rate,
        weight_decay=recipe.weight_decay,
        gradient_clip=1.0,
        precision=given.precision,
        devices=given.devices,
        checkpoint_every=given.checkpoint_every,
    )
    of_seed = functools.partial(train, build, task, given.averaged)
    for seed in seeds_of(given):
        record = recorded_seed(folder, replace(settings, seed=seed), told, of_seed)
        measured.append(record["test"][data.metric])
        print(
            f"seed {seed}: {data.metric} {measured[-1]:.4f}, validation"
            f" {record['validation'][data.metric]:.4f}, {record['seconds']:.0f} s",
            flush=True,
        )
    mean, error = mean_and_error(measured)
    print(f"{given.model} on {given.dataset}: {data.metric} {mean:.4f} ± {error:.4f}")
    for name, (theirs, spread) in PUBLISHED[given.dataset].items():
        print(f"published for {name}: {theirs} ± {spread} (standard deviation)")
    return mean


if __name__ == "__main__":
    torch.set_num_threads(1)  # batches are small: a second thread costs more than it brings
    main()
