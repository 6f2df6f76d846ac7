"""Molecules from SMILES: ogb's features, what cannot be read, and worker processes."""

import sys

import numpy as np
import pytest
import torch

from graphattn.datasets.smiles import UnreadRow, graphs_from_smiles
from graphattn.datasets.workers import CHUNK, map_chunks

pytest.importorskip("rdkit")
pytest.importorskip("ogb")

MOLECULES = {
    "one atom": "C",
    "an ion": "[NH4+]",
    "acetic acid": "CC(=O)O",
    "chiral": "O1C=C[C@H]([C@H]1O2)c3c2cc(OC)c4c3OC(=O)C5=C4CCC(=O)5",
    "double bonds with sides": "C/C=C/C(=O)/C=C\\C",
    "two pieces": "[Na+].CC(=O)[O-]",
    "a metal": "CCC1=[O+][Cu-3]2([O+]=C(CC)C1)[O+]=C(CC)CC(CC)=[O+]2",
    "a heavy element": "[Pu+4]",
    "a radical": "C[CH2]",
}


@pytest.mark.parametrize("smiles", MOLECULES.values(), ids=MOLECULES)
def test_graphs_are_those_of_ogb(smiles: str) -> None:
    from ogb.utils import smiles2graph

    [ours] = graphs_from_smiles([smiles]).graphs
    theirs = smiles2graph(smiles)
    for name, key in [("x", "node_feat"), ("edge_index", "edge_index"), ("edge_attr", "edge_feat")]:
        assert ours[name].dtype == torch.int64
        assert np.array_equal(ours[name].numpy(), theirs[key]), name
    assert ours.smiles == smiles


def test_rows_that_cannot_be_read_are_reported_and_the_rest_kept(
    capfd: pytest.CaptureFixture[str],
) -> None:
    read = graphs_from_smiles(["CCO", "C1CC", "", " c1ccccc1 ", "CC(C)(C)(C)C", "c1cccc1", "C"])
    assert read.rows.tolist() == [0, 3, 6]
    assert [graph.smiles for graph in read.graphs] == ["CCO", "c1ccccc1", "C"]
    assert [graph.num_nodes for graph in read.graphs] == [3, 6, 1]
    assert read.unread[:3] == [
        UnreadRow(1, "C1CC", "the text is no SMILES"),
        UnreadRow(2, "", "there is no atom"),
        UnreadRow(
            4, "CC(C)(C)(C)C", "Explicit valence for atom # 1 C, 5, is greater than permitted"
        ),
    ]
    row, text, reason = read.unread[3]
    assert (row, text) == (5, "c1cccc1")
    assert "kekulize" in reason
    assert capfd.readouterr().err == ""  # RDKit's own complaints are in the report


def test_one_atom_has_no_bonds() -> None:
    [methane] = graphs_from_smiles(["C"]).graphs
    assert methane.edge_index.shape == (2, 0)
    assert methane.edge_attr.shape == (0, 3)


@pytest.mark.parametrize(
    ("smiles", "elements"),
    [
        ("[H]C([H])([H])[H]", [6]),
        ("[H]OC", [8, 6]),
        ("[H][H]", [1, 1]),
        ("[2H]OC", [1, 8, 6]),
        ("[H+].[Cl-]", [1, 17]),
    ],
)
def test_hydrogens_are_atoms_where_rdkit_keeps_them(smiles: str, elements: list[int]) -> None:
    [graph] = graphs_from_smiles([smiles]).graphs
    assert (graph.x[:, 0] + 1).tolist() == elements  # ogb counts from hydrogen


@pytest.mark.parametrize("smiles", [[], ["C1CC"]], ids=["no rows", "none that can be read"])
def test_without_molecules_there_are_no_graphs(smiles: list[str]) -> None:
    read = graphs_from_smiles(smiles)
    assert (read.graphs, read.rows.tolist(), len(read.unread)) == ([], [], len(smiles))


def test_processes_give_what_one_gives() -> None:
    smiles = ["C1CC" if length % 100 == 7 else "C" * (length % 9) + "O" for length in range(600)]
    assert len(smiles) > 2 * CHUNK
    alone, together = (graphs_from_smiles(smiles, num_workers=number) for number in (0, 2))
    assert together.unread == alone.unread
    assert len(alone.unread) == 6
    assert torch.equal(together.rows, alone.rows)
    for first, second in zip(together.graphs, alone.graphs, strict=True):
        assert first.smiles == second.smiles
        for name in ("x", "edge_index", "edge_attr"):
            assert torch.equal(first[name], second[name])


def failing(rows: list[str]) -> int:
    if "bad" in rows:
        raise ArithmeticError("of a worker")
    return len(rows)


def test_an_error_in_a_process_reaches_the_caller() -> None:
    rows = ["good"] * (2 * CHUNK + 5)
    assert map_chunks(failing, rows, label="", num_workers=2) == [CHUNK, CHUNK, 5]
    with pytest.raises(ArithmeticError, match="of a worker"):
        map_chunks(failing, [*rows, "bad"], label="", num_workers=2)


def test_rows_of_a_table_are_counted_and_not_named() -> None:
    pandas = pytest.importorskip("pandas")
    column = pandas.Series(["CCO", "CC", "bad!"]).iloc[[2, 0]]
    for rows in (column, column.array, column.to_numpy()):
        read = graphs_from_smiles(rows)
        assert [(row, text) for row, text, _ in read.unread] == [(0, "bad!")]
        assert [graph.smiles for graph in read.graphs] == ["CCO"]
        assert read.rows.tolist() == [1]
    assert graphs_from_smiles(column[[2]]).unread[0].text == "bad!"  # no row has the label 0


def test_rows_may_come_one_by_one() -> None:
    rows = ["CCO", "bad!"]
    for given in (iter(rows), map(str, rows), dict.fromkeys(rows).keys()):
        read = graphs_from_smiles(given)
        assert [graph.smiles for graph in read.graphs] == ["CCO"]
        assert [text for _, text, _ in read.unread] == ["bad!"]
    assert {graph.smiles for graph in graphs_from_smiles({"C", "O"}).graphs} == {"C", "O"}


def test_bad_input_is_named() -> None:
    with pytest.raises(TypeError, match="smiles must be a sequence of texts, got one text"):
        graphs_from_smiles("CCO")
    with pytest.raises(TypeError, match="smiles must be texts, got float in row 1"):
        graphs_from_smiles(["CCO", float("nan")])
    with pytest.raises(ValueError, match="num_workers must be None or at least 0, got -1"):
        graphs_from_smiles(["CCO"], num_workers=-1)


def test_without_rdkit_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rdkit", None)
    with pytest.raises(ImportError, match=r"pip install graphattn\[molecules\]"):
        graphs_from_smiles(["C"])
