"""Pictures of a graph transformer on molecules: a minute on one free core, test RMSE about 1.2.

A GPS of four layers, message passing along bonds beside attention among all atoms, learns the
solubility of molecules in water (molesol of OGB, the logarithm of mol/l) from the official training
part. Then molecules of the test part, which it has not seen, are drawn:

    python examples/molecule_pictures.py

writes docs/attention_on_molecules.svg, what atoms and bonds get; docs/attention_by_distance.svg,
how far each head of each layer looks; and docs/learning_curves_molesol.svg, beside the error that
is published for the best baseline. The run is kept under runs/molecule_pictures, and a second call
only draws. `examples/molecules.py` is the recipe for numbers.
"""

import argparse
import functools
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from ogb.utils.features import get_atom_feature_dims, get_bond_feature_dims
from torch import Tensor, nn
from torch.nn import functional as F
from torch_geometric.data import Batch, Data
from torch_geometric.loader import DataLoader

from graphattn import Blocks
from graphattn.datasets.molecules import MoleculeBenchmark, ogb_molecules
from graphattn.encodings import AddShortestPathDistances, add_encodings
from graphattn.models.gps import GPS
from graphattn.models.graph_inputs import (
    FromAttribute,
    GraphInputs,
    RandomWalkEncoding,
    SummedEmbeddings,
)
from graphattn.models.graph_readout import GraphReadout, Scaled
from graphattn.nn import GatedGCNLayer, GPSConv
from graphattn.plot import (
    attention_by_distance,
    attention_on_molecules,
    curves_of_runs,
    hop_profile,
    learning_curve,
    save_picture,
    weights_of_layers,
)
from graphattn.training import (
    BestValue,
    Settings,
    Stage,
    Task,
    fit,
    load_weights,
    one_cycle,
    recorded_seed,
)
from graphattn.training.measures import MeasureOfAll

PUBLISHED = {"GIN-VN, published, test": 0.998}  # Hu et al., "Open Graph Benchmark", NeurIPS 2020
HEADS, LAYERS, DROPOUT = 4, 4, 0.3
SHOWN = (12, 24)  # atoms, at least and at most, of the molecules that are drawn


def network(data: MoleculeBenchmark, channels: int) -> nn.Module:
    """GPS whose answers are in the unit of the data."""
    atoms = SummedEmbeddings(get_atom_feature_dims(), channels)
    bonds = SummedEmbeddings(get_bond_feature_dims(), channels)
    walks = RandomWalkEncoding(16, channels, norm=nn.Identity)
    options: Any = {"heads": HEADS, "dropout": DROPOUT, "attn_kwargs": {"dropout": DROPOUT}}
    layers = [GPSConv(channels, GatedGCNLayer(channels, DROPOUT), **options) for _ in range(LAYERS)]
    inputs = GraphInputs([FromAttribute("x", atoms), walks], [FromAttribute("edge_attr", bonds)])
    readout = GraphReadout(channels, data.num_properties, "sum", num_layers=2)
    y = torch.cat([molecule.y for molecule in data.train])
    return Scaled(GPS(inputs, readout, layers), y.mean(0), y.std(0))


def encoded(molecules: list[Data]) -> list[Data]:
    walks = RandomWalkEncoding(16, channels=1).transform()
    return add_encodings(molecules, [walks, AddShortestPathDistances()], progress=False)


def train(
    build: Callable[[], nn.Module], data: MoleculeBenchmark, settings: Settings, folder: Path
) -> dict[str, Any]:
    """One run: the epoch of the least error on validation data is kept, and tested."""

    def predict(model: nn.Module, batch: Any, stage: Stage) -> tuple[Tensor, Tensor]:
        return model(batch), batch.y

    deviation = torch.cat([molecule.y for molecule in data.train]).std()

    def loss(prediction: Tensor, target: Tensor) -> Tensor:
        return F.mse_loss(prediction / deviation, target / deviation)

    measure = MeasureOfAll(lambda target, prediction: data.evaluate(target, prediction))
    task = Task(
        DataLoader(encoded(data.train), 32, shuffle=True),
        DataLoader(encoded(data.validation), 256),
        DataLoader(encoded(data.test), 256),
        predict,
        loss,
        {data.metric: measure},
    )
    best = BestValue(f"validation_{data.metric}", patience=settings.max_epochs)
    result = fit(build, task, settings, folder, best, one_cycle)
    return {**asdict(result), "weights": result.weights.name}


def draw_molecules(model: nn.Module, molecules: list[Data], path: Path) -> None:
    """Draws what atoms and bonds get, over what they would get if attention were uniform."""
    atoms, bonds = [], []
    with torch.no_grad():
        predicted = model(Batch.from_data_list(molecules)).flatten().tolist()
    for molecule in molecules:
        size = molecule.num_nodes
        found = weights_of_layers(model, molecule)
        weights = size * torch.cat([layer.weights for layer in found], dim=1)  # (n * n, L * H)
        weights = weights.unflatten(0, (size, size))
        source, target = molecule.edge_index
        atoms.append(weights.mean(0))  # over the atoms that attend
        bonds.append(weights[target, source])
    figure = attention_on_molecules(
        molecules,
        bonds,
        atom_weights=atoms,
        captions=[
            f"log solubility {molecule.y.item():.1f}, predicted {value:.1f}"
            for molecule, value in zip(molecules, predicted, strict=True)
        ],
        quantity="attention (1: uniform)",
    )
    print("picture:", save_picture(figure, path, dpi=110))  # molecules are images in it


def draw_distances(model: nn.Module, molecules: list[Data], path: Path) -> Tensor:
    """Draws how far each head looks; returns the part that goes to the atom and its neighbours.

    Returns:
        Of each layer, and last of uniform attention, ``(L + 1,)``.
    """
    batch = Batch.from_data_list(encoded(molecules))
    blocks = Blocks.from_ptr(batch.ptr)
    profiles = {
        f"layer {number}": hop_profile(layer.weights, batch.shortest_path_distance, blocks)
        for number, layer in enumerate(weights_of_layers(model, batch), start=1)
    }
    figure = attention_by_distance(profiles, quantity="weight per atom")
    print("picture:", save_picture(figure, path))
    near = [profile.weight[:2].sum(0).mean() for profile in profiles.values()]
    return torch.stack([*near, profiles["layer 1"].uniform[:2].sum()])


def draw_curves(folder: Path, measure: str, record: dict[str, Any], path: Path) -> None:
    """Draws the error of every epoch of all runs in the folder, beside what is published."""
    curves = {
        f"{name}, validation": values
        for name, values in curves_of_runs(folder, f"validation_{measure}").items()
    }
    levels = {f"seed {record['settings']['seed']}, test": record["test"][measure], **PUBLISHED}
    quantity = "root mean squared error (log10 of mol/l)"
    figure = learning_curve(curves, quantity=quantity, levels=levels)
    print("picture:", save_picture(figure, path))


def main(arguments: Sequence[str] | None = None) -> float:
    """Learn and draw; returns the official error on test data."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--channels", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path("docs"), help="of the pictures")
    parser.add_argument("--runs", type=Path, default=Path("runs/molecule_pictures"))
    parser.add_argument("--suffix", choices=["svg", "png"], default="svg")
    given = parser.parse_args(arguments)

    data = ogb_molecules("molesol")
    settings = Settings(
        max_epochs=given.epochs,
        weight_decay=1e-5,
        gradient_clip=1.0,
        seed=given.seed,
        accelerator="cpu",
        checkpoint_every=5,
        progress=True,
    )
    build = functools.partial(network, data, given.channels)
    folder = given.runs / f"molesol-GPS-{given.channels}-{given.epochs}"
    record = recorded_seed(
        folder, settings, {"channels": given.channels}, functools.partial(train, build, data)
    )
    error: float = record["test"][data.metric]
    print(
        f"{data.metric} on test data, epoch {record['best_epoch'] + 1} of validation: {error:.3f}"
    )

    model = build().eval()
    load_weights(model, folder / f"seed-{given.seed}" / record["weights"])
    least, most = SHOWN
    shown = [m for m in data.test if least <= m.num_nodes <= most][:6]
    draw_molecules(model, encoded(shown), given.output / f"attention_on_molecules.{given.suffix}")
    path = given.output / f"attention_by_distance.{given.suffix}"
    *near, uniform = (100 * draw_distances(model, data.test, path)).tolist()
    print("to the atom itself and its neighbours, layer by layer:", end=" ")
    print(*(f"{part:.0f} %" for part in near), f"(uniform: {uniform:.0f} %)")
    path = given.output / f"learning_curves_molesol.{given.suffix}"
    draw_curves(folder, data.metric, record, path)
    return error


if __name__ == "__main__":
    torch.set_num_threads(1)  # batches are small: a second thread costs more than it brings
    main()
