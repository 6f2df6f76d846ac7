"""The multiple-instance recipe: it learns, resumes, and every bag is tested once."""

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch

from graphattn import Blocks
from graphattn.datasets.labelled_sets import LabelledSets

SMALL = ["--folds", "3", "--max-epochs", "12"]


@pytest.fixture(scope="module")
def recipe(load_example: Callable[[str], ModuleType]) -> ModuleType:
    return load_example("multiple_instance")


def test_it_learns_and_a_second_run_trains_no_more(
    recipe: ModuleType, data_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not (data_folder / "mil").is_dir():
        pytest.skip(f"no mil folder in {data_folder}")
    monkeypatch.setenv("GRAPHATTN_DATA", str(data_folder))
    command = [*SMALL, "--output", str(tmp_path)]
    accuracy = recipe.main(command)
    assert accuracy > 65  # the larger class is 51 %
    path = tmp_path / "multiple_instance" / "musk1-gated" / "seed-0.json"
    record = json.loads(path.read_text())
    assert len(record["folds"]) == 3
    mean = sum(fold["accuracy"] for fold in record["folds"]) / 3
    assert accuracy == pytest.approx(100 * mean)
    before = path.stat().st_mtime_ns
    assert recipe.main(command) == accuracy
    assert path.stat().st_mtime_ns == before


def test_parts_are_apart_and_only_training_bags_set_the_scale(
    recipe: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    bags = LabelledSets(torch.randn(24, 3), torch.arange(13) * 2, torch.arange(12) % 2)
    bags.x[:, 2] = 7.0  # never changes
    numbers: list[int] = []

    def looked_at(build: object, task: object, *rest: object, **more: object) -> object:
        stages = (getattr(task, name) for name in ("train", "validation", "test"))
        numbers.extend(sum(len(y) for _, _, y in stage) for stage in stages)
        x = torch.cat([x for x, _, _ in task.train])
        torch.testing.assert_close(x.mean(0), torch.zeros(3), atol=1e-5, rtol=0)
        torch.testing.assert_close(x.std(0), torch.tensor([1.0, 1.0, 0.0]), atol=1e-5, rtol=0)
        raise StopIteration

    monkeypatch.setattr(recipe, "mil", lambda name: bags)
    monkeypatch.setattr(recipe, "fit", looked_at)
    with pytest.raises(StopIteration):
        recipe.main(["--folds", "4", "--output", str(tmp_path)])
    assert numbers == [9, 9, 3]  # of twelve bags in four folds


def test_a_bag_counts_the_same_alone_and_in_a_batch(recipe: ModuleType) -> None:
    network = recipe.BagNetwork(5).eval()
    bags = [(torch.randn(size, 5), torch.tensor(0)) for size in (3, 1, 6)]
    x, ptr, _ = recipe.collated(bags)
    together = network(x, Blocks.from_ptr(ptr))
    for bag, expected in zip(bags, together, strict=True):
        x, ptr, _ = recipe.collated([bag])
        torch.testing.assert_close(network(x, Blocks.from_ptr(ptr))[0], expected)


def test_too_few_folds_are_named(recipe: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        recipe.main(["--folds", "1"])
    assert "--folds must be at least 2, got 1" in capsys.readouterr().err
