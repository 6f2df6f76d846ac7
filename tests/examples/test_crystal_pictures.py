"""The pictures of a Crystalformer: what it learned is drawn, on what it has not seen, and again."""

import json
import runpy
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from graphattn.datasets import crystal_benchmarks
from graphattn.datasets.crystal_benchmarks import CrystalBenchmark, CrystalFold
from graphattn.datasets.crystals import Crystal, Quantity, collate

pytest.importorskip("matplotlib")

PICTURES = ["attention_in_shells", "attention_on_crystal", "parity_phonons"]


@pytest.fixture(scope="module")
def pictures(load_example: Callable[[str], ModuleType]) -> ModuleType:
    return load_example("crystal_pictures")


def salt(number: int) -> Crystal:
    """Rock salt of some size; the chlorides are to have 350, the fluorides 300."""
    return Crystal(
        f"c{number}",
        torch.tensor([11, 17 if number % 2 else 9]),
        torch.tensor([[0.0, 0.0, 0.0], [0.5, 0.5, 0.5]], dtype=torch.float64),
        (3.0 + 0.05 * number) * torch.eye(3, dtype=torch.float64),
        {"peak": Quantity(300 + 50.0 * (number % 2), "1/cm")},
    )


@pytest.fixture
def benchmark_of_salts(monkeypatch: pytest.MonkeyPatch) -> CrystalBenchmark:
    made = [salt(number) for number in range(30)]
    folds = [
        CrystalFold(made[:15], made[15:20], made[20:]),
        CrystalFold(made[20:], made[15:20], made[:15]),
    ]
    benchmark = CrystalBenchmark("peak", "1/cm", folds)
    monkeypatch.setattr(crystal_benchmarks, "crystal_benchmark", lambda name: benchmark)
    return benchmark


def test_every_fold_is_drawn_by_its_own_network_and_a_second_call_only_draws(
    pictures: ModuleType,
    benchmark_of_salts: CrystalBenchmark,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    drawn: dict[str, Any] = {}
    attention, shells = pictures.attention_on_crystal, pictures.attention_in_shells
    monkeypatch.setattr(
        pictures, "attention_on_crystal", lambda *own: drawn.update(on=own) or attention(*own)
    )
    monkeypatch.setattr(
        pictures, "attention_in_shells", lambda own: drawn.update(shells=own) or shells(own)
    )
    monkeypatch.setattr(pictures, "SHOWN", "c23")
    runs = tmp_path / "runs"
    command = ["--epochs", "2", "--averaged", "1", "--folds", "0", "1", "--runs", str(runs)]
    error = pictures.main([*command, "--output", str(tmp_path / "first")])
    records = sorted(runs.glob("crystals/*/seed-0/fold-*.json"))
    errors = [json.loads(record.read_text())["test"]["mae"] for record in records]
    assert error == pytest.approx((10 * errors[0] + 15 * errors[1]) / 25, rel=1e-5)
    assert abs(errors[0] - errors[1]) > 1e-3
    crystal, seen = drawn["on"]
    assert (crystal.name, seen.query) == ("c23", 1)
    assert list(drawn["shells"]) == [f"layer {number}" for number in range(1, 5)]

    written = sorted((tmp_path / "first").iterdir())
    assert [path.name for path in written] == [f"{name}.svg" for name in PICTURES]
    assert all(2_000 < path.stat().st_size < 1_000_000 for path in written)
    before = [record.stat().st_mtime_ns for record in records]
    assert pictures.main([*command, "--output", str(tmp_path / "again")]) == error
    assert [record.stat().st_mtime_ns for record in records] == before
    for path in written:
        assert (tmp_path / "again" / path.name).read_bytes() == path.read_bytes()


def test_what_lies_near_is_a_part_of_all_that_an_atom_gives(
    pictures: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pictures, "save_picture", lambda *own, **options: None)
    recipe = runpy.run_path(str(pictures.HERE / "crystals.py"))
    network, crystals = recipe["CrystalNetwork"](), [salt(number) for number in range(5)]
    batch = collate(crystals)
    network.train()(batch)  # settles the widths
    near = {}
    for reach in (0.5, 3.0, 10.0):
        monkeypatch.setattr(pictures, "NEAR", reach)
        near[reach] = pictures.draw_distances(network, crystals, tmp_path / "none.svg")
    layers = pictures.weights_on_crystals(network.crystalformer, batch)
    for number, layer in enumerate(layers):
        own = torch.zeros(())
        for crystal in range(len(crystals)):
            for atom in range(2):
                seen = pictures.image_weights(layer, atom, crystal)
                own = own + seen.weight[seen.distance == 0].sum(0).mean() / 10
        torch.testing.assert_close(near[0.5][number], own)
    assert (near[0.5] > 0.05).all()
    assert (near[0.5] < near[3.0]).all()
    torch.testing.assert_close(near[10.0], torch.ones(4).double(), rtol=0, atol=1e-6)
