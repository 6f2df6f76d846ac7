"""The recipe of max regression: it learns, and a run that was cut off ends as an unbroken one."""

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch.testing import assert_close

from graphattn import Blocks
from graphattn.training import Result, Settings, fit

QUICK = ["--channels", "16", "--batch-size", "64", "--steps-per-epoch", "150", "--epochs", "2"]


@pytest.fixture(scope="module")
def recipe(load_example: Callable[[str], ModuleType]) -> ModuleType:
    return load_example("max_regression")


@pytest.mark.parametrize(
    ("model", "folder"), [("SetTransformer", "SetTransformer"), ("DeepSets", "DeepSets-max")]
)
def test_it_learns_and_keeps_its_record(
    recipe: ModuleType, model: str, folder: str, tmp_path: Path
) -> None:
    command = [*QUICK, "--learning-rate", "1e-2", "--model", model, "--output", str(tmp_path)]
    error = recipe.main(command)
    # The best constant is off by 14.5.
    assert error < 6
    record = json.loads((tmp_path / "max_regression" / folder / "seed-0.json").read_text())
    assert record["test"]["loss"] == error
    assert record["epochs"] == 2
    assert recipe.main(command) == error


def test_a_run_that_was_cut_off_ends_as_an_unbroken_one(recipe: ModuleType, tmp_path: Path) -> None:
    def run(folder: str, epochs: int) -> Result:
        settings = Settings(max_epochs=epochs, checkpoint_every=1)
        task = recipe.max_task(batch_size=8, steps=5)
        return fit(lambda: recipe.MaxNetwork(16), task, settings, tmp_path / folder)

    unbroken = run("unbroken", 3)
    run("cut off", 2)
    resumed = run("cut off", 3)
    assert resumed.curve == unbroken.curve
    assert resumed.test == unbroken.test


def test_sets_of_a_batch_do_not_see_one_another(recipe: ModuleType) -> None:
    network = recipe.MaxNetwork(16)
    numbers, ptr, largest = recipe.batch(20, torch.Generator().manual_seed(0))
    together = network(numbers, blocks=Blocks.from_ptr(ptr))
    assert together.flatten(1).shape == largest.shape == (20, 1)
    for own, expected in zip(numbers.split(ptr.diff().tolist()), together, strict=True):
        alone = network(own, blocks=Blocks.from_ptr(torch.tensor([0, len(own)])))
        assert_close(alone[0], expected)
