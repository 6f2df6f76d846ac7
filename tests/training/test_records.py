"""Records of runs: written once, whole, and read again only for the same settings."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from graphattn.training.fit import Settings
from graphattn.training.records import mean_and_error, read_record, recorded, recorded_seed


def test_a_run_is_recorded_once(tmp_path: Path) -> None:
    path, calls = tmp_path / "deep" / "seed-0.json", []

    def run() -> dict[str, float]:
        calls.append(1)
        return {"score": 0.5}

    first = recorded(path, {"seed": 0, "sizes": (1, 2)}, run)
    assert recorded(path, {"seed": 0, "sizes": (1, 2)}, run) == first
    assert calls == [1]
    assert first["score"] == 0.5
    assert first["settings"] == {"seed": 0, "sizes": [1, 2]}
    assert first["hardware"]["threads"] == 1
    assert {"python", "torch", "torch-geometric"} <= first["versions"].keys()
    assert [path] == list(path.parent.iterdir())


def test_other_settings_are_refused(tmp_path: Path) -> None:
    recorded(tmp_path / "a.json", {"seed": 0}, lambda: {})
    with pytest.raises(ValueError, match=r"a\.json must be of the settings .*1.*got .*0"):
        recorded(tmp_path / "a.json", {"seed": 1}, lambda: {})


def test_a_run_that_fails_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        recorded(tmp_path / "a.json", {}, lambda: {"score": 1 / 0})
    with pytest.raises(ValueError, match="JSON"):
        recorded(tmp_path / "a.json", {}, lambda: {"score": math.nan})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", ["{", "[]", "{}", "\xff"])
def test_a_damaged_record_is_named(tmp_path: Path, content: str) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(content.encode("latin1"))
    with pytest.raises(ValueError, match=r"a\.json .*delete it to run again"):
        read_record(path)


def test_mean_and_its_standard_error() -> None:
    assert mean_and_error([1.0, 2.0, 3.0]) == pytest.approx((2.0, 1 / math.sqrt(3)))
    mean, error = mean_and_error([4.0])
    assert mean == 4.0
    assert math.isnan(error)
    with pytest.raises(ValueError, match="values must hold at least one number"):
        mean_and_error([])


def test_a_record_can_be_read_by_anything_that_reads_json(tmp_path: Path) -> None:
    recorded(tmp_path / "a.json", {"seed": 0}, lambda: {"curve": [{"epoch": 0, "loss": 1.5}]})
    assert json.loads((tmp_path / "a.json").read_text())["curve"][0]["loss"] == 1.5


def test_runs_of_several_seeds_are_recorded_apart_and_read_again(tmp_path: Path) -> None:
    trained = []

    def train(settings: Settings, folder: Path) -> dict[str, Any]:
        trained.append((settings.seed, folder))
        return {"test": {"loss": float(settings.seed)}}

    for seed in (4, 5, 4):
        settings = Settings(max_epochs=3, seed=seed)
        record = recorded_seed(tmp_path, settings, {"model": "GAT"}, train)
        assert record["test"]["loss"] == seed
        assert record["settings"]["model"] == "GAT"
        assert record["settings"]["seed"] == seed
    assert trained == [(4, tmp_path / "seed-4"), (5, tmp_path / "seed-5")]
    with pytest.raises(ValueError, match="must be of the settings"):
        recorded_seed(tmp_path, Settings(max_epochs=4, seed=4), {"model": "GAT"}, train)
