"""The recipe of amortized clustering: the true mixture has the oracle for a loss; it learns."""

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch.testing import assert_close

from graphattn.datasets.mixtures import gaussian_mixtures

QUICK = ["--channels", "16", "--induced-points", "4", "--learning-rate", "1e-2", "--epochs", "2"]
QUICK += ["--steps-per-epoch", "25", "--test-batches", "5"]


@pytest.fixture(scope="module")
def recipe(load_example: Callable[[str], ModuleType]) -> ModuleType:
    return load_example("clustering")


def test_the_true_mixture_has_the_oracle_for_a_loss(recipe: ModuleType) -> None:
    data = gaussian_mixtures(6, 200)
    before_softplus = data.deviation.expm1().log()
    shift = torch.randn(6, 1, 1)  # logits are weights up to a constant
    raw = torch.cat([data.log_weight.unsqueeze(-1) + shift, data.mean, before_softplus], dim=-1)
    assert_close(recipe.negative_log_likelihood(raw, data.points), -data.log_likelihood().mean())


@pytest.mark.parametrize(
    ("model", "folder", "least"),
    # One Gaussian about all points gives -4.5; to know of the square that all means lie in, -4.2.
    [
        ("SetTransformer", "SetTransformer-4", -4.3),
        ("SetTransformer --form paper", "SetTransformer-4-paper", -4.3),
        ("DeepSets", "DeepSets", -4.6),
    ],
)
def test_it_learns_and_keeps_its_record(
    recipe: ModuleType, model: str, folder: str, least: float, tmp_path: Path
) -> None:
    command = [*QUICK, "--model", *model.split(), "--output", str(tmp_path)]
    found = recipe.main(command)
    record = json.loads((tmp_path / "clustering" / folder / "seed-0.json").read_text())
    assert record["test"]["loss"] == -found
    assert found < record["oracle"] < -1.2  # of 50 sets: the mean of all is -1.47
    assert found > least
    assert record["curve"][0]["train_loss"] > record["curve"][1]["train_loss"]
    assert recipe.main(command) == found


def test_the_learning_rate_falls_at_half(recipe: ModuleType) -> None:
    factors = [recipe.ten_times_slower_from_half(done) for done in (0.0, 0.49, 0.5, 1.0)]
    assert factors == [1.0, 1.0, 0.1, 0.1]
