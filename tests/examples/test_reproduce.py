"""The page of results: made from the files of the runs alone."""

import json
import runpy
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

REPRODUCE = runpy.run_path(str(Path(__file__).parents[2] / "examples" / "reproduce.py"))


def write(folder: Path, seed: int, accuracy: float) -> None:
    record = {
        "test": {"accuracy": accuracy},
        "epochs": 10 + seed,
        "seconds": 90,
        "settings": {"seed": seed},
        "date": f"2026-01-0{seed + 1}T00:00:00+00:00",
        "commit": "0123456789ab",
        "versions": {"torch": "2.13.0"},
        "hardware": {"cpu": "a processor", "threads": 2, "gpu": None},
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"seed-{seed}.json").write_text(json.dumps(record))


def test_the_page_shows_mean_error_and_where_they_come_from(tmp_path: Path) -> None:
    for seed, accuracy in enumerate([0.82, 0.83, 0.84]):
        write(tmp_path / "runs" / "citation" / "Cora-GAT", seed, accuracy)
    write(tmp_path / "runs" / "citation" / "Cora-GATv2", 0, 0.8)
    page = tmp_path / "docs" / "results.md"
    command = ["--render-only", "--output", str(tmp_path / "runs"), "--page", str(page)]
    text = REPRODUCE["main"](command)
    assert page.read_text() == text
    assert "| GAT on Cora | 83.00 ± 0.58 | 83.0 ± 0.7 | 3 | 11 | 1.5 |" in text
    assert "| GATv2 on Cora | 80.00 | — | 1 | 10 | 1.5 |" in text
    assert "| GAT on PubMed | not run | 79.0 ± 0.3 | 0 |  |  |" in text
    assert "Seeds 0 to 2; 2026-01-01 to 2026-01-03; commit 0123456789ab;" in text
    assert "a processor, 2 thread(s)" in text
    assert "python examples/citation.py --dataset Cora --model GAT --seeds 3" in text
    assert str(tmp_path) not in text


def test_a_number_that_a_run_does_not_have_is_left_out(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "crystals" / "phonons-Mean-all-seen"
    write(folder, 0, 0.8)
    record = json.loads((folder / "seed-0.json").read_text())
    (folder / "seed-0.json").write_text(json.dumps({**record, "test": {"mae": 88.6}}))
    command = ["--render-only", "--output", str(tmp_path / "runs")]
    text = REPRODUCE["main"]([*command, "--page", str(tmp_path / "results.md")])
    assert "| mean | 88.6 | — | — | 1 | 10 | 1.5 |" in text


def test_a_damaged_record_is_named_and_the_page_is_kept(tmp_path: Path) -> None:
    folder, page = tmp_path / "runs" / "citation" / "Cora-GAT", tmp_path / "results.md"
    write(folder, 0, 0.8)
    page.write_text("old")
    (folder / "seed-0.json").write_text("{")
    with pytest.raises(ValueError, match=r"seed-0\.json is damaged"):
        REPRODUCE["main"](
            ["--render-only", "--output", str(folder.parents[1]), "--page", str(page)]
        )
    assert page.read_text() == "old"


def test_every_row_is_read_from_where_its_recipe_writes(
    data_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRAPHATTN_DATA", str(data_folder))
    asked: list[Path] = []

    def note(path: Path, settings: object, run: object) -> dict[str, Any]:
        asked.append(path)
        numbers: dict[str, float] = defaultdict(float)
        return defaultdict(int, test=numbers, validation=numbers, bounds=numbers, lengths={})

    monkeypatch.setattr("graphattn.training.records.recorded", note)
    for table in REPRODUCE["TABLES"].values():
        recipe = runpy.run_path(str(Path(__file__).parents[2] / "examples" / table.script))["main"]
        for row in table.rows:
            recipe([*row.arguments.split(), "--seeds", "1", "--output", str(tmp_path)])
            assert asked[-1] == tmp_path / row.folder / "seed-0.json"
