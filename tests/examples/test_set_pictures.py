"""The pictures of attention on sets: networks learn, files are small, missing data are named."""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch

from graphattn import Blocks
from graphattn.datasets.labelled_sets import LabelledSets

pytest.importorskip("matplotlib")

SMALL = ["--steps", "3", "--bag-steps", "3"]


@pytest.fixture(scope="module")
def recipe(load_example: Callable[[str], ModuleType]) -> ModuleType:
    return load_example("set_pictures")


@pytest.mark.parametrize("options", [[], ["--dim", "3", "--suffix", "png"]], ids=["2-D", "3-D"])
def test_it_draws_both_pictures(
    recipe: ModuleType,
    options: list[str],
    data_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if not (data_folder / "mil").is_dir():
        pytest.skip(f"no mil folder in {data_folder}")
    monkeypatch.setenv("GRAPHATTN_DATA", str(data_folder))
    assert 0.25 < recipe.main([*SMALL, *options, "--output", str(tmp_path)]) < 1
    pictures = sorted(tmp_path.iterdir())
    suffix = options[-1] if options else "svg"
    assert [path.name for path in pictures] == [
        f"attention_in_bags.{suffix}",
        f"attention_of_seeds.{suffix}",
    ]
    assert all(2_000 < path.stat().st_size < 150_000 for path in pictures)


def test_without_data_there_is_one_picture_and_a_reason(
    recipe: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def missing(name: str) -> LabelledSets:
        raise FileNotFoundError(f"{name} is nowhere")

    monkeypatch.setattr(recipe, "mil", missing)
    recipe.main([*SMALL, "--output", str(tmp_path)])
    assert "no picture of bags: musk1 is nowhere" in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == ["attention_of_seeds.svg"]


def test_agreement_is_one_for_seeds_that_read_one_component_each(
    recipe: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = recipe.gaussian_mixtures(50, recipe.POINTS)
    monkeypatch.setattr(recipe, "gaussian_mixtures", lambda *_, **__: data)

    class Known(torch.nn.Module):
        """Seeds that read the points of one component, in another order in every set."""

        def __init__(self, spoilt: int) -> None:
            super().__init__()
            order = torch.rand(50, 4).argsort(1)
            self.seed = order.gather(1, data.component)
            self.seed[:, :spoilt] += 1
            self.seed %= 4

        def attention(self, points: torch.Tensor, blocks: Blocks) -> torch.Tensor:
            reads = torch.nn.functional.one_hot(self.seed, 4).transpose(1, 2)
            return reads.reshape(-1, 1).double()

    assert recipe.agreement(Known(0), 2) == 1
    assert recipe.agreement(Known(10), 2) == pytest.approx(0.9)


def test_bags_are_learned(recipe: ModuleType, tmp_path: Path) -> None:
    x, ptr = torch.randn(160, 6), torch.arange(41) * 4
    y = torch.arange(40) % 2
    x[ptr[:-1][y == 1], 0] += 6.0  # one instance of a positive bag tells
    assert recipe.draw_bags(LabelledSets(x, ptr, y), 200, tmp_path / "bags.svg") >= 0.9
