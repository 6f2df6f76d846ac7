"""Crystalformer on materials: 32 1/cm of phonon peaks in 40 minutes, predictions of CIF files.

The settings of Taniai et al., "Crystalformer", ICLR 2024: AdamW, absolute error of standardized
targets, gradients of norm one, the mean of the weights of the last epochs. But fewer epochs, fewer
crystals a step, and a learning rate that rises first and falls to nothing, which suits short runs
better than the inverse square root that the paper has (``--schedule inverse-root``). Tasks of
Matbench are run as Matbench demands: five official folds, and nothing is chosen by test data; a
tenth of what may be seen is held out to choose by, and learnt from as well once nothing is left to
choose (``--all-seen``).

    python examples/crystals.py train --dataset phonons --all-seen
    python examples/crystals.py train --dataset flla --model RandomForest
    python examples/crystals.py predict NaCl.cif --checkpoint \
        runs/crystals/phonons-Crystalformer-all-seen/seed-0/fold-0/checkpoint.pt

One file per fold is kept, and one per seed with the mean over the folds.
"""

import argparse
import functools
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchmetrics import MeanAbsoluteError

from graphattn.datasets.chemical_elements import SYMBOLS
from graphattn.datasets.crystal_benchmarks import (
    CRYSTAL_BENCHMARKS,
    CrystalBenchmark,
    CrystalFold,
    crystal_benchmark,
)
from graphattn.datasets.crystal_files import read_crystal
from graphattn.datasets.crystals import Crystal, CrystalBatch, collate
from graphattn.models import Crystalformer, CrystalformerSizes
from graphattn.training import (
    AverageOfLast,
    Settings,
    Stage,
    Task,
    add_run_arguments,
    deciding,
    fit,
    mean_and_error,
    one_cycle,
    recorded,
    recorded_seed,
    seeds_of,
)
from graphattn.training.checkpoints import check_same_keys, read, write

WARM_STEPS = 4000  # of the paper's schedule
SIZES = CrystalformerSizes()


class CrystalNetwork(nn.Module):
    """A Crystalformer whose answers are in the unit of the target."""

    def __init__(self, mean: float = 0.0, deviation: float = 1.0, dropout: float = 0.0) -> None:
        super().__init__()
        self.crystalformer = Crystalformer(sizes=SIZES, dropout=dropout)
        self.register_buffer("mean", torch.tensor(mean))
        self.register_buffer("deviation", torch.tensor(deviation))

    def forward(self, batch: CrystalBatch) -> Tensor:
        """The property of each crystal, ``(S,)``."""
        answer = self.crystalformer(batch.numbers, batch.position, batch.lattice, batch.ptr)
        scaled: Tensor = self.mean + self.deviation * answer.squeeze(1)
        return scaled


def values(crystals: Sequence[Crystal], target: str) -> np.ndarray[Any, Any]:
    return np.array([crystal.targets[target].value for crystal in crystals])


def crystal_task(
    benchmark: CrystalBenchmark, fold: CrystalFold, deviation: float, batch_size: int
) -> Task:
    """Absolute error in deviations of the target; reported in its unit."""

    def predict(model: nn.Module, batch: CrystalBatch, stage: Stage) -> tuple[Tensor, Tensor]:
        return model(batch), batch.targets[benchmark.target]

    loader: Any = functools.partial(DataLoader, batch_size=batch_size, collate_fn=collate)
    return Task(
        loader(fold.train, shuffle=True),
        loader(fold.validation),
        loader(fold.test),
        predict,
        lambda prediction, target: (prediction - target).abs().mean() / deviation,
        {"mae": MeanAbsoluteError()},
    )


def inverse_root(steps: int, done: float) -> float:
    """The paper's schedule, for so many steps in all."""
    return float((WARM_STEPS / (WARM_STEPS + done * steps)) ** 0.5)


def train_crystalformer(
    given: argparse.Namespace,
    benchmark: CrystalBenchmark,
    fold: CrystalFold,
    settings: Settings,
    folder: Path,
) -> dict[str, Any]:
    """One fold; leaves a checkpoint that ``predict`` takes."""
    own = values(fold.train, benchmark.target)
    mean, deviation = float(own.mean()), float(own.std())
    task = crystal_task(benchmark, fold, deviation, given.batch_size)
    steps = settings.max_epochs * -(-len(fold.train) // given.batch_size)
    schedule = functools.partial(inverse_root, steps)
    result = fit(
        functools.partial(CrystalNetwork, mean, deviation, given.dropout),
        task,
        settings,
        folder,
        AverageOfLast(given.averaged),
        one_cycle if given.schedule == "one-cycle" else schedule,
        functools.partial(torch.optim.AdamW, betas=(0.9, 0.98)),
    )
    seen = {number for crystal in fold.train for number in crystal.numbers.tolist()}
    told = {"target": benchmark.target, "unit": benchmark.unit, "elements": sorted(seen)}
    write({**told, "weights": read(result.weights)}, folder / "checkpoint.pt")
    return {**asdict(result), "weights": result.weights.name}


def composition(crystals: Sequence[Crystal]) -> np.ndarray[Any, Any]:
    """What a crystal is made of and nothing else: the share of each element, numbers of these."""
    shares = [np.bincount(own.numbers, minlength=len(SYMBOLS) + 1) / len(own) for own in crystals]
    numbers = [
        [own.mean(), own.std(), own.min(), own.max(), len(set(own.tolist()))]
        for own in (crystal.numbers.numpy() for crystal in crystals)
    ]
    return np.concatenate([np.stack(shares), np.array(numbers)], axis=1)


def train_baseline(
    given: argparse.Namespace,
    benchmark: CrystalBenchmark,
    fold: CrystalFold,
    settings: Settings,
    folder: Path,
) -> dict[str, Any]:
    """The mean of the targets, or a forest that sees the composition alone."""
    # Theirs alone, and slow to import.
    from sklearn.dummy import DummyRegressor  # type: ignore[import-untyped]
    from sklearn.ensemble import RandomForestRegressor  # type: ignore[import-untyped]

    forest = RandomForestRegressor(500, max_features=1 / 3, random_state=settings.seed)
    model = forest if given.model == "RandomForest" else DummyRegressor()
    start = time.perf_counter()
    model.fit(composition(fold.train), values(fold.train, benchmark.target))
    seconds = time.perf_counter() - start

    def error(crystals: list[Crystal]) -> dict[str, float]:
        found = model.predict(composition(crystals))
        return {"mae": float(np.abs(found - values(crystals, benchmark.target)).mean())}

    errors = {"test": error(fold.test), "validation": error(fold.validation)}
    return {**errors, "epochs": 1, "seconds": seconds}


MODELS = {
    "Crystalformer": train_crystalformer,
    "RandomForest": train_baseline,
    "Mean": train_baseline,
}


def train_folds(
    given: argparse.Namespace, benchmark: CrystalBenchmark, settings: Settings, folder: Path
) -> dict[str, Any]:
    """The folds that are asked for, and the mean over them."""
    found = []
    for number in given.folds or range(len(benchmark.folds)):
        own = folder / f"fold-{number}"
        fold = benchmark.folds[number]
        if given.all_seen:
            fold = replace(fold, train=fold.train + fold.validation)
        run = functools.partial(MODELS[given.model], given, benchmark, fold, settings, own)
        told = {**_told(given), **asdict(settings), "fold": number}
        found.append(recorded(own.with_suffix(".json"), told, run))
        print(f"fold {number}: {found[-1]['test']['mae']:.4g} {benchmark.unit}", flush=True)
    means = {
        stage: {name: fmean(own[stage][name] for own in found) for name in found[0][stage]}
        for stage in (["test"] if given.all_seen else ["test", "validation"])
    }
    return {
        **means,
        "folds": [own["test"] for own in found],
        "epochs": round(fmean(own["epochs"] for own in found)),
        "seconds": sum(own["seconds"] for own in found),
    }


def _told(given: argparse.Namespace) -> dict[str, Any]:
    # Of those who hold a tenth out the records do not say so.
    unsaid = {"folds", "run"} if given.all_seen else {"folds", "run", "all_seen"}
    return {name: x for name, x in deciding(given).items() if name not in unsaid}


def train(given: argparse.Namespace) -> float:
    """Train and report; returns the mean absolute error on test data."""
    benchmark = crystal_benchmark(given.dataset)
    name = f"{given.dataset}-{given.model}" + ("-all-seen" if given.all_seen else "")
    folder = given.output / "crystals" / name
    settings = Settings(
        max_epochs=given.max_epochs,
        learning_rate=given.learning_rate,
        weight_decay=1e-5,
        gradient_clip=1.0,
        checkpoint_every=5,
        progress=given.progress,
    )
    errors = []
    for seed in seeds_of(given):
        own = replace(settings, seed=seed)
        if given.folds:  # some of them, such as one for each of several processes
            record = train_folds(given, benchmark, own, folder / f"seed-{seed}")
        else:
            run = functools.partial(train_folds, given, benchmark)
            record = recorded_seed(folder, own, _told(given), run)
        errors.append(record["test"]["mae"])
    mean, error = mean_and_error(errors)
    spread = f" ± {error:.2g}" if len(errors) > 1 else ""
    print(f"{given.model} on {given.dataset}: {mean:.4g}{spread} {benchmark.unit}")
    return mean


def predict(given: argparse.Namespace) -> list[float]:
    """Predictions for files; with several checkpoints their mean and how far they are apart."""
    networks = []
    for path in given.checkpoint:
        content = read(path)
        if not {"weights", "target", "unit", "elements"} <= content.keys():
            raise SystemExit(f"{path} must be a checkpoint.pt that this recipe wrote")
        network = CrystalNetwork()
        check_same_keys(content["weights"], network.state_dict(), path)
        network.load_state_dict(content["weights"])
        networks.append(network.eval())
    found = []
    for file in given.files:
        crystal = read_crystal(file)
        unseen = sorted(set(crystal.numbers.tolist()) - set(content["elements"]))
        with torch.no_grad():
            answers = torch.stack([network(collate([crystal])) for network in networks])
        found.append(float(answers.mean()))
        spread = f" ± {float(answers.std()):.2g}" if len(networks) > 1 else ""
        strange = ", ".join(SYMBOLS[number - 1] for number in unseen)
        remark = f" (never saw {strange}: do not trust this)" if unseen else ""
        told = f"{content['target']} {found[-1]:.4g}{spread} {content['unit']}{remark}"
        print(f"{file}: {crystal.formula}: {told}")
    return found


def main(arguments: Sequence[str] | None = None) -> Any:
    """Runs what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(required=True)
    training = commands.add_parser("train", help="train and report")
    training.add_argument("--dataset", choices=CRYSTAL_BENCHMARKS, default="phonons")
    training.add_argument("--model", choices=list(MODELS), default="Crystalformer")
    training.add_argument("--max-epochs", type=int, default=100)
    training.add_argument("--averaged", type=int, default=10, help="last epochs (default: 10)")
    training.add_argument("--batch-size", type=int, default=32, help="crystals (default: 32)")
    training.add_argument("--learning-rate", type=float, default=5e-4)
    training.add_argument("--dropout", type=float, default=0.0)
    training.add_argument("--schedule", choices=["one-cycle", "inverse-root"], default="one-cycle")
    training.add_argument(
        "--all-seen",
        action="store_true",
        help="learn from what is held out, too, once there is nothing left to choose",
    )
    training.add_argument("--folds", type=int, nargs="+", help="only these")
    training.add_argument("--progress", action="store_true")
    add_run_arguments(training)
    training.set_defaults(run=train)
    predicting = commands.add_parser("predict", help="predict a property of CIF or POSCAR files")
    predicting.add_argument("files", type=Path, nargs="+")
    predicting.add_argument("--checkpoint", type=Path, nargs="+", required=True)
    predicting.set_defaults(run=predict)
    given = parser.parse_args(arguments)
    return given.run(given)


if __name__ == "__main__":
    torch.set_num_threads(1)  # batches are small: a second thread costs more than it brings
    main()
