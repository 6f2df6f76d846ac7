"""Weights averaged over the last epochs, and optimizers of one's own."""

import functools
from pathlib import Path

import pytest
import torch
from test_training import Network, graph
from torch import Tensor, nn
from torch.nn import functional as F
from torch.testing import assert_close

from graphattn.training import (
    AverageOfLast,
    Result,
    Settings,
    fit,
    load_weights,
    node_classification,
)

EPOCHS = 6


def run(
    folder: Path, last: int, max_epochs: int = EPOCHS, build: type[nn.Module] = Network
) -> Result:
    settings = Settings(max_epochs=max_epochs, learning_rate=0.01, checkpoint_every=1)
    return fit(build, node_classification(graph(), 3), settings, folder, AverageOfLast(last))


def weights(result: Result) -> dict[str, Tensor]:
    network = Network()
    load_weights(network, result.weights)
    return network.state_dict()


def test_the_mean_of_the_last_epochs_is_kept_validated_and_tested(tmp_path: Path) -> None:
    found = run(tmp_path / "mean", 3)
    # A run of fewer epochs is the beginning of a longer one.
    ends = [weights(run(tmp_path / f"{n}", 1, n)) for n in range(EPOCHS - 2, EPOCHS + 1)]
    expected = {name: torch.stack([own[name] for own in ends]).mean(0) for name in ends[0]}
    for name, x in weights(found).items():
        assert_close(x, expected[name])
    network, data = Network().eval(), graph()
    network.load_state_dict(expected)
    logits = network(data.x, data.edge_index).detach()
    for numbers, mask in ((found.validation, data.val_mask), (found.test, data.test_mask)):
        assert numbers["loss"] == pytest.approx(float(F.cross_entropy(logits[mask], data.y[mask])))
    assert found.best_epoch == EPOCHS - 1
    assert len(found.curve) == EPOCHS


@pytest.mark.parametrize("stop", [2, 5])
def test_a_run_cut_off_averages_the_same(tmp_path: Path, stop: int) -> None:
    whole = run(tmp_path / "whole", 3)

    class PowerCut(Network):
        calls = 0

        def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
            PowerCut.calls += 1
            if PowerCut.calls > 2 * stop:  # one call to train and one to validate an epoch
                raise InterruptedError
            return super().forward(x, edge_index)

    with pytest.raises(InterruptedError):
        run(tmp_path / "cut", 3, build=PowerCut)
    resumed = run(tmp_path / "cut", 3)
    assert resumed.test == whole.test
    for name, x in weights(resumed).items():
        assert torch.equal(x, weights(whole)[name])


def test_more_epochs_than_there_are_take_all(tmp_path: Path) -> None:
    assert run(tmp_path / "many", 100).test == run(tmp_path / "all", EPOCHS).test
    with pytest.raises(ValueError, match="epochs must be positive, got 0"):
        AverageOfLast(0)


def test_an_optimizer_of_ones_own(tmp_path: Path) -> None:
    made = []

    def optimizer(parameters: object, **given: float) -> torch.optim.Optimizer:
        made.append(given)
        return torch.optim.SGD(parameters, **given)  # type: ignore[arg-type]

    task = node_classification(graph(), 3)
    settings = Settings(max_epochs=1, learning_rate=0.5, weight_decay=0.25)
    fit(Network, task, settings, tmp_path, optimizer=functools.partial(optimizer, momentum=0.9))
    assert made == [{"lr": 0.5, "weight_decay": 0.25, "momentum": 0.9}]
