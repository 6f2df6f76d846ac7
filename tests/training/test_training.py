"""The training harness: selection, stopping, resuming and what it says of broken checkpoints."""

import functools
import importlib
import math
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torch_geometric.data import Data

from graphattn.training import (
    BestValue,
    LossAndAccuracy,
    Result,
    Settings,
    Task,
    fit,
    graph_regression,
    load_weights,
    node_classification,
    one_cycle,
)


class Network(nn.Module):
    """Enough of a network: a hidden layer and dropout, which draws random numbers."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.hidden, self.output = nn.Linear(4, width), nn.Linear(width, 3)

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        return self.output(nn.functional.dropout(self.hidden(x).relu(), 0.5, self.training))


def graph() -> Data:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(60, 4, generator=generator)
    part = torch.arange(60) % 3
    return Data(
        x=x,
        edge_index=torch.empty(2, 0, dtype=torch.int64),
        y=x[:, :3].argmax(dim=1),
        train_mask=part == 0,
        val_mask=part == 1,
        test_mask=part == 2,
    )


def run(folder: Path, build: type[nn.Module] = Network, **settings: object) -> Result:
    chosen = Settings(**{"max_epochs": 20, "learning_rate": 0.01, "checkpoint_every": 4} | settings)
    return fit(build, node_classification(graph(), 3), chosen, folder, LossAndAccuracy(patience=50))


class Scripted(LossAndAccuracy):
    """Is told the validation numbers instead of computing them."""

    def __init__(self, patience: int, losses: list[float], accuracies: list[float]) -> None:
        super().__init__(patience)
        self.script = list(zip(losses, accuracies, strict=True))

    def judge(self, numbers: dict[str, float]) -> tuple[bool, bool]:
        loss, accuracy = self.script.pop(0)
        return super().judge({"validation_loss": loss, "validation_accuracy": accuracy})


def test_learns_and_reports_the_numbers_of_the_epoch_it_kept(tmp_path: Path) -> None:
    result = run(tmp_path, max_epochs=150, learning_rate=0.05)
    assert result.test["accuracy"] > 0.7
    row = result.curve[result.best_epoch]
    assert row["epoch"] == result.best_epoch
    assert result.validation == {
        "loss": row["validation_loss"],
        "accuracy": row["validation_accuracy"],
    }
    assert result.validation["loss"] == min(row["validation_loss"] for row in result.curve)


def test_kept_weights_give_the_reported_numbers(tmp_path: Path) -> None:
    result, data = run(tmp_path), graph()
    model = Network().eval()
    load_weights(model, result.weights)
    logits = model(data.x, data.edge_index)
    right = (logits.argmax(dim=1) == data.y)[data.test_mask].float().mean()
    assert result.test["accuracy"] == pytest.approx(right.item())
    loss = nn.functional.cross_entropy(logits[data.test_mask], data.y[data.test_mask])
    assert result.test["loss"] == pytest.approx(loss.item())


def test_equal_settings_give_equal_numbers_and_another_seed_others(tmp_path: Path) -> None:
    first, second = run(tmp_path / "a"), run(tmp_path / "b")
    assert (first.test, first.curve) == (second.test, second.curve)
    assert first.curve != run(tmp_path / "c", seed=1).curve


def test_the_test_data_changes_nothing_but_the_test_numbers(tmp_path: Path) -> None:
    first, data = run(tmp_path / "a"), graph()
    data.y[data.test_mask] = 0
    task, settings = node_classification(data, 3), Settings(20, 0.01, checkpoint_every=4)
    second = fit(Network, task, settings, tmp_path / "b", LossAndAccuracy(patience=50))
    assert first.curve == second.curve
    assert first.best_epoch == second.best_epoch
    assert first.test != second.test


@pytest.mark.parametrize("stop", [4, 10])  # on a checkpoint, and between two
def test_a_run_cut_off_and_resumed_gives_the_same_numbers(tmp_path: Path, stop: int) -> None:
    whole = run(tmp_path / "whole")

    class PowerCut(Network):
        calls = 0

        def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
            PowerCut.calls += 1
            if PowerCut.calls > 2 * stop:  # one call to train and one to validate an epoch
                raise InterruptedError
            return super().forward(x, edge_index)

    with pytest.raises(InterruptedError):
        run(tmp_path / "cut", PowerCut)
    resumed = run(tmp_path / "cut")
    assert (resumed.test, resumed.validation) == (whole.test, whole.validation)
    assert resumed.curve == whole.curve
    assert (resumed.best_epoch, resumed.epochs) == (whole.best_epoch, whole.epochs)


def regression(schedule: bool, cut: bool, folder: Path) -> Result:
    """Mini-batches in random order, with a schedule."""
    generator = torch.Generator().manual_seed(2)
    graphs = [
        Data(x=x, y=x.sum().view(1), num_nodes=1)
        for x in torch.randn(40, 1, 4, generator=generator)
    ]

    class Sum(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.map, self.calls = nn.Linear(4, 1), 0

        def forward(self, batch: list[Data]) -> Tensor:
            self.calls += 1
            if cut and self.calls > 25:
                raise InterruptedError
            return self.map(torch.cat([graph.x for graph in batch.graphs]))

    class Batch:
        def __init__(self, graphs: list[Data]) -> None:
            self.graphs, self.y = graphs, torch.cat([graph.y for graph in graphs])

    loader = functools.partial(DataLoader, batch_size=8, collate_fn=Batch)
    task = graph_regression(
        loader(graphs[:24], shuffle=True), loader(graphs[24:32]), loader(graphs[32:])
    )
    settings = Settings(max_epochs=12, learning_rate=0.05, checkpoint_every=2, gradient_clip=1.0)
    return fit(Sum, task, settings, folder, BestValue(), one_cycle if schedule else None)


@pytest.mark.parametrize("schedule", [False, True])
def test_shuffled_batches_and_schedules_resume_exactly(tmp_path: Path, schedule: bool) -> None:
    whole = regression(schedule, False, tmp_path / "whole")
    with pytest.raises(InterruptedError):
        regression(schedule, True, tmp_path / "cut")
    assert (tmp_path / "cut" / "resume.ckpt").exists()
    resumed = regression(schedule, False, tmp_path / "cut")
    assert (resumed.test, resumed.curve) == (whole.test, whole.curve)
    assert whole.test["mae"] < whole.curve[0]["validation_mae"]


def test_a_finished_run_resumes_to_itself(tmp_path: Path) -> None:
    first = run(tmp_path)
    assert run(tmp_path).curve == first.curve


def test_patience_restarts_on_either_and_weights_are_kept_on_both(tmp_path: Path) -> None:
    #          both  loss  accuracy  equal  neither ...
    losses = [1.0, 0.9, 1.1, 0.9, 1.0, 1.0, 1.0, 1.0]
    accuracies = [0.5, 0.4, 0.6, 0.6, 0.5, 0.5, 0.5, 0.5]
    rule = Scripted(3, losses, accuracies)
    task = node_classification(graph(), 3)
    result = fit(Network, task, Settings(max_epochs=8), tmp_path, rule)
    assert result.best_epoch == 3
    assert result.epochs == 7  # epochs 4, 5 and 6 are without hope


def test_a_run_stopped_by_patience_resumes_without_a_further_epoch(tmp_path: Path) -> None:
    task = node_classification(graph(), 3)
    settings = Settings(max_epochs=9, checkpoint_every=1)
    for script in ([1.0, 2.0, 2.0], []):  # the second time there is nothing left to judge
        rule = Scripted(2, script, [0.5 - value / 10 for value in script])
        result = fit(Network, task, settings, tmp_path, rule)
        assert (result.epochs, result.best_epoch) == (3, 0)


def test_a_goal_stops_training_at_once(tmp_path: Path) -> None:
    task = node_classification(graph(), 3)
    rule = BestValue("validation_accuracy", "max", goal=0.5)
    result = fit(Network, task, Settings(max_epochs=200, learning_rate=0.05), tmp_path, rule)
    reached = [row["validation_accuracy"] >= 0.5 for row in result.curve]
    assert reached == [False] * (result.epochs - 1) + [True]
    assert 1 < result.epochs < 200


def test_a_selection_serves_many_runs_unchanged(tmp_path: Path) -> None:
    rule, task = BestValue(patience=5), node_classification(graph(), 3)
    first = fit(Network, task, Settings(max_epochs=5), tmp_path / "a", rule)
    second = fit(Network, task, Settings(max_epochs=5), tmp_path / "b", rule)
    assert first.curve == second.curve


def test_an_unknown_monitor_is_named_with_those_there_are(tmp_path: Path) -> None:
    task = node_classification(graph(), 3)
    with pytest.raises(ValueError, match=r"monitor must be one of .*validation_loss.*got 'speed'"):
        fit(Network, task, Settings(max_epochs=2), tmp_path, BestValue("speed"))


def test_a_loss_that_is_never_a_number_is_an_error(tmp_path: Path) -> None:
    def predict(model: nn.Module, batch: Data, stage: str) -> tuple[Tensor, Tensor]:
        return model(batch.x, batch.edge_index) * math.nan, batch.y

    base = node_classification(graph(), 3)
    task = Task(base.train, base.validation, base.test, predict, base.loss)
    with pytest.raises(ValueError, match="no epoch of 3 had a validation loss that is a number"):
        fit(Network, task, Settings(max_epochs=3), tmp_path)


@pytest.mark.parametrize("damage", ["cut", "garbage", "empty"])
def test_a_damaged_checkpoint_names_the_file_and_the_remedy(tmp_path: Path, damage: str) -> None:
    run(tmp_path)
    path = tmp_path / "resume.ckpt"
    content = path.read_bytes()
    path.write_bytes({"cut": content[: len(content) // 2], "garbage": b"no", "empty": b""}[damage])
    with pytest.raises(ValueError, match=r"resume\.ckpt is damaged: delete it"):
        run(tmp_path)


def test_weights_in_place_of_a_checkpoint_are_refused(tmp_path: Path) -> None:
    run(tmp_path).weights.replace(tmp_path / "resume.ckpt")
    with pytest.raises(ValueError, match=r"resume\.ckpt is no checkpoint .*delete it"):
        run(tmp_path)


def test_a_checkpoint_of_another_architecture_names_the_keys(tmp_path: Path) -> None:
    class Deeper(Network):
        def __init__(self) -> None:
            super().__init__(width=5)
            self.extra, self.output = nn.Linear(1, 1), nn.Identity()

    weights = run(tmp_path).weights
    message = r"lacks .*extra\.bias.*unknown .*output\.bias.*another shape for .*hidden\.weight"
    with pytest.raises(ValueError, match=message):
        run(tmp_path, Deeper)
    with pytest.raises(ValueError, match=message):
        load_weights(Deeper(), weights)


def test_a_checkpoint_of_other_settings_is_refused_but_training_longer_is_not(
    tmp_path: Path,
) -> None:
    run(tmp_path)
    with pytest.raises(ValueError, match=r"resume\.ckpt was trained with .*learning_rate.*0\.01"):
        run(tmp_path, learning_rate=0.02)
    assert run(tmp_path, max_epochs=30).epochs == 30


def test_a_checkpoint_with_code_in_it_is_refused(tmp_path: Path) -> None:
    torch.save({"weights": Network()}, tmp_path / "weights.pt")
    with pytest.raises(ValueError, match=r"weights\.pt is damaged"):
        load_weights(Network(), tmp_path / "weights.pt")


def test_without_lightning_the_import_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "graphattn.training")
    monkeypatch.setitem(sys.modules, "lightning", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'graphattn\[train\]'"):
        importlib.import_module("graphattn.training")
