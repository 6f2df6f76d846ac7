"""ZINC-12k, PATTERN, CLUSTER and Peptides: what PyG's classes read from the same archives."""

import pickle
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch_geometric.data import Data
from torch_geometric.datasets import ZINC, GNNBenchmarkDataset, LRGBDataset

from graphattn.datasets import graph_benchmarks as module
from graphattn.datasets.graph_benchmarks import Parts, cluster, pattern, peptides, zinc12k

PARTS = ("train", "val", "test")


@pytest.fixture(autouse=True)
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GRAPHATTN_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("GRAPHATTN_CACHE", str(tmp_path / "cache"))
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


def write(
    content: Any, save: Callable[[Any, Any], None], plain: Path, archive: Path, member: str
) -> None:
    """Writes the same into a file, for PyG, and into an archive, for us."""
    for path in (plain, archive):
        path.parent.mkdir(parents=True, exist_ok=True)
    with plain.open("wb") as file:
        save(content, file)
    with zipfile.ZipFile(archive, "a") as packed:
        packed.write(plain, member)


def assert_same(ours: Iterable[Data], theirs: Iterable[Data]) -> None:
    for first, second in zip(ours, theirs, strict=True):
        assert set(first.keys()) == set(second.keys())
        for key in first.keys():  # noqa: SIM118 - iterating over Data gives pairs
            assert first[key].dtype == second[key].dtype, key
            assert torch.equal(first[key], second[key]), key


def molecule(size: int) -> dict[str, Any]:
    bonds = torch.randint(4, (size, size)).triu(1)
    return {
        "num_atom": size,
        "atom_type": torch.randint(28, (size,)),
        "bond_type": bonds + bonds.t(),
        "logP_SA_cycle_normalized": torch.randn(1),
    }


def write_zinc(tree: Path, raw: Path) -> None:
    for count, part in enumerate(PARTS, start=2):
        molecules = [molecule(size) for size in range(1, 4 + count)]
        file = f"{part}.pickle"
        write(
            molecules, pickle.dump, raw / file, tree / "zinc" / "molecules.zip", f"molecules/{file}"
        )
        for folder in (raw, tree / "zinc"):
            (folder / f"{part}.index").write_text(",".join(map(str, range(count))) + "\n")


def test_zinc_is_that_of_pyg(tree: Path, tmp_path: Path) -> None:
    write_zinc(tree, tmp_path / "pyg" / "raw")
    for _ in range(2):  # read, and taken from the cache
        ours = zinc12k()
        assert [len(part) for part in ours] == [2, 3, 4]
        for name, part in zip(PARTS, ours, strict=True):
            assert_same(part, ZINC(str(tmp_path / "pyg"), subset=True, split=name))


def test_other_rows_of_zinc_are_read_anew(tree: Path, tmp_path: Path) -> None:
    write_zinc(tree, tmp_path / "pyg" / "raw")
    train, _, _ = zinc12k()
    (tree / "zinc" / "train.index").write_text("1,0")
    again, _, _ = zinc12k()
    assert_same(train, reversed(again))


class Attack:
    def __reduce__(self) -> tuple[Callable[[str], Any], tuple[str]]:
        return exec, ("raise SystemExit('code of the file ran')",)


class Nested:
    """Hides what runs in the bytes of a tensor."""

    def __reduce__(self) -> tuple[Callable[[bytes], Any], tuple[bytes]]:
        return torch.storage._load_from_bytes, (pickle.dumps(Attack(), protocol=2),)


@pytest.mark.parametrize("content", [Attack(), Nested()], ids=["plain", "in a tensor"])
def test_code_in_the_pickles_of_zinc_does_not_run(tree: Path, tmp_path: Path, content: Any) -> None:
    archive = tree / "zinc" / "molecules.zip"
    for part in PARTS:
        file = f"{part}.pickle"
        write([content], pickle.dump, tmp_path / file, archive, f"molecules/{file}")
        (tree / "zinc" / f"{part}.index").write_text("0\n")
    with pytest.raises(pickle.UnpicklingError):
        zinc12k()


def graph(num_nodes: int, num_features: int) -> dict[str, Tensor]:
    return {
        "x": torch.rand(num_nodes, num_features),
        "edge_index": torch.randint(num_nodes, (2, 3 * num_nodes)),
        "y": torch.randint(2, (num_nodes,)),
    }


@pytest.mark.parametrize("load", [pattern, cluster])
def test_graphs_of_communities_are_those_of_pyg(
    tree: Path, tmp_path: Path, load: Callable[[], Parts]
) -> None:
    name = load.__name__.upper()
    content = [[graph(4 + part + number, 3) for number in range(part + 2)] for part in range(3)]
    archive = tree / "benchmarking_gnns" / f"{name}_v2.zip"
    raw = tmp_path / "pyg" / name / "raw"
    write(content, torch.save, raw / f"{name}_v2.pt", archive, f"{name}_v2.pt")
    for split, part in zip(PARTS, load(), strict=True):
        assert len(part) >= 2
        assert_same(part, GNNBenchmarkDataset(str(tmp_path / "pyg"), name, split))


@pytest.mark.parametrize(
    ("name", "folder"), [("functional", "peptidesfunc"), ("structural", "peptidesstruct")]
)
def test_peptides_are_those_of_pyg(tree: Path, tmp_path: Path, name: str, folder: str) -> None:
    official = f"Peptides-{folder.removeprefix('peptides')}"
    raw = tmp_path / "pyg" / official.lower() / "raw"
    for part in PARTS:
        content = [
            (
                torch.randint(119, (size, 9)),
                torch.randint(5, (2 * size, 3)),
                torch.randint(size, (2, 2 * size)),
                torch.rand(1, 10),
            )
            for size in (3, 5)
        ]
        archive = tree / "peptides" / f"{name}.zip"
        write(content, torch.save, raw / f"{part}.pt", archive, f"{folder}/{part}.pt")
    for split, part in zip(PARTS, peptides(name), strict=True):
        assert_same(part, LRGBDataset(str(tmp_path / "pyg"), official, split))


def test_addresses_are_those_of_pyg() -> None:
    assert ZINC.url == module.ZINC
    assert ZINC.split_url == f"{module.ZINC_ROWS}/{{}}.index"
    for name in ("PATTERN", "CLUSTER"):
        address = f"{module.STOCHASTIC_BLOCKS}/{name}_v2.zip"
        assert GNNBenchmarkDataset.urls[name] == address
    assert LRGBDataset.urls["peptides-func"] == module.PEPTIDES["functional"]
    assert LRGBDataset.urls["peptides-struct"] == module.PEPTIDES["structural"]


def test_an_unknown_name_is_answered_with_the_known_ones() -> None:
    with pytest.raises(
        ValueError, match=r"name must be one of \['functional', 'structural'\], got"
    ):
        peptides("func")


def test_without_files_the_error_says_what_to_put_where(monkeypatch: pytest.MonkeyPatch) -> None:
    nowhere = "http://127.0.0.1:9"
    monkeypatch.setattr(module, "ZINC_ROWS", nowhere)
    monkeypatch.setattr(module, "STOCHASTIC_BLOCKS", nowhere)
    monkeypatch.setitem(module.PEPTIDES, "functional", f"{nowhere}/peptides.zip")
    for load, name in [
        (zinc12k, "zinc/train.index"),
        (pattern, "benchmarking_gnns/PATTERN_v2.zip"),
        (cluster, "benchmarking_gnns/CLUSTER_v2.zip"),
        (lambda: peptides("functional"), "peptides/functional.zip"),
    ]:
        with pytest.raises(FileNotFoundError, match=f"put it at .*{name}"):
            load()
