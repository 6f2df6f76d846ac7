"""The recipe on crystals: folds, what is kept of them, and predictions from files."""

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from graphattn.datasets.crystal_benchmarks import CrystalBenchmark, CrystalFold
from graphattn.datasets.crystals import Crystal, Quantity, collate

pytest.importorskip("ase")
pytest.importorskip("sklearn")

QUICK = ["--max-epochs", "2", "--averaged", "1", "--batch-size", "8"]


@pytest.fixture(scope="module")
def recipe(load_example: Callable[[str], ModuleType]) -> ModuleType:
    return load_example("crystals")


def crystal(generator: torch.Generator, number: int) -> Crystal:
    """Rock salt of some size; what is to be learnt is the share of chlorine times 100 and 300."""
    size = 3.0 + 2.0 * float(torch.rand((), generator=generator))
    numbers = torch.tensor([11, 17 if number % 2 else 9])
    share = 0.5 * float(number % 2)
    return Crystal(
        f"c{number}",
        numbers,
        torch.tensor([[0.0, 0.0, 0.0], [0.5, 0.5, 0.5]], dtype=torch.float64),
        size * torch.eye(3, dtype=torch.float64),
        {"peak": Quantity(300 + 100 * share, "1/cm")},
    )


@pytest.fixture
def fake(recipe: ModuleType, monkeypatch: pytest.MonkeyPatch) -> CrystalBenchmark:
    generator = torch.Generator().manual_seed(0)
    made = [crystal(generator, number) for number in range(40)]
    folds = [
        CrystalFold(made[:20], made[20:30], made[30:]),
        CrystalFold(made[20:], made[:10], made),
    ]
    benchmark = CrystalBenchmark("peak", "1/cm", folds)
    monkeypatch.setattr(recipe, "crystal_benchmark", lambda name: benchmark)
    return benchmark


def record(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def test_folds_may_be_trained_apart_and_are_reported_together(
    recipe: ModuleType, fake: CrystalBenchmark, tmp_path: Path
) -> None:
    apart, together = tmp_path / "apart", tmp_path / "together"
    for fold in ("1", "0"):
        recipe.main(["train", *QUICK, "--folds", fold, "--output", str(apart)])
    own = apart / "crystals" / "phonons-Crystalformer"
    assert not (own / "seed-0.json").exists()
    error = recipe.main(["train", *QUICK, "--output", str(apart)])
    assert error == recipe.main(["train", *QUICK, "--output", str(together)])
    folds = [record(own / "seed-0" / f"fold-{number}.json")["test"]["mae"] for number in (0, 1)]
    assert folds[0] != folds[1]
    assert error == record(own / "seed-0.json")["test"]["mae"] == pytest.approx(sum(folds) / 2)


def test_what_is_held_out_may_be_learnt_from_in_the_end(
    recipe: ModuleType,
    fake: CrystalBenchmark,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given: list[list[str]] = []

    def looked_at(told: object, benchmark: object, fold: CrystalFold, *rest: object) -> object:
        given.append([crystal.name for crystal in fold.train])
        return {"test": {"mae": 1.0}, "validation": {"mae": 0.0}, "epochs": 1, "seconds": 0.0}

    monkeypatch.setitem(recipe.MODELS, "Mean", looked_at)
    recipe.main(["train", "--model", "Mean", "--all-seen", "--output", str(tmp_path)])
    first = fake.folds[0]
    assert given[0] == [crystal.name for crystal in first.train + first.validation]
    own = record(tmp_path / "crystals" / "phonons-Mean-all-seen" / "seed-0.json")
    assert own["settings"]["all_seen"] is True
    assert own["test"]["mae"] == 1.0
    assert "validation" not in own  # it would be an error on what was learnt from


def test_predicts_from_files_what_was_trained(
    recipe: ModuleType,
    fake: CrystalBenchmark,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    import ase
    from ase.io import write

    recipe.main(["train", *QUICK, "--output", str(tmp_path)])
    folder = tmp_path / "crystals" / "phonons-Crystalformer" / "seed-0"
    checkpoints = [folder / f"fold-{number}" / "checkpoint.pt" for number in (0, 1)]
    known = fake.folds[0].test[0]
    numbers, fractional, lattice = known.numbers, known.fractional, known.lattice
    atoms = ase.Atoms(
        numbers.numpy(), scaled_positions=fractional.numpy(), cell=lattice.numpy(), pbc=True
    )
    file, other = tmp_path / "salt.cif", tmp_path / "oxide.cif"
    write(file, atoms)
    atoms.numbers[1] = 8
    write(other, atoms)
    capsys.readouterr()
    found = recipe.main(["predict", str(file), str(other), "--checkpoint", str(checkpoints[0])])
    salt, oxide = capsys.readouterr().out.splitlines()
    assert f"peak {found[0]:.4g} 1/cm" in salt
    assert "F1 Na1" in salt
    assert "never saw" not in salt
    assert "never saw O" in oxide

    network = recipe.CrystalNetwork()
    network.load_state_dict(torch.load(checkpoints[0])["weights"])
    with torch.no_grad():
        expected = float(network.eval()(collate([known])))
    assert found[0] == pytest.approx(expected, rel=1e-4)  # a CIF has eight digits
    assert 290 < expected < 360  # in the unit of the targets, not in deviations

    other_one = recipe.main(["predict", str(file), "--checkpoint", str(checkpoints[1])])
    both = recipe.main(["predict", str(file), "--checkpoint", *map(str, checkpoints)])
    assert both[0] == pytest.approx((found[0] + other_one[0]) / 2, rel=1e-5)
    assert " ± " in capsys.readouterr().out.splitlines()[-1]


def test_what_is_no_checkpoint_of_the_recipe_is_named(
    recipe: ModuleType, fake: CrystalBenchmark, tmp_path: Path
) -> None:
    recipe.main(["train", *QUICK, "--folds", "0", "--output", str(tmp_path)])
    folder = tmp_path / "crystals" / "phonons-Crystalformer" / "seed-0" / "fold-0"
    with pytest.raises(SystemExit, match=r"weights\.pt must be a checkpoint\.pt that this recipe"):
        recipe.main(["predict", "salt.cif", "--checkpoint", str(folder / "weights.pt")])


def test_baselines_see_the_composition_alone(
    recipe: ModuleType, fake: CrystalBenchmark, tmp_path: Path
) -> None:
    output = ["--output", str(tmp_path)]
    assert recipe.main(["train", "--model", "Mean", *output]) == pytest.approx(25)
    assert recipe.main(["train", "--model", "RandomForest", *output]) < 1
    features = recipe.composition(fake.folds[0].test)
    assert features.shape == (10, 118 + 1 + 5)
    assert features[0, 11] == 0.5
    assert (features[::2] == features[0]).all()  # whatever the size of the cell


def test_the_schedule_of_the_paper(recipe: ModuleType) -> None:
    assert recipe.inverse_root(8000, 0.0) == 1
    assert recipe.inverse_root(8000, 0.5) == pytest.approx(0.5**0.5)
    assert recipe.inverse_root(12000, 1.0) == 0.5
