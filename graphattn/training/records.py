"""Machine-readable results of recipes: one JSON file per run, and numbers over several runs."""

import argparse
import datetime
import functools
import importlib.metadata
import json
import math
import os
import platform
import statistics
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from graphattn.training.fit import Settings

PACKAGES = ("graphattn", "torch", "torch-geometric", "lightning")


def recorded(
    path: str | Path, settings: Mapping[str, Any], run: Callable[[], Mapping[str, Any]]
) -> dict[str, Any]:
    """The record of a run: read if it is there, else run and written.

    Args:
        path: The JSON file. It is written whole or not at all.
        settings: Everything that decides the numbers; plain data.
        run: Does the work and gives its numbers; plain data.

    Returns:
        The record: what ``run`` gave, ``settings``, ``date`` (UTC), ``commit`` (``None`` outside a
        checkout; ends in ``-dirty`` if files were changed), ``versions`` and ``hardware``.

    Raises:
        ValueError: If the file is damaged, or is of other settings.
    """
    path, plain = Path(path), json.loads(json.dumps(dict(settings)))
    if path.exists():
        record = read_record(path)
        if record["settings"] != plain:
            raise ValueError(
                f"{path} must be of the settings {plain}, got {record['settings']}: "
                "delete it, or use another output folder"
            )
        return record
    record = {**run(), "settings": plain, **surroundings()}
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.part")
    temporary.write_text(json.dumps(record, indent=1, allow_nan=False) + "\n")
    temporary.replace(path)
    return record


def recorded_seed(
    folder: Path,
    settings: Settings,
    told: Mapping[str, Any],
    train: Callable[[Settings, Path], Mapping[str, Any]],
) -> dict[str, Any]:
    """The record of one of several runs that differ in their seed; see ``recorded``.

    Args:
        folder: Of all the runs: holds ``seed-N.json`` and, for what a run leaves, ``seed-N``.
        settings: Of this run, its seed among them.
        told: What else decides the numbers; plain data.
        train: Does the run: given its settings and its folder.

    Raises:
        ValueError: If the file is damaged, or is of other settings.
    """
    own = folder / f"seed-{settings.seed}"
    run = functools.partial(train, settings, own)
    return recorded(own.with_suffix(".json"), {**told, **asdict(settings)}, run)


def add_run_arguments(parser: argparse.ArgumentParser, seeds: int = 1) -> None:
    """Adds what every recipe is told of its runs: ``--seeds``, ``--first-seed``, ``--output``.

    Args:
        parser: Of the recipe's command line.
        seeds: Number of runs unless another is asked for.
    """
    parser.add_argument(
        "--seeds", type=int, default=seeds, help="number of runs (default: %(default)s)"
    )
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path("runs"))


def deciding(given: argparse.Namespace) -> dict[str, Any]:
    """Of a command line what decides the numbers of a run: all but ``add_run_arguments``."""
    return {k: v for k, v in vars(given).items() if k not in {"output", "seeds", "first_seed"}}


def seeds_of(given: argparse.Namespace) -> range:
    """The seeds that a command line asks for; see ``add_run_arguments``."""
    return range(given.first_seed, given.first_seed + given.seeds)


def read_record(path: str | Path) -> dict[str, Any]:
    """Read a record; a ValueError names the file if it is damaged."""
    try:
        record = json.loads(Path(path).read_text())
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is damaged ({error}): delete it to run again") from error
    if not isinstance(record, dict) or not {"settings", "date"} <= record.keys():
        raise ValueError(f"{path} must be a record with settings and date: delete it to run again")
    return record


def mean_and_error(values: Sequence[float]) -> tuple[float, float]:
    """Mean and its standard error.

    Args:
        values: One number per run, at least one.

    Returns:
        The mean, and the standard deviation of the sample over the root of its size; NaN for one
        value, which says nothing of its spread.

    Raises:
        ValueError: If there are no values.
    """
    if not values:
        raise ValueError("values must hold at least one number, got none")
    error = statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else math.nan
    return statistics.fmean(values), error


def surroundings() -> dict[str, Any]:
    """Date, commit, versions and hardware of this process, as plain data."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "commit": _commit(),
        "versions": {"python": platform.python_version(), **_versions()},
        "hardware": {"cpu": _processor(), "threads": torch.get_num_threads(), "gpu": device},
    }


def _versions() -> dict[str, str]:
    installed = {}
    for name in PACKAGES:
        try:
            installed[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return installed


def _commit() -> str | None:
    here = Path(__file__).resolve()
    git = ["git", "-C", str(here.parent)]
    tracked = [*git, "ls-files", "--error-unmatch", here.name]
    describe = [*git, "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        # A checkout of something else around an installed copy is not where this code is from.
        subprocess.run(tracked, capture_output=True, check=True)
        done = subprocess.run(describe, capture_output=True, check=True, text=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
