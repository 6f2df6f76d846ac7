"""MoleculeNet: the molecules of OGB once more, the report of rows, and what the cache keeps."""

import gzip
from pathlib import Path

import pytest
import torch

from graphattn.datasets import moleculenet as module
from graphattn.datasets.moleculenet import MOLECULENET, moleculenet
from graphattn.datasets.molecules import OGB, ogb_molecules
from graphattn.datasets.smiles import UnreadRow

pytest.importorskip("rdkit")
pytest.importorskip("ogb")

ROWS = "iupac,smiles,expt,calc\n" + "".join(
    f'"molecule, {number}",{smiles},{number}.5,0\n\n'
    for number, smiles in enumerate(["CCO", "C1CC", "c1ccccc1", "CC(C)(C)(C)C", "CC", "CCC "])
)


@pytest.fixture
def tree(data_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    if not (data_folder / "moleculenet").is_dir() or not (data_folder / "ogb").is_dir():
        pytest.skip(f"no moleculenet and ogb folders in {data_folder}")
    monkeypatch.setenv("GRAPHATTN_DATA", str(data_folder))
    monkeypatch.setenv("GRAPHATTN_CACHE", str(tmp_path))
    return data_folder / "moleculenet"


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A table of FreeSolv with six rows, of which two cannot be read."""
    monkeypatch.setenv("GRAPHATTN_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("GRAPHATTN_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "data" / "moleculenet" / "freesolv" / "raw" / "SAMPL.csv"
    path.parent.mkdir(parents=True)
    path.write_text(ROWS)
    return path


@pytest.mark.parametrize("name", ["esol", "freesolv"])
@pytest.mark.usefixtures("tree")
def test_is_the_official_data_set_of_ogb(name: str) -> None:
    ours, official = moleculenet(name), ogb_molecules(f"mol{name}")
    for part in ("train", "validation", "test"):
        for own, other in zip(getattr(ours, part), getattr(official, part), strict=True):
            assert own.smiles == other.smiles
            for key in ("x", "edge_index", "edge_attr", "y"):
                assert torch.equal(own[key], other[key])
    assert (ours.metric, ours.evaluator) == (official.metric, official.evaluator)
    assert ours.unread == []


@pytest.mark.usefixtures("tree")
def test_properties_that_were_not_measured_are_missing() -> None:
    data = moleculenet("clintox")
    graphs = data.train + data.validation + data.test
    y = torch.cat([graph.y for graph in graphs])
    assert y.shape == (1480, 2)
    assert set(y.flatten().tolist()) == {0.0, 1.0}
    assert [failure.row for failure in data.unread] == [7, 302, 1219, 1220]


@pytest.mark.usefixtures("table")
def test_rows_that_cannot_be_read_are_reported_and_the_rest_kept() -> None:
    for _ in range(2):  # read, and taken from the cache
        data = moleculenet("freesolv")
        graphs = data.train + data.validation + data.test
        found = {graph.smiles: graph.y.tolist() for graph in graphs}
        assert found == {"CCO": [[0.5]], "c1ccccc1": [[2.5]], "CC": [[4.5]], "CCC": [[5.5]]}
        reason = "Explicit valence for atom # 1 C, 5, is greater than permitted"
        assert data.unread == [
            UnreadRow(1, "C1CC", "the text is no SMILES"),
            UnreadRow(3, "CC(C)(C)(C)C", reason),
        ]


def test_the_cache_is_taken_for_the_same_table_and_versions_only(
    table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    read = module.graphs_from_smiles
    monkeypatch.setattr(
        module,
        "graphs_from_smiles",
        lambda *given, **named: calls.append(0) or read(*given, **named),
    )
    for _ in range(2):
        moleculenet("freesolv")
    assert len(calls) == 1
    table.write_text(ROWS.replace("4.5", "4.25"))
    data = moleculenet("freesolv")
    assert 4.25 in [float(graph.y) for graph in data.train + data.validation + data.test]
    assert len(calls) == 2
    monkeypatch.setattr(module, "versions", lambda: {"rdkit": "of tomorrow", "ogb": "1.3.6"})
    moleculenet("freesolv")
    assert len(calls) == 3


@pytest.mark.usefixtures("table")
def test_a_packed_table_is_read(tmp_path: Path) -> None:
    path = tmp_path / "data" / "moleculenet" / "sider" / "raw" / "sider.csv.gz"
    path.parent.mkdir(parents=True)
    header = ",".join(["smiles", *(f'"effect, {number}"' for number in range(27))])
    rows = [f"{smiles}{',1' * 26}," for smiles in ("CCO", "CC")]
    path.write_bytes(gzip.compress("\r\n".join([header, *rows]).encode()))
    data = moleculenet("sider")
    y = torch.cat([graph.y for graph in data.train + data.validation + data.test])
    assert y.shape == (2, 27)
    assert bool((y[:, :26] == 1).all())
    assert bool(y[:, 26].isnan().all())


def test_a_label_that_is_no_number_raises(table: Path) -> None:
    table.write_text(ROWS.replace("4.5", "four"))
    with pytest.raises(ValueError, match="could not convert string to float: 'four'"):
        moleculenet("freesolv")


def test_every_data_set_has_an_official_measure() -> None:
    assert {f"mol{name}" for name in MOLECULENET} == set(OGB)


def test_an_unknown_name_is_answered_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"name must be one of \['bace'.*got 'ESOL'"):
        moleculenet("ESOL")


@pytest.mark.usefixtures("table")
def test_without_files_the_error_says_what_to_put_where(monkeypatch: pytest.MonkeyPatch) -> None:
    nowhere = MOLECULENET["lipo"]._replace(address="http://127.0.0.1:9/table.csv")
    monkeypatch.setitem(MOLECULENET, "lipo", nowhere)
    with pytest.raises(FileNotFoundError, match=r"put it at .*lipo/raw/Lipophilicity\.csv"):
        moleculenet("lipo")
