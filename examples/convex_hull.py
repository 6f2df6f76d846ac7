"""Convex hulls: a pointer network finds 93 % of the hulls of five points in six minutes.

That is after 10,000 batches on one core; of ten points it finds 81 %. Vinyals, Fortunato and
Jaitly, "Pointer Networks", NeurIPS 2015, report 92.0 % for five points and 87.0 % for ten, both of
one network trained on 5 to 50. One file per seed is kept:

    python examples/convex_hull.py --points 5
    python examples/convex_hull.py --points 10

The network points at the corners counter-clockwise, then at a last element that stands for the end.
Every batch is drawn anew. Here points are standardized, no point is named twice, and Adam trains a
network of 128 channels with a learning rate that rises and falls; theirs have 256 or 512 and are
trained by gradient descent.
"""

import argparse
import functools
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from graphattn import Blocks
from graphattn.datasets.convex_hulls import convex_hulls, from_lowest, is_simple, polygon_area
from graphattn.datasets.mixtures import DrawnBatches
from graphattn.models import PointerNetwork
from graphattn.nn.sets.pointer_attention import chosen
from graphattn.training import (
    BestValue,
    Settings,
    Stage,
    Task,
    add_run_arguments,
    deciding,
    fit,
    load_weights,
    mean_and_error,
    one_cycle,
    recorded_seed,
    seeds_of,
)

PUBLISHED = {5: 92.0, 10: 87.0}  # %, of a network trained on 5 to 50 points
VALIDATION_SEED, TEST_SEED = 1_000_001, 1_000_002
Batch = tuple[Tensor, Tensor, Tensor]


def batch(size: int, num_points: int, generator: torch.Generator | None = None) -> Batch:
    """Elements of sets, the rows to choose among them, and which rows are whose.

    Returns:
        Points and ends, ``(S, N + 1, 3)``: two coordinates, standardized, and whether it is the
        end, which comes last. Rows of the elements to choose, ``(Q,)`` int64, of all sets one after
        another; their borders, ``(S + 1,)`` int64.
    """
    hulls = convex_hulls(size, num_points, generator=generator)
    # Of mean zero and deviation one: after 1,000 batches of the points as they are drawn, the
    # network names 2 % of the hulls of five, of these 70 %.
    x = F.pad((hulls.points - 0.5) * math.sqrt(12), (0, 1, 0, 1))
    x[:, -1, -1] = 1
    number, first = torch.arange(size + 1), torch.arange(size) * (num_points + 1)
    ptr, sizes = hulls.ptr + number, hulls.ptr.diff()  # with the end, one more for each set
    place = torch.arange(len(hulls.corners)) + number[:-1].repeat_interleave(sizes)
    choices = hulls.corners.new_empty(len(hulls.corners) + size)
    choices[place] = hulls.corners + first.repeat_interleave(sizes)
    choices[ptr[1:] - 1] = first + num_points
    return x, choices, ptr


def elements_of(x: Tensor) -> Tensor:
    """Borders ``(S + 1,)`` of sets that stand as ``(S, K, F)``."""
    return torch.arange(len(x) + 1) * x.shape[1]


def hull_task(batch_size: int, num_points: int, steps: int, test_batches: int) -> Task:
    """Fresh batches to train on; a fifth of the number of sets that are tested to choose by."""

    def predict(model: nn.Module, given: Any, stage: Stage) -> tuple[Tensor, Tensor]:
        x, choices, ptr = given
        blocks = Blocks.from_ptr(ptr, elements_of(x))
        log_probability = model(x.flatten(0, 1), blocks, choices)
        return chosen(log_probability, choices, blocks), choices

    many = functools.partial(batch, 500, num_points)
    return Task(
        DrawnBatches(functools.partial(batch, batch_size, num_points), steps),
        DrawnBatches(many, max(1, test_batches // 5), VALIDATION_SEED),
        DrawnBatches(many, test_batches, TEST_SEED),
        predict,
        lambda log_probability, choices: -log_probability.mean(),
    )


def decoded(network: PointerNetwork, x: Tensor) -> list[Tensor]:
    """Numbers of the points that the network names, for each set of ``(S, N + 1, 3)``."""
    end = x.shape[1] - 1
    rows = network.decode(x.flatten(0, 1), Blocks.from_ptr(elements_of(x)))
    numbers = rows.view(x.shape[:2]) - elements_of(x)[:-1, None]  # (S, N + 1)
    has_ended = (numbers == end).cumsum(1).bool()
    return [own[~ended] for own, ended in zip(numbers, has_ended, strict=True)]


def judged(network: PointerNetwork, batches: Iterable[Batch]) -> dict[str, float]:
    """How near the polygons that the network names are to the hulls.

    Returns:
        ``hulls``, the share that has the corners of the hull, counter-clockwise from any of them
        on; ``simple``, the share that does not cross itself; ``area``, of the simple ones alone,
        the mean share of the hull's area that lies inside, 0 if there are none.
    """
    right, simple, areas = [], [], []
    for x, choices, ptr in batches:
        hulls = (choices % x.shape[1]).split(ptr.diff().tolist())
        for own, found, hull in zip(x[..., :2], decoded(network, x), hulls, strict=True):
            corners = hull[:-1]  # without the end
            right.append(float(torch.equal(from_lowest(found), corners)))
            simple.append(float(is_simple(own[found])))
            if simple[-1]:
                areas.append(float(polygon_area(own[found]) / polygon_area(own[corners])))
    return {"hulls": fmean(right), "simple": fmean(simple), "area": fmean(areas or [0.0])}


def train(given: argparse.Namespace, settings: Settings, folder: Path) -> dict[str, Any]:
    def build() -> PointerNetwork:
        return PointerNetwork(3, given.channels, given.only_once)

    task = hull_task(given.batch_size, given.points, given.steps_per_epoch, given.test_batches)
    # No patience: the learning rate is to fall to its end.
    selection = BestValue("validation_loss", patience=settings.max_epochs + 1)
    result = fit(build, task, settings, folder, selection, one_cycle)
    network = build()
    load_weights(network, result.weights)
    test = {**result.test, **judged(network, task.test)}
    return {**asdict(result), "test": test, "weights": result.weights.name}


def main(arguments: Sequence[str] | None = None) -> float:
    """Train and report; returns the mean percentage of hulls named right, of unseen sets."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--points", type=int, default=5, help="of a set, at least 3 (default: 5)")
    parser.add_argument("--channels", type=int, default=128)
    parser.add_argument(
        "--only-once",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="a point that was named cannot be named again",
    )
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--learning-rate", type=float, default=3e-3, help="at its highest")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--steps-per-epoch", type=int, default=500)
    parser.add_argument("--test-batches", type=int, default=20, help="of 500 sets")
    add_run_arguments(parser)
    given = parser.parse_args(arguments)
    if given.points < 3:
        parser.error(f"--points must be at least 3, got {given.points}")

    name = f"{given.points}-{given.channels}" + ("" if given.only_once else "-repeats")
    folder = given.output / "convex_hull" / name
    told = deciding(given)
    shares = []
    settings = Settings(
        max_epochs=given.epochs,
        learning_rate=given.learning_rate,
        gradient_clip=2.0,  # as the authors
        checkpoint_every=1,
    )
    of_seed = functools.partial(train, given)
    for seed in seeds_of(given):
        record = recorded_seed(folder, replace(settings, seed=seed), told, of_seed)
        test = record["test"]
        shares.append(100 * test["hulls"])
        print(
            f"seed {seed}: {shares[-1]:.2f} % right, {100 * test['simple']:.2f} % simple,"
            f" {100 * test['area']:.2f} % of their area, after {record['seconds']:.0f} s",
            flush=True,
        )
    mean, error = mean_and_error(shares)
    theirs = f", published {PUBLISHED[given.points]} %" if given.points in PUBLISHED else ""
    print(f"{given.points} points: {mean:.2f} ± {error:.2f} %{theirs}")
    return mean


if __name__ == "__main__":
    main()
