"""Pictures of a Crystalformer on crystals, seconds after the recipe has run, else 40 minutes.

The recipe `examples/crystals.py` learns the highest peak of the phonon density of states in each of
Matbench's official folds. Then crystals of the test parts, which the networks have not seen, are
drawn:

    python examples/crystal_pictures.py

writes docs/attention_on_crystal.svg, the atoms and images that an atom of rutile attends to;
docs/attention_in_shells.svg, how far each head of each layer looks; and docs/parity_phonons.svg,
predictions beside what they should be. The runs are those of the recipe, so that a second call
only draws; ``--folds 0 --epochs 40 --averaged 8 --runs runs/short`` is quicker.
"""

import argparse
import runpy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from graphattn.datasets.crystals import Crystal, collate
from graphattn.plot import (
    attention_in_shells,
    attention_on_crystal,
    image_weights,
    parity,
    save_picture,
    shell_profile,
    weights_on_crystals,
)
from graphattn.training.checkpoints import read

HERE = Path(__file__).parent
SHOWN = "mb-phonons-0393"  # rutile
NEAR = 3.0  # ångström: the neighbours in most crystals
COUNTED = 32  # crystals, of which every image of every atom is


def draw_attention(network: Any, crystal: Crystal, layer: int, path: Path) -> None:
    """Draws what the last atom of a crystal attends to in a layer, counted from one."""
    layers = weights_on_crystals(network.crystalformer, collate([crystal]))
    seen = image_weights(layers[layer - 1], atom=len(crystal) - 1)
    figure = attention_on_crystal(crystal, seen)
    print("picture:", save_picture(figure, path))


def draw_distances(network: Any, crystals: Sequence[Crystal], path: Path) -> Tensor:
    """Draws how far each head looks; returns the part of each layer that lies near, ``(L,)``."""
    layers = weights_on_crystals(network.crystalformer, collate(crystals))
    profiles = {f"layer {n}": shell_profile(own) for n, own in enumerate(layers, start=1)}
    figure = attention_in_shells(profiles)
    print("picture:", save_picture(figure, path))
    near = [own.weight[: round(NEAR / own.step)].sum(0).mean() for own in profiles.values()]
    return torch.stack(near)


def draw_parity(
    networks: Sequence[nn.Module], benchmark: Any, folds: list[int], path: Path
) -> float:
    """Draws the test part of each fold, by the network that has not seen it; returns the error."""
    parts = [collate(benchmark.folds[number].test) for number in folds]
    with torch.no_grad():
        predicted = torch.cat([model(part) for model, part in zip(networks, parts, strict=True)])
    target = torch.cat([part.targets[benchmark.target] for part in parts])
    figure = parity(predicted, target, benchmark.unit, quantity=benchmark.target)
    print("picture:", save_picture(figure, path))
    return float((predicted - target).abs().mean())


def main(arguments: Sequence[str] | None = None) -> float:
    """Learn and draw; returns the mean absolute error on test data."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--averaged", type=int, default=10, help="last epochs (default: 10)")
    parser.add_argument("--folds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--layer", type=int, default=1, help="that is drawn on a crystal")
    parser.add_argument("--output", type=Path, default=Path("docs"), help="of the pictures")
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--suffix", choices=["svg", "png"], default="svg")
    given = parser.parse_args(arguments)

    recipe = runpy.run_path(str(HERE / "crystals.py"))
    command = ["train", "--all-seen", "--max-epochs", given.epochs, "--averaged", given.averaged]
    recipe["main"](list(map(str, [*command, "--output", given.runs, "--folds", *given.folds])))
    networks = []
    folder = given.runs / "crystals" / "phonons-Crystalformer-all-seen" / "seed-0"
    for number in given.folds:
        networks.append(recipe["CrystalNetwork"]().eval())
        content = read(folder / f"fold-{number}" / "checkpoint.pt")
        networks[-1].load_state_dict(content["weights"])

    benchmark = recipe["crystal_benchmark"]("phonons")
    test = benchmark.folds[given.folds[0]].test
    shown = next((crystal for crystal in test if crystal.name == SHOWN), test[0])
    path = given.output / f"attention_on_crystal.{given.suffix}"
    draw_attention(networks[0], shown, given.layer, path)
    path = given.output / f"attention_in_shells.{given.suffix}"
    near = (100 * draw_distances(networks[0], test[:COUNTED], path)).tolist()
    print(f"nearer than {NEAR:g} Å, layer by layer:", *(f"{part:.0f} %" for part in near))
    path = given.output / f"parity_phonons.{given.suffix}"
    error = draw_parity(networks, benchmark, given.folds, path)
    print(f"mean absolute error on test data: {error:.4g} {benchmark.unit}")
    return error


if __name__ == "__main__":
    torch.set_num_threads(1)  # batches are small: a second thread costs more than it brings
    main()
