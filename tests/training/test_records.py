"""Records of runs: written once, whole, and read again only for the same settings."""

import json
import math
from pathlib import Path

import pytest

from graphattn.training.records import mean_and_error, read_record, recorded


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
