"""Learning curves of finished and unfinished runs, read from what training leaves in a folder."""

import re
from pathlib import Path
from typing import Any


def curves_of_runs(folder: str | Path, measure: str) -> dict[str, list[float]]:
    """Reads the curves of runs that differ in their seed, for ``learning_curve``.

    A run that has ended has a record, ``seed-N.json``; of one that has not, the last checkpoint is
    read, ``seed-N/resume.ckpt``.

    Args:
        folder: Of the runs, as ``graphattn.training.recorded_seed`` has it, such as
            ``runs/molecules/molesol-GPS``.
        measure: Number to read of each epoch, such as ``"train_loss"`` or ``"validation_rmse"``.

    Returns:
        ``"seed N"``, or ``"seed N, unfinished"``, to one value per epoch, by rising seed.

    Raises:
        ValueError: If there is no run, a file is damaged or has no curve, or epochs have no such
            number; names those that they have.
        ImportError: If Lightning is not installed.
    """
    from graphattn.training.checkpoints import read
    from graphattn.training.records import read_record

    rows: dict[str, tuple[Path, Any]] = {}
    for seed, path in _files(Path(folder)):
        if path.suffix == ".json":
            rows[f"seed {seed}"] = path, read_record(path).get("curve")
        else:
            curve = read(path).get("callbacks", {}).get("Curve", {})
            rows[f"seed {seed}, unfinished"] = path, curve.get("rows")
    if not rows:
        raise ValueError(f"folder must hold seed-N.json or seed-N/resume.ckpt, got {folder}")
    return {name: _column(path, curve, measure) for name, (path, curve) in rows.items()}


def _files(folder: Path) -> list[tuple[int, Path]]:
    """Seeds and what tells of them: the record, or else the checkpoint."""
    found = {
        int(match[1]): path
        for pattern in ("seed-*/resume.ckpt", "seed-*.json")
        for path in folder.glob(pattern)
        if (match := re.match(r"seed-(\d+)(?:\.json)?$", path.relative_to(folder).parts[0]))
    }
    return sorted(found.items())


def _column(path: Path, curve: Any, measure: str) -> list[float]:
    if not curve:
        raise ValueError(f"{path} must have a curve, which it does not")
    known = sorted(set.intersection(*(set(row) for row in curve)))
    if measure not in known:
        raise ValueError(f"measure must be one of {known} in {path}, got {measure!r}")
    return [row[measure] for row in curve]
