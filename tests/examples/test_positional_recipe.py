"""The recipe of positional attention: it learns, keeps its record, and says what is wrong."""

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch.testing import assert_close

SMALL = ["--channels", "16", "--layers", "2", "--batch-size", "32", "--learning-rate", "1e-2"]
SHORT = ["--steps-per-epoch", "100", "--epochs", "2"]
LENGTHS = ["--shortest", "2", "--length", "4", "--longest", "6"]


@pytest.fixture(scope="module")
def recipe(load_example: Callable[[str], ModuleType]) -> ModuleType:
    return load_example("positional_attention")


@pytest.mark.parametrize("model", ["positional", "standard"])
def test_it_learns_and_keeps_its_record(recipe: ModuleType, model: str, tmp_path: Path) -> None:
    command = [*SMALL, *SHORT, *LENGTHS, "--model", model, "--output", str(tmp_path)]
    error = recipe.main(command)
    path = tmp_path / "positional_attention" / f"min-{model}-to-6" / "seed-0.json"
    record = json.loads(path.read_text())
    # The best constant is off by 0.9, squared.
    assert record["test"]["loss"] < 0.1
    assert record["bounds"]["10"] == error
    assert list(record["bounds"]) == ["4", "10", "20"]
    assert list(record["lengths"]) == ["5", "6"]
    before = path.stat().st_mtime_ns
    assert recipe.main(command) == error
    assert path.stat().st_mtime_ns == before


@pytest.mark.parametrize("model", ["positional", "standard"])
def test_sequences_of_a_batch_do_not_see_one_another(recipe: ModuleType, model: str) -> None:
    network = recipe.NETWORKS[model](7, 16, 2, 2)
    numbers, positions = recipe.batch(5, (4, 4), 6, torch.Generator().manual_seed(0))
    together = recipe.guess(network, numbers, positions, 6)
    assert together.shape == (5, 4)
    for own, place, expected in zip(numbers, positions, together, strict=True):
        assert_close(recipe.guess(network, own[None], place[None], 6)[0], expected)


def test_batches_have_the_lengths_and_the_range_that_were_asked_for(recipe: ModuleType) -> None:
    generator = torch.Generator().manual_seed(0)
    drawn = [recipe.batch(50, (2, 4), 6, generator) for _ in range(60)]
    assert {numbers.shape[1] for numbers, _ in drawn} == {2, 3, 4}
    assert all(numbers.shape == positions.shape for numbers, positions in drawn)
    assert max(float(numbers.abs().max()) for numbers, _ in drawn) < 2
    assert max(int(positions.max()) for _, positions in drawn) == 5
    numbers, _ = recipe.batch(200, (4, 4), 4, generator, bound=10.0, outside=2.0)
    assert 9 < float(numbers.abs().max()) < 10


def test_lengths_that_fall_are_named(
    recipe: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        recipe.main(["--length", "8", "--longest", "4"])
    assert "--longest must not fall, got 8, 8, 4" in capsys.readouterr().err
