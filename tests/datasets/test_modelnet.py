"""ModelNet10 as voxels: counts, coordinates, parts, and where the file may be."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from graphattn.datasets import modelnet as module
from graphattn.datasets.labelled_sets import LabelledSets
from graphattn.datasets.modelnet import CLASSES, in_unit_ball, modelnet10, surface

Parts = tuple[LabelledSets, LabelledSets, LabelledSets]
FILE = "modelnet10_voxel/modelnet10.npz"
# Of the official split, class by class.
TRAIN = [106, 515, 889, 200, 200, 465, 200, 680, 392, 344]
TEST = [50, 100, 100, 86, 86, 100, 86, 100, 100, 100]


@pytest.fixture(scope="module")
def parts(data_folder: Path) -> Parts:
    if not (data_folder / FILE).is_file():
        pytest.skip(f"no {FILE} in {data_folder}")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("GRAPHATTN_DATA", str(data_folder))
        return modelnet10()


def counts(sets: LabelledSets) -> Tensor:
    return sets.y.bincount(minlength=len(CLASSES))


def test_parts_have_the_official_counts_less_what_is_empty(parts: Parts) -> None:
    train, validation, test = parts
    assert [len(part.y) for part in parts] == [3585, 399, 907]
    missing = torch.tensor(TRAIN) - counts(train) - counts(validation)
    assert (int(missing.min()), int(missing.sum())) == (0, 7)
    missing = torch.tensor(TEST) - counts(test)
    assert (int(missing.min()), int(missing.sum())) == (0, 1)
    share = counts(validation) / (counts(train) + counts(validation))
    assert (share - 0.1).abs().max() < 0.01


def test_objects_are_voxels_in_the_unit_ball(parts: Parts) -> None:
    for part in parts:
        assert (part.x.dtype, part.ptr.dtype, part.y.dtype) == (
            torch.float32,
            torch.int64,
            torch.int64,
        )
        assert part.x.shape == (int(part.ptr[-1]), 3)
        assert int(part.ptr.diff().min()) > 0
    for own in parts[2].split()[::50]:
        assert_close(own.mean(0), torch.zeros(3), atol=1e-5, rtol=0)
        assert_close(own.norm(dim=1).max(), torch.tensor(1.0))
        levels = [own[:, axis].unique() for axis in range(3)]
        step = torch.cat([level.diff() for level in levels]).min()
        for level in levels:  # of a grid of 30, the same step along each axis
            places = (level - level[0]) / step
            assert_close(places, places.round(), atol=1e-3, rtol=0)
            assert places.max() < 30


def test_as_many_objects_are_in_two_parts_as_published(parts: Parts) -> None:
    train, validation, test = ([own.numpy().tobytes() for own in p.split()] for p in parts)
    seen = set(train)
    assert sum(own in seen for own in validation) == 21
    assert sum(own in seen for own in test) == 69


def test_the_surface_is_what_an_empty_voxel_or_the_border_touches() -> None:
    grid = torch.zeros(6, 5, 5)
    grid[:5, :, 1:4] = 1  # 5 x 5 x 3, on the border at five of its sides
    found = {tuple(place) for place in surface(grid).tolist()}
    box = {(x, y, z) for x in range(5) for y in range(5) for z in range(1, 4)}
    inside = {(x, y, 2) for x in range(1, 4) for y in range(1, 4)}
    assert found == box - inside
    assert surface(torch.zeros(2, 3, 4)).shape == (0, 3)
    with pytest.raises(ValueError, match=r"grid must be \(X, Y, Z\), got \(2, 3\)"):
        surface(torch.zeros(2, 3))


def test_coordinates_are_those_of_the_filled_voxels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    grids = np.zeros((11, 30, 30, 30), np.int32)
    grids[1:, 4, 9, 2] = 1
    grids[1:, 4, 9, 6] = 1
    grids[1:, 4, 3, 4] = 1
    labels = np.arange(11) % 10
    monkeypatch.setenv("GRAPHATTN_DATA", str(tmp_path))
    path = tmp_path / FILE
    path.parent.mkdir()
    np.savez_compressed(path, X_train=grids, y_train=labels, X_test=grids[:2], y_test=labels[:2])
    train, validation, test = modelnet10()
    assert [len(part.y) for part in (train, validation, test)] == [9, 1, 1]
    assert sorted(torch.cat([train.y, validation.y]).tolist()) == list(range(10))
    assert test.y.tolist() == [1]
    triangle = torch.tensor([[0.0, -4.0, 0.0], [0.0, 2.0, -2.0], [0.0, 2.0, 2.0]]) / 4
    for own in (*train.split(), *validation.split(), *test.split()):
        assert_close(own, triangle)


def test_the_file_in_the_cache_is_checked(
    data_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not (data_folder / FILE).is_file():
        pytest.skip(f"no {FILE} in {data_folder}")
    monkeypatch.setenv("GRAPHATTN_DATA", str(tmp_path))
    monkeypatch.setenv("GRAPHATTN_CACHE", str(tmp_path / "cache"))
    (tmp_path / "cache" / FILE).parent.mkdir(parents=True)
    shutil.copyfile(data_folder / FILE, tmp_path / "cache" / FILE)
    with (tmp_path / "cache" / FILE).open("ab") as file:
        file.write(b"!")
    with pytest.raises(ValueError, match=r"modelnet10\.npz must have SHA-256"):
        modelnet10()


def test_without_the_file_the_error_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRAPHATTN_DATA", str(tmp_path))
    monkeypatch.setenv("GRAPHATTN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(module, "ADDRESS", "http://127.0.0.1:9/modelnet10.npz")
    with pytest.raises(FileNotFoundError, match=r"put it at .*modelnet10_voxel/modelnet10\.npz"):
        modelnet10()


def test_sets_are_joined_and_split_again() -> None:
    points = [torch.randn(size, 2) for size in (3, 0, 5)]
    sets = LabelledSets.joined(points, torch.tensor([4, 0, 4]))
    assert sets.ptr.tolist() == [0, 3, 3, 8]
    for own, expected in zip(sets.split(), points, strict=True):
        assert torch.equal(own, expected)
    with pytest.raises(ValueError, match=r"one label for each, got 3 and \(2,\)"):
        LabelledSets.joined(points, torch.tensor([4, 0]))
    with pytest.raises(ValueError, match=r"there must be sets .* got 0 and \(0,\)"):
        LabelledSets.joined([], torch.tensor([]))


def test_one_point_and_none_are_scaled_too() -> None:
    assert torch.equal(in_unit_ball(torch.tensor([[7, 8, 9]])), torch.zeros(1, 3))
    assert in_unit_ball(torch.empty(0, 3, dtype=torch.int64)).shape == (0, 3)
