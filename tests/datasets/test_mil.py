"""Multiple-instance benchmarks: counts, folds, and where the files may be."""

import shutil
from pathlib import Path

import pytest
import torch

from graphattn.datasets import mil as module
from graphattn.datasets.mil import folds, mil

COUNTS = {  # bags, positive, instances, features, largest bag
    "musk1": (92, 47, 476, 166, 40),
    "musk2": (102, 39, 6598, 166, 1044),
    "elephant": (200, 100, 1391, 230, 13),
    "fox": (200, 100, 1320, 230, 13),
}


@pytest.fixture
def tree(data_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    if not (data_folder / "mil").is_dir():
        pytest.skip(f"no mil folder in {data_folder}")
    monkeypatch.setenv("GRAPHATTN_DATA", str(data_folder))
    return data_folder / "mil"


@pytest.mark.parametrize("name", COUNTS)
@pytest.mark.usefixtures("tree")
def test_has_the_published_counts(name: str) -> None:
    bags = mil(name)
    num_bags, num_positive, num_instances, num_features, largest = COUNTS[name]
    assert bags.x.shape == (num_instances, num_features)
    assert bags.x.dtype == torch.float32
    sizes = bags.ptr.diff()
    assert (len(sizes), int(sizes.sum())) == (num_bags, num_instances)
    assert (int(sizes.min()) > 0, int(sizes.max())) == (True, largest)
    assert bags.y.bincount().tolist() == [num_bags - num_positive, num_positive]


@pytest.mark.usefixtures("tree")
def test_musk_is_that_of_the_original_table(tree: Path) -> None:
    bags = mil("musk1")
    rows = [line.split(",") for line in (tree / "musk1_uci" / "musk1.data").read_text().split()]
    table = torch.tensor([[float(value.rstrip(".")) for value in row[2:]] for row in rows])
    labels = bags.y.repeat_interleave(bags.ptr.diff()).float()
    ours = torch.cat([bags.x, labels[:, None]], dim=1)
    assert sorted(ours.tolist()) == sorted(table.tolist())


@pytest.mark.parametrize("num_folds", [3, 10])
def test_folds_hold_every_bag_once_and_labels_evenly(num_folds: int) -> None:
    y = torch.tensor([1] * 47 + [0] * 45)
    parts = folds(y, num_folds)
    assert torch.cat(parts).sort().values.tolist() == list(range(92))
    for label in (0, 1):
        counts = [int((y[part] == label).sum()) for part in parts]
        assert max(counts) - min(counts) <= 1
    again, other = folds(y, num_folds), folds(y, num_folds, seed=1)
    assert all(torch.equal(own, same) for own, same in zip(parts, again, strict=True))
    assert not any(torch.equal(own, new) for own, new in zip(parts, other, strict=True))


def test_files_in_the_cache_are_checked_and_give_the_same(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = {name: mil(name) for name in COUNTS}
    monkeypatch.setenv("GRAPHATTN_DATA", str(tmp_path))
    monkeypatch.setenv("GRAPHATTN_CACHE", str(tmp_path / "cache"))
    shutil.copytree(tree, tmp_path / "cache" / "mil")
    for name, bags in expected.items():
        assert torch.equal(mil(name).x, bags.x)
    with (tmp_path / "cache" / "mil" / "fox_original" / "X.mat").open("ab") as file:
        file.write(b"!")
    with pytest.raises(ValueError, match=r"X\.mat must have SHA-256"):
        mil("fox")


def test_bad_input_is_named() -> None:
    with pytest.raises(ValueError, match=r"name must be one of \['elephant'.*got 'tiger'"):
        mil("tiger")
    with pytest.raises(ValueError, match="num_folds must be from 2 to 4, got 5"):
        folds(torch.zeros(4).long(), 5)


def test_without_files_the_error_names_the_first_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRAPHATTN_DATA", str(tmp_path))
    monkeypatch.setenv("GRAPHATTN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(module, "ADDRESS", "http://127.0.0.1:9")
    with pytest.raises(FileNotFoundError, match=r"put it at .*mil/musk2_original/X\.mat"):
        mil("musk2")
