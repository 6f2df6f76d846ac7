"""The recipe of convex hulls: its batches are right, its measures are of polygons, it learns."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from graphattn import Blocks
from graphattn.datasets.convex_hulls import convex_hulls

QUICK = ["--points", "3", "--channels", "24", "--learning-rate", "3e-2", "--epochs", "2"]
QUICK += ["--steps-per-epoch", "75", "--batch-size", "64", "--test-batches", "1"]


class Answers:
    """In place of a network: names what it was told for each set, then the end."""

    def __init__(self, polygons: list[Tensor]) -> None:
        self.polygons = polygons

    def decode(self, x: Tensor, blocks: Blocks) -> Tensor:
        """Rows of the elements; after the end, which is of no account, any."""
        rows = []
        for first, size, own in zip(
            blocks.source_ptr[:-1], blocks.source_sizes, self.polygons, strict=True
        ):
            named = torch.full((size,), size - 1)
            named[: len(own)] = own
            named[len(own) + 1 :] = 0
            rows.append(first + named)
        return torch.cat(rows)


@pytest.fixture(scope="module")
def recipe(load_example: Callable[[str], ModuleType]) -> ModuleType:
    return load_example("convex_hull")


def test_a_batch_has_the_corners_of_each_hull_and_then_the_end(recipe: ModuleType) -> None:
    x, choices, ptr = recipe.batch(9, 5, torch.Generator().manual_seed(3))
    data = convex_hulls(9, 5, generator=torch.Generator().manual_seed(3))
    assert_close(x[:, :5, :2] / math.sqrt(12) + 0.5, data.points)
    assert x[:, :5, 2].abs().sum() == 0
    assert x[:, 5].tolist() == [[0, 0, 1]] * 9
    hulls = data.corners.split(data.ptr.diff().tolist())
    rows = choices.split(ptr.diff().tolist())
    for number, (own, corners) in enumerate(zip(rows, hulls, strict=True)):
        assert own.tolist() == [*(corners + 6 * number).tolist(), 6 * number + 5]


def judged(
    recipe: ModuleType, change: Callable[[Tensor], Tensor], num_points: int = 6
) -> dict[str, float]:
    """Measures of a network that would name changed hulls of 30 sets."""
    batch = recipe.batch(30, num_points, torch.Generator().manual_seed(0))
    hulls = (batch[1] % (num_points + 1)).split(batch[2].diff().tolist())
    return recipe.judged(Answers([change(own[:-1]) for own in hulls]), [batch])


def test_polygons_are_judged_by_corners_direction_and_area(recipe: ModuleType) -> None:
    perfect = {"hulls": 1.0, "simple": 1.0, "area": 1.0}
    assert judged(recipe, lambda hull: hull) == pytest.approx(perfect)
    assert judged(recipe, lambda hull: hull.roll(2)) == pytest.approx(perfect)
    clockwise = judged(recipe, lambda hull: hull.flip(0))
    assert clockwise == pytest.approx({"hulls": 0.0, "simple": 1.0, "area": 1.0})


def test_only_polygons_that_do_not_cross_themselves_have_an_area(recipe: ModuleType) -> None:
    # A hull of four corners crosses itself when two neighbours change places, and loses area with
    # its last corner; a triangle does neither.
    crossed = judged(recipe, lambda hull: hull[[1, 0, *range(2, len(hull))]], 4)
    assert 0 < crossed["simple"] < 1
    assert crossed["hulls"] == 0
    assert crossed["area"] == pytest.approx(1)
    cut = judged(recipe, lambda hull: hull[:3], 4)
    assert cut["simple"] == 1
    assert 0.2 < cut["area"] < 0.95
    none = judged(recipe, lambda hull: hull[:2])
    assert none == {"hulls": 0.0, "simple": 0.0, "area": 0.0}


def test_it_learns_and_keeps_its_record(recipe: ModuleType, tmp_path: Path) -> None:
    command = [*QUICK, "--output", str(tmp_path)]
    percentage = recipe.main(command)
    record = json.loads((tmp_path / "convex_hull" / "3-24" / "seed-0.json").read_text())
    assert 100 * record["test"]["hulls"] == percentage
    assert percentage > 60  # any direction gets half of them right
    assert record["test"]["simple"] > 0.95  # three points, then the end: by chance one time in four
    assert record["test"]["area"] == pytest.approx(1)
    assert record["epochs"] == 2
    assert recipe.main(command) == percentage


def test_two_points_have_no_hull(recipe: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        recipe.main(["--points", "2"])
    assert "--points must be at least 3, got 2" in capsys.readouterr().err
