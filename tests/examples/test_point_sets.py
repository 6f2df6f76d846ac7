"""The recipe of point sets: it learns, resumes, draws points, and keeps sets apart."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import Tensor

from graphattn import Blocks
from graphattn.datasets.labelled_sets import LabelledSets
from graphattn.training import Result, Settings, fit

MODELS = ["SetTransformer", "DeepSets", "Perceiver"]
SMALL = ["--batch-size", "16", "--learning-rate", "1e-2", "--points", "30"]


@pytest.fixture(scope="module")
def recipe(load_example: Callable[[str], ModuleType]) -> ModuleType:
    return load_example("point_sets")


def boxes(count: int, generator: torch.Generator) -> LabelledSets:
    """Boxes of 20 to 59 points that are long to the right (0) or upwards (1)."""
    long = torch.tensor([[1.0, 0.1, 0.1], [0.1, 0.1, 1.0]])
    labels = torch.arange(count) % 2
    sizes = torch.randint(20, 60, (count,), generator=generator).tolist()
    points = [
        long[label] * torch.rand(size, 3, generator=generator)
        for label, size in zip(labels.tolist(), sizes, strict=True)
    ]
    return LabelledSets.joined(points, labels)


def shapes() -> tuple[LabelledSets, LabelledSets, LabelledSets]:
    generator = torch.Generator().manual_seed(0)
    train, validation, test = (boxes(count, generator) for count in (160, 40, 40))
    return train, validation, test


@pytest.fixture
def on_shapes(recipe: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    source = replace(recipe.SOURCES["ModelNet10"], read=shapes)
    monkeypatch.setitem(recipe.SOURCES, "ModelNet10", source)


@pytest.mark.usefixtures("on_shapes")
@pytest.mark.parametrize(
    ("model", "channels", "epochs"),
    [("SetTransformer", "16", "5"), ("DeepSets", "64", "10"), ("Perceiver", "16", "5")],
)
def test_it_learns_and_a_second_run_trains_no_more(
    recipe: ModuleType, model: str, channels: str, epochs: str, tmp_path: Path
) -> None:
    size = ["--channels", channels, "--epochs", epochs]
    command = [*SMALL, *size, "--model", model, "--output", str(tmp_path)]
    accuracy = recipe.main(command)
    assert accuracy > 90  # half of them are of one class
    path = tmp_path / "point_sets" / f"ModelNet10-{model}" / "seed-0.json"
    record = json.loads(path.read_text())
    assert 100 * record["test"]["accuracy"] == accuracy
    assert record["settings"]["points"] == 30
    before = path.stat().st_mtime_ns
    assert recipe.main(command) == accuracy
    assert path.stat().st_mtime_ns == before


def test_a_run_that_was_cut_off_ends_as_an_unbroken_one(recipe: ModuleType, tmp_path: Path) -> None:
    task = recipe.point_task(*shapes(), batch_size=16, most=20)
    source = recipe.SOURCES["ModelNet10"]

    def run(folder: str, epochs: int) -> Result:
        settings = Settings(max_epochs=epochs, checkpoint_every=1)
        return fit(lambda: recipe.PointTransformer(source, 16), task, settings, tmp_path / folder)

    unbroken = run("unbroken", 3)
    run("cut off", 2)
    resumed = run("cut off", 3)
    assert resumed.curve == unbroken.curve
    assert resumed.test == unbroken.test


def sets_of(sizes: tuple[int, ...]) -> list[tuple[Tensor, Tensor]]:
    return [(torch.randn(size, 3), torch.tensor(label)) for label, size in enumerate(sizes)]


@pytest.mark.parametrize("dataset", ["ModelNet10", "MNIST"])
@pytest.mark.parametrize("model", MODELS)
def test_a_set_counts_the_same_alone_and_in_a_batch(
    recipe: ModuleType, model: str, dataset: str
) -> None:
    network = recipe.MODELS[model](recipe.SOURCES[dataset], 16).eval()
    sets = sets_of((20, 25, 60))
    x, ptr, y = recipe.collated(sets)
    assert y.tolist() == [0, 1, 2]
    together = network(x, Blocks.from_ptr(ptr))
    assert together.shape == (3, 10)
    for own, expected in zip(sets, together, strict=True):
        x, ptr, _ = recipe.collated([own])
        alone = network(x[torch.randperm(len(x))], Blocks.from_ptr(ptr))
        torch.testing.assert_close(alone[0], expected, atol=1e-5, rtol=1e-5)


def test_only_in_training_points_are_drawn_and_anew_each_time(recipe: ModuleType) -> None:
    sets = sets_of((5, 50))
    drawn = [recipe.collated(sets, most=10) for _ in range(2)]
    for x, ptr, _ in drawn:
        assert ptr.tolist() == [0, 5, 15]
        assert torch.equal(x[:5], sets[0][0])  # small sets stay as they are
        rows = {tuple(row) for row in x[5:].tolist()}
        assert len(rows) == 10
        assert rows < {tuple(row) for row in sets[1][0].tolist()}
    assert not torch.equal(drawn[0][0], drawn[1][0])
    task = recipe.point_task(*shapes(), batch_size=16, most=20)
    assert sum(len(x) for x, _, _ in task.train) == 20 * 160
    for stage, part in zip(("validation", "test"), shapes()[1:], strict=True):
        assert torch.equal(torch.cat([x for x, _, _ in getattr(task, stage)]), part.x)
