"""The recipe on molecules: every model trains, resumes, is judged officially and fairly."""

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch_geometric.data import Data

from graphattn.datasets.molecules import MoleculeBenchmark
from graphattn.training import load_weights

pytest.importorskip("ogb")

SMALL = [
    "--averaged",
    "2",
    "--channels",
    "16",
    "--learning-rate",
    "0.01",
    "--checkpoint-every",
    "2",
]


@pytest.fixture(scope="module")
def recipe(load_example: Callable[[str], ModuleType]) -> ModuleType:
    return load_example("molecules")


def chain(y: list[float] | None = None) -> Data:
    """Atoms in a row, all of one kind or all of another, which is what is to be learnt."""
    size, kind = int(torch.randint(1, 9, ())), int(torch.randint(2, ()))
    x = torch.zeros(size, 9, dtype=torch.int64)
    x[:, 0] = kind
    ends = torch.stack([torch.arange(size - 1), torch.arange(1, size)])
    target = [500.0 + 100.0 * kind] if y is None else y
    return Data(
        x=x,
        edge_index=torch.cat([ends, ends.flip(0)], dim=1),
        edge_attr=torch.zeros(2 * (size - 1), 3, dtype=torch.int64),
        y=torch.tensor([target]),
        smiles="C" * size,
    )


def benchmark(
    train: list[Data] | None = None, metric: str = "rmse", name: str = "molesol"
) -> MoleculeBenchmark:
    made = [[chain() for _ in range(count)] for count in (65, 20, 20)]
    made[0] = made[0] if train is None else train
    return MoleculeBenchmark(*made, metric=metric, evaluator=f"ogbg-{name}", unread=[])


@pytest.fixture
def fake(recipe: ModuleType, monkeypatch: pytest.MonkeyPatch) -> MoleculeBenchmark:
    data = benchmark()
    monkeypatch.setattr(recipe, "ogb_molecules", lambda name: data)
    return data


def record_of(output: Path, model: str) -> dict[str, Any]:
    path = output / "molecules" / f"molesol-{model}" / "seed-0.json"
    record: dict[str, Any] = json.loads(path.read_text())
    return record


@pytest.mark.parametrize(
    "model", ["GraphTransformer", "GPS", "GPS-Performer", "GIN", "GIN-VN", "GCN", "GCN-VN"]
)
def test_every_model_learns_and_a_second_run_trains_no_more(
    model: str, recipe: ModuleType, fake: MoleculeBenchmark, tmp_path: Path
) -> None:
    epochs = 24 if model == "GraphTransformer" else 8  # without norms over the batch, slower
    command = ["--model", model, *SMALL, "--max-epochs", str(epochs), "--output", str(tmp_path)]
    command += ["--dropout", "0", "--batch-size", "8"]
    error = recipe.main(command)
    record = record_of(tmp_path, model)
    assert record["validation"]["rmse"] < 35  # that of always answering the mean is 50
    assert record["test"]["rmse"] == error
    assert record["epochs"] == epochs
    # Of the weights of two epochs, of which neither is what was tested.
    assert record["settings"]["averaged"] == 2
    assert record["validation"]["rmse"] not in [row["validation_rmse"] for row in record["curve"]]
    path = tmp_path / "molecules" / f"molesol-{model}" / "seed-0.json"
    before = path.stat().st_mtime_ns
    assert recipe.main(command) == error
    assert path.stat().st_mtime_ns == before


def test_the_models_tested_are_all_there_are(recipe: ModuleType) -> None:
    assert list(recipe.MODELS) == [
        "GraphTransformer", "GPS", "GPS-Performer", "GIN", "GIN-VN", "GCN", "GCN-VN"
    ]  # fmt: skip


@pytest.mark.usefixtures("fake")
@pytest.mark.parametrize("model", ["GraphTransformer", "GPS"])
def test_a_run_cut_off_continues_to_the_same_result(
    model: str, recipe: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ["--model", model, *SMALL, "--max-epochs", "6", "--encoding", "laplacian"]
    recipe.main([*command, "--output", str(tmp_path / "whole")])
    forward, calls = recipe.Scaled.forward, []

    def cut_off(network: nn.Module, batch: Any) -> Tensor:
        calls.append(1)
        if len(calls) > 12:  # two steps and a look at validation data an epoch
            raise InterruptedError
        return forward(network, batch)

    monkeypatch.setattr(recipe.Scaled, "forward", cut_off)
    with pytest.raises(InterruptedError):
        recipe.main([*command, "--output", str(tmp_path / "cut")])
    monkeypatch.setattr(recipe.Scaled, "forward", forward)
    recipe.main([*command, "--output", str(tmp_path / "cut")])
    whole, cut = (record_of(tmp_path / name, model) for name in ("whole", "cut"))
    for name in ("curve", "test", "validation", "best_epoch"):
        assert whole[name] == cut[name], name


def test_a_checkpoint_of_another_model_is_refused(
    recipe: ModuleType, fake: MoleculeBenchmark, tmp_path: Path
) -> None:
    recipe.main(["--model", "GPS", *SMALL, "--max-epochs", "1", "--output", str(tmp_path)])
    make, settings = recipe.MODELS["GIN"]
    network = recipe.Scaled(make(settings, 1), *recipe.scale(fake))
    weights = tmp_path / "molecules" / "molesol-GPS" / "seed-0" / "weights.pt"
    with pytest.raises(ValueError, match=r"is of another architecture: it lacks \['network\.convs"):
        load_weights(network, weights)


def test_only_molecules_to_train_on_set_the_scale(recipe: ModuleType) -> None:
    train = [chain([y, 3.0, y if y else float("nan")]) for y in (0.0, 2.0, 4.0)]
    mean, deviation = recipe.scale(benchmark(train))
    torch.testing.assert_close(mean, torch.tensor([2.0, 3.0, 3.0]))
    torch.testing.assert_close(deviation, torch.tensor([(8 / 3) ** 0.5, 1.0, 1.0]))


def test_what_was_not_measured_counts_nowhere(recipe: ModuleType) -> None:
    unknown = float("nan")
    train = [chain([y, unknown]) for y in (0.0, 1.0)] + [chain([unknown, 1.0]) for _ in range(3)]
    for metric in ("rmse", "rocauc"):
        data = benchmark(train, metric)
        task = recipe.molecule_task(data, recipe.OURS)
        target = torch.cat([graph.y for graph in train])
        prediction = torch.full_like(target, 0.5, requires_grad=True)
        loss = task.loss(prediction, target)
        (gradient,) = torch.autograd.grad(loss, prediction)
        assert loss.isfinite()
        assert torch.equal(gradient == 0, target.isnan())


def test_classes_are_judged_by_the_official_area_under_the_curve(
    recipe: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = benchmark(metric="rocauc", name="molbbbp")
    for graph in made.train + made.validation + made.test:
        graph.y = (graph.y > 550).float()
    monkeypatch.setattr(recipe, "ogb_molecules", lambda name: made)
    command = ["--dataset", "molbbbp", *SMALL, "--max-epochs", "6", "--batch-size", "8"]
    area = recipe.main([*command, "--output", str(tmp_path)])
    assert area > 0.9
    path = tmp_path / "molecules" / "molbbbp-GPS" / "seed-0.json"
    record = json.loads(path.read_text())
    assert record["test"]["rocauc"] == area


def test_the_measure_is_of_all_molecules_and_no_mean_over_batches(
    recipe: ModuleType, fake: MoleculeBenchmark
) -> None:
    measure = recipe.molecule_task(fake, recipe.OURS).metrics["rmse"]
    target = torch.cat([graph.y for graph in fake.test])
    prediction = target + torch.arange(len(target)).unsqueeze(1)
    for rows in (slice(0, 3), slice(3, None)):
        measure.update(prediction[rows], target[rows])
    expected = (prediction - target).square().mean().sqrt()
    torch.testing.assert_close(measure.compute(), expected)


def test_a_molecule_left_over_is_no_batch_of_its_own(
    recipe: ModuleType, fake: MoleculeBenchmark
) -> None:
    task = recipe.molecule_task(fake, recipe.OURS)  # 65 molecules, 32 at a time
    assert [len(batch.y) for batch in task.train] == [32, 32]
    assert sum(len(batch.y) for batch in task.test) == 20


def test_solubilities_are_learnt(
    recipe: ModuleType, data_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not (data_folder / "ogb").is_dir():
        pytest.skip(f"no ogb folder in {data_folder}")
    monkeypatch.setenv("GRAPHATTN_DATA", str(data_folder))
    error = recipe.main([*SMALL, "--max-epochs", "3", "--output", str(tmp_path)])
    assert error < 1.9  # that of always answering the mean is 2.4


def test_unknown_names_are_answered_with_the_known_ones(
    recipe: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    for option, known in (("--dataset", "molfreesolv"), ("--model", "GraphTransformer")):
        with pytest.raises(SystemExit):
            recipe.main([option, "water"])
        assert known in capsys.readouterr().err
    with pytest.raises(SystemExit):
        recipe.main(["--help"])
    assert "continues from its last checkpoint" in " ".join(capsys.readouterr().out.split())
