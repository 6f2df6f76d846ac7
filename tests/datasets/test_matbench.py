"""Matbench: the official folds, and what a task is made of."""

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from graphattn.datasets import matbench as module
from graphattn.datasets.matbench import MATBENCH, matbench, matbench_folds


@pytest.fixture
def phonons(data_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = data_folder / "crystal_phonons"
    if not folder.is_dir():
        pytest.skip(f"no {folder}")
    monkeypatch.setenv("GRAPHATTN_DATA", str(data_folder))
    return folder


def test_phonons_have_the_official_folds_and_targets(phonons: Path) -> None:
    task = matbench("matbench_phonons")
    assert (len(task), task.unread, task.unit) == (1265, [], "1/cm")
    folds = json.loads((phonons / "matbench_test_folds.json").read_text())
    assert [fold.tolist() for fold in task.folds] == [sorted(rows) for rows in folds.values()]
    with np.load(phonons / "crystals.npz") as stored:
        values = [crystal.targets[task.target].value for crystal in task.crystals]
        assert values == stored["last_phdos_peak"].tolist()
        numbers = torch.cat([crystal.numbers for crystal in task.crystals])
        assert numbers.tolist() == stored["number"].tolist()
        lattice = torch.stack([crystal.lattice for crystal in task.crystals])
        assert torch.equal(lattice, torch.from_numpy(stored["lattice"]))
    assert task.crystals[-1].name == "mb-phonons-1265"


@pytest.mark.usefixtures("phonons")
def test_a_fold_is_seen_or_tested_on_and_never_both() -> None:
    task = matbench("phonons")
    for fold in range(5):
        seen, test = task.split(fold)
        assert len(test) == 253
        assert sorted([*seen.rows.tolist(), *test.rows.tolist()]) == list(range(1265))
    with pytest.raises(ValueError, match="fold must be from 0 to 4, got 5"):
        task.split(5)


@pytest.mark.parametrize("num_rows", [5, 8, 636])
def test_folds_hold_every_row_once_and_differ_by_one_in_size(num_rows: int) -> None:
    folds = matbench_folds(num_rows)
    assert torch.cat(folds).sort().values.tolist() == list(range(num_rows))
    assert all(torch.equal(fold, fold.sort().values) for fold in folds)
    assert max(map(len, folds)) - min(map(len, folds)) <= 1
    with pytest.raises(ValueError, match="num_rows must be at least 5, got 4"):
        matbench_folds(4)


def structure(*, edge: float) -> dict[str, Any]:
    site = {"abc": [0, 0, 0], "species": [{"element": "Fe", "occu": 1}]}
    return {"lattice": {"matrix": (np.eye(3) * edge).tolist()}, "sites": [site]}


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A task of seven rows, of which the third is no crystal; returns its file."""
    monkeypatch.setenv("GRAPHATTN_DATA", str(tmp_path))
    monkeypatch.setenv("GRAPHATTN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(module, "ADDRESS", "http://127.0.0.1:9")
    monkeypatch.setitem(MATBENCH, "mp_gap", MATBENCH["mp_gap"]._replace(num_rows=7))
    edges = [3.0, 4.0, 0.0, 5.0, 6.0, 7.0, 8.0]
    data = [[structure(edge=edge), 0.1 * edge] for edge in edges]
    table = {"index": list(range(7)), "columns": ["structure", "gap pbe"], "data": data}
    path = tmp_path / "crystal_mp_gap" / "matbench_mp_gap.json.gz"
    path.parent.mkdir()
    path.write_bytes(gzip.compress(json.dumps(table).encode()))
    return path


@pytest.mark.usefixtures("small")
def test_a_refused_row_is_reported_and_missing_from_its_fold_alone() -> None:
    task = matbench("mp_gap")
    assert [(row, name) for row, name, _ in task.unread] == [(2, "mb-mp-gap-3")]
    assert [crystal.name for crystal in task.crystals[1:3]] == ["mb-mp-gap-2", "mb-mp-gap-4"]
    for places, rows in zip(task.folds, matbench_folds(7), strict=True):
        assert task.rows[places].tolist() == [row for row in rows.tolist() if row != 2]


def test_a_file_of_another_task_is_named(small: Path) -> None:
    table = json.loads(gzip.decompress(small.read_bytes()))
    table["columns"][1] = "is_metal"
    small.write_bytes(gzip.compress(json.dumps(table).encode()))
    with pytest.raises(ValueError, match=f"{small} must have columns structure and gap pbe and 7"):
        matbench("mp_gap")


def test_an_unknown_task_is_answered_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"name must be one of \['dielectric'.*got 'steels'"):
        matbench("steels")


def test_without_a_file_the_error_says_what_to_put_where(small: Path) -> None:
    file = small.parents[1] / "cache" / "crystal_jdft2d" / "matbench_jdft2d.json.gz"
    with pytest.raises(FileNotFoundError, match=f"put it at {file}"):
        matbench("jdft2d")
