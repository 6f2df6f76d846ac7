"""Cora, CiteSeer and PubMed: counts, splits, and where they may be."""

import shutil
from pathlib import Path

import pytest
import torch
from torch_geometric.data import Data

from graphattn.datasets import planetoid as module
from graphattn.datasets.planetoid import planetoid

COUNTS = {  # nodes, edges, features, classes, train
    "Cora": (2708, 10556, 1433, 7, 140),
    "CiteSeer": (3327, 9104, 3703, 6, 120),
    "PubMed": (19717, 88648, 500, 3, 60),
}


@pytest.fixture
def tree(data_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    if not (data_folder / "planetoid").is_dir():
        pytest.skip(f"no planetoid folder in {data_folder}")
    monkeypatch.setenv("GRAPHATTN_DATA", str(data_folder))
    return data_folder / "planetoid"


@pytest.mark.parametrize("name", COUNTS)
@pytest.mark.usefixtures("tree")
def test_has_the_published_counts_and_split(name: str) -> None:
    data = planetoid(name)
    num_nodes, num_edges, num_features, num_classes, num_train = COUNTS[name]
    assert data.x.shape == (num_nodes, num_features)
    assert data.edge_index.shape == (2, num_edges)
    assert data.y.unique().tolist() == list(range(num_classes))
    assert data.is_undirected()
    assert not data.has_self_loops()
    assert data.edge_index.unique(dim=1).shape[1] == num_edges
    masks = torch.stack([data.train_mask, data.val_mask, data.test_mask])
    assert masks.sum(dim=1).tolist() == [num_train, 500, 1000]
    assert masks.sum(dim=0).max() == 1
    assert data.y[data.train_mask].bincount().tolist() == [20] * num_classes


@pytest.mark.parametrize("name", COUNTS)
@pytest.mark.usefixtures("tree")
def test_normalized_features_sum_to_one_and_point_the_same_way(name: str) -> None:
    raw, scaled = planetoid(name).x, planetoid(name, normalize=True).x
    empty = (raw == 0).all(dim=1)
    torch.testing.assert_close(scaled.sum(dim=1), (~empty).float())
    torch.testing.assert_close(scaled * raw.sum(dim=1, keepdim=True), raw)


def test_nothing_is_written_beside_the_raw_files(tree: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in (tree / "Cora").rglob("*")}
    planetoid("Cora")
    assert {path: path.stat().st_mtime_ns for path in (tree / "Cora").rglob("*")} == before


def test_files_in_the_cache_are_checked_and_give_the_same(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected: Data = planetoid("Cora")
    monkeypatch.setenv("GRAPHATTN_DATA", str(tmp_path))
    monkeypatch.setenv("GRAPHATTN_CACHE", str(tmp_path / "cache"))
    raw = tmp_path / "cache" / "planetoid" / "Cora" / "raw"
    shutil.copytree(tree / "Cora" / "raw", raw)
    assert torch.equal(planetoid("Cora").x, expected.x)
    with (raw / "ind.cora.allx").open("ab") as file:
        file.write(b"!")
    with pytest.raises(ValueError, match=r"ind\.cora.allx must have SHA-256"):
        planetoid("Cora")


def test_an_unknown_name_is_answered_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"name must be one of .*CiteSeer.*Cora.*got 'cora'"):
        planetoid("cora")


def test_without_files_the_error_names_the_first_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRAPHATTN_DATA", str(tmp_path))
    monkeypatch.setenv("GRAPHATTN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(module, "ADDRESS", "http://127.0.0.1:9")
    with pytest.raises(FileNotFoundError, match=r"put it at .*planetoid/PubMed/raw/ind.pubmed"):
        planetoid("PubMed")
