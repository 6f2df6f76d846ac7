"""The picture of a Perceiver's latents: of what it names right, by what its latents read."""

import runpy
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor

from graphattn import Blocks
from graphattn.datasets import modelnet
from graphattn.datasets.labelled_sets import LabelledSets

pytest.importorskip("matplotlib")


@pytest.fixture(scope="module")
def pictures(load_example: Callable[[str], ModuleType]) -> ModuleType:
    return load_example("latent_pictures")


def boxes(count: int) -> LabelledSets:
    """Boxes that are long to the right (bathtubs, by their number) or upwards (beds)."""
    generator = torch.Generator().manual_seed(count)
    long = torch.tensor([[1.0, 0.1, 0.1], [0.1, 0.1, 1.0]])
    labels = torch.arange(count) % 2
    points = [long[label] * torch.rand(30, 3, generator=generator) for label in labels]
    return LabelledSets.joined(points, labels)


def test_objects_named_right_are_drawn_and_a_second_call_only_draws(
    pictures: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = (boxes(160), boxes(40), boxes(42))
    monkeypatch.setattr(modelnet, "modelnet10", lambda: parts)
    monkeypatch.setattr(pictures, "SHOWN", ("bed", "bathtub"))
    drawn: list[dict[str, Any]] = []
    attention_on_points = pictures.attention_on_points

    def noted(points: Tensor, weights: Tensor, blocks: Blocks, *, captions: list[str]) -> Any:
        drawn.append({"points": points, "weights": weights, "blocks": blocks})
        return attention_on_points(points, weights, blocks, captions=captions)

    monkeypatch.setattr(pictures, "attention_on_points", noted)
    folders = ["--output", str(tmp_path), "--runs", str(tmp_path / "runs")]
    command = ["--epochs", "3", "--latents", "3", *folders]
    part = pictures.main(command)
    picture = tmp_path / "attention_of_latents.png"
    first = picture.read_bytes()
    own = drawn[0]
    assert own["blocks"].target_sizes == [3, 3]
    assert own["blocks"].source_sizes == [30, 30]
    bed, bathtub = own["points"].split(30)
    assert bed[:, 2].max() > 0.5 > bed[:, 0].max()
    assert bathtub[:, 0].max() > 0.5 > bathtub[:, 2].max()
    sums = own["weights"].view(6, 30).sum(1)
    torch.testing.assert_close(sums, torch.ones(6))
    assert 1 / 30 <= part <= 0.5

    (tmp_path / "runs" / "point_sets" / "ModelNet10-Perceiver" / "seed-0" / "resume.ckpt").unlink()
    assert pictures.main(command) == part
    assert picture.read_bytes() == first


def test_the_latents_shown_read_what_others_do_not(pictures: ModuleType) -> None:
    weights = torch.tensor(
        [[0.25, 0.25, 0.25, 0.25], [0.9, 0.1, 0, 0], [0.8, 0.2, 0, 0], [0, 0, 0.6, 0.4]]
    )
    assert pictures.most_different(weights, 3) == [1, 3, 0]
    assert pictures.most_different(weights, 9) == [1, 3, 0, 2]


def test_a_network_that_is_always_wrong_is_told(pictures: ModuleType) -> None:
    def network(points: Tensor, blocks: Blocks) -> Tensor:
        return torch.eye(10)[9:]  # a toilet

    with pytest.raises(SystemExit, match="names no bed right"):
        pictures.known(network, boxes(4), ["bed"])


def test_the_recipe_has_what_the_picture_needs() -> None:
    path = Path(__file__).parents[2] / "examples" / "point_sets.py"
    recipe = runpy.run_path(str(path))
    network = recipe["PointPerceiver"](recipe["SOURCES"]["MNIST"], 16)
    x, blocks = torch.rand(12, 3), Blocks.from_ptr(torch.tensor([0, 5, 12]))
    weights = network.attention_weights(x, blocks)
    assert [tuple(own.shape) for own in weights] == [(32 * 12, 1)] * 2
