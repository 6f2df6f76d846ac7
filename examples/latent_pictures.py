"""A picture of a Perceiver's latents on furniture: seconds after its recipe has run.

The recipe `examples/point_sets.py` learns to name the furniture of ModelNet10 from its voxels, in
six minutes on one core. Then test objects that the network names right are drawn, once for each of
a few of its 32 latents, coloured by what the latent reads:

    python examples/latent_pictures.py

writes docs/attention_of_latents.png. The latents shown read the most different points: the first
spreads its weight least, each later one differs most from those before it. The run is that of the
recipe, so that a second call only draws; ``--epochs 4 --runs runs/short`` is quicker.
"""

import argparse
import runpy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from graphattn import Blocks
from graphattn.datasets.labelled_sets import LabelledSets
from graphattn.datasets.modelnet import CLASSES
from graphattn.plot import attention_on_points, save_picture
from graphattn.training import load_weights, read_record

HERE = Path(__file__).parent
SHOWN = ("chair", "table", "toilet")
MOST_POINTS = 700  # of an object, drawn at random: more hide one another


def known(network: Any, objects: LabelledSets, names: Sequence[str]) -> tuple[Tensor, Tensor]:
    """For each name the points of the first object of that class which the network names right.

    Returns:
        Their points ``(N, F)``, and how many each has, ``(S,)``; classes without any are left out.
    """
    found = []
    for name in names:
        for number in (objects.y == CLASSES.index(name)).nonzero().flatten().tolist():
            points = objects.x[objects.ptr[number] : objects.ptr[number + 1]]
            points = points[torch.randperm(len(points))[:MOST_POINTS]]
            logits = network(points, Blocks.from_ptr(torch.tensor([0, len(points)])))
            if logits.argmax() == objects.y[number]:
                found.append(points)
                break
    if not found:
        raise SystemExit(f"the network names no {', '.join(names)} right: train it for longer")
    return torch.cat(found), torch.tensor([len(points) for points in found])


def most_different(weights: Tensor, count: int) -> list[int]:
    """Rows of ``(K, N)``, each the weights of a latent: the least spread, then the farthest off."""
    chosen = [int((weights * weights.clamp_min(1e-12).log()).sum(1).argmax())]
    while len(chosen) < min(count, len(weights)):
        distance = torch.cdist(weights, weights[chosen], p=1).amin(1)
        chosen.append(int(distance.argmax()))
    return chosen


def draw(
    network: Any, points: Tensor, sizes: Tensor, reading: int, count: int, path: Path
) -> float:
    """Draws a few latents on some objects; returns the part of an object that a latent reads.

    That is the least part of the points that has half of the latent's weight, as the mean over all
    latents and objects.
    """
    ptr = F.pad(sizes.cumsum(0), (1, 0))
    weights = network.attention_weights(points, Blocks.from_ptr(ptr))[reading - 1].mean(1)
    latents = network.network.encoder.seeds.count
    by_object = [
        own.view(latents, size)
        for own, size in zip(weights.split((latents * sizes).tolist()), sizes.tolist(), strict=True)
    ]
    chosen = most_different(torch.cat(by_object, dim=1) / len(sizes), count)
    figure = attention_on_points(
        points[:, :3],
        torch.cat([own[chosen].flatten() for own in by_object]),
        Blocks.from_ptr(torch.arange(len(sizes) + 1) * len(chosen), ptr),
        captions=[f"latent {latent + 1}" for latent in chosen] * len(sizes),
    )
    print("picture:", save_picture(figure, path))
    halves = [(own.sort(descending=True).values.cumsum(1) < 0.5).sum(1) + 1 for own in by_object]
    parts = [half / size for half, size in zip(halves, sizes.tolist(), strict=True)]
    return float(torch.cat(parts).mean())


@torch.no_grad()
def main(arguments: Sequence[str] | None = None) -> float:
    """Learn and draw; returns the part of an object that a latent reads, see ``draw``."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--reading", type=int, choices=[1, 2], default=1, help="that is drawn")
    parser.add_argument("--latents", type=int, default=5, help="that are drawn")
    parser.add_argument("--output", type=Path, default=Path("docs"), help="of the picture")
    parser.add_argument("--runs", type=Path, default=Path("runs"))
    parser.add_argument("--suffix", choices=["svg", "png"], default="png")
    given = parser.parse_args(arguments)

    recipe = runpy.run_path(str(HERE / "point_sets.py"))
    command = ["--model", "Perceiver", "--epochs", given.epochs, "--output", given.runs]
    with torch.enable_grad():
        recipe["main"](list(map(str, [*command, "--seeds", 1])))
    folder = given.runs / "point_sets" / "ModelNet10-Perceiver"
    channels = read_record(folder / "seed-0.json")["settings"]["channels"]
    network = recipe["PointPerceiver"](recipe["SOURCES"]["ModelNet10"], channels).eval()
    load_weights(network, folder / "seed-0" / "weights.pt")

    torch.manual_seed(0)
    points, sizes = known(network, recipe["modelnet10"]()[2], SHOWN)
    path = given.output / f"attention_of_latents.{given.suffix}"
    part = draw(network, points, sizes, given.reading, given.latents, path)
    print(f"half of a latent's weight lies on {100 * part:.0f} % of the points")
    return part


if __name__ == "__main__":
    torch.set_num_threads(1)  # batches are small: a second thread costs more than it brings
    main()
