"""Curves of runs: of records, of checkpoints of runs that were cut off, and what is no run."""

import json
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

pytest.importorskip("matplotlib")
pytest.importorskip("lightning")

from graphattn.plot import curves_of_runs, learning_curve
from graphattn.training import Settings, Task, fit


def write_record(folder: Path, seed: int, curve: object) -> None:
    record = {"settings": {}, "date": "", "curve": curve}
    (folder / f"seed-{seed}.json").write_text(json.dumps(record))


def rows(*values: float) -> list[dict[str, float]]:
    return [{"epoch": epoch, "validation_loss": value} for epoch, value in enumerate(values)]


def test_every_run_has_a_curve_by_rising_seed(tmp_path: Path) -> None:
    for seed, values in ((10, (3.0, 2.0)), (2, (4.0, 1.0, 0.5))):
        write_record(tmp_path, seed, rows(*values))
    (tmp_path / "seed-3.json.17.part").write_text("{")  # left by a process that was killed
    (tmp_path / "seed-2").mkdir()
    (tmp_path / "seed-2" / "resume.ckpt").write_text("the record is what counts")
    curves = curves_of_runs(tmp_path, "validation_loss")
    assert list(curves.items()) == [("seed 2", [4.0, 1.0, 0.5]), ("seed 10", [3.0, 2.0])]
    (axes,) = learning_curve(curves, quantity="loss", levels={"published": 0.998}).figure.axes
    assert [line.get_label() for line in axes.lines] == ["seed 2", "seed 10", "published"]


def test_a_run_that_was_cut_off_has_the_curve_of_its_checkpoint(tmp_path: Path) -> None:
    def loader() -> DataLoader:
        return DataLoader([(torch.ones(2), torch.ones(1))] * 4, batch_size=2)

    def predict(model: nn.Module, batch: list[torch.Tensor], stage: str) -> tuple:
        return model(batch[0]), batch[1]

    task = Task(loader(), loader(), loader(), predict, nn.functional.mse_loss)
    settings = Settings(max_epochs=3, accelerator="cpu", checkpoint_every=2)
    result = fit(lambda: nn.Linear(2, 1), task, settings, tmp_path / "seed-4")
    [(name, curve)] = curves_of_runs(tmp_path, "train_loss").items()
    assert name == "seed 4, unfinished"
    assert curve == [row["train_loss"] for row in result.curve[:2]]


def test_what_is_no_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"folder must hold seed-N\.json or seed-N/resume\.ckpt"):
        curves_of_runs(tmp_path / "nowhere", "validation_loss")
    write_record(tmp_path, 0, rows(1.0))
    with pytest.raises(ValueError, match=r"one of \['epoch', 'validation_loss'\] in .*'rmse'"):
        curves_of_runs(tmp_path, "rmse")
    write_record(tmp_path, 0, [])
    with pytest.raises(ValueError, match=r"seed-0\.json must have a curve"):
        curves_of_runs(tmp_path, "validation_loss")
    (tmp_path / "seed-1").mkdir()
    (tmp_path / "seed-1" / "resume.ckpt").write_bytes(b"")
    (tmp_path / "seed-0.json").unlink()
    with pytest.raises(ValueError, match=r"resume\.ckpt is damaged"):
        curves_of_runs(tmp_path, "validation_loss")
