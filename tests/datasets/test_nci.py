"""NCI molecules: what the file holds, what a graph holds, and what does not parse."""

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch_geometric.loader import DataLoader

from graphattn.datasets.nci import (
    ATOM_COLUMNS,
    BOND_COLUMNS,
    MoleculeSet,
    ParseFailure,
    molecule_from_smiles,
    molecules_from_rows,
    nci_molecules,
)

pytest.importorskip("rdkit")


@pytest.fixture(scope="module")
def molecules() -> MoleculeSet:
    return nci_molecules()


def columns_of(row: torch.Tensor, columns: tuple) -> list:
    return [columns[index] for index in row.nonzero().flatten().tolist()]


def test_the_file_is_the_one_described():
    from rdkit import RDConfig

    content = (Path(RDConfig.RDDataDir) / "NCI" / "first_5K.smi").read_bytes()
    assert hashlib.sha256(content).hexdigest() in nci_molecules.__doc__


def test_every_row_is_a_molecule_a_duplicate_or_a_failure(molecules):
    parts = [molecules.train, molecules.validation, molecules.test]
    smiles = [molecule.smiles for part in parts for molecule in part]
    assert len(smiles) == len(set(smiles)) == 4892
    assert len(smiles) + molecules.num_duplicates + len(molecules.failures) == 4999
    assert len(molecules.failures) == 8
    assert ParseFailure(3370, "CCCCNCCCC.F[Si](F)(F)(F)(F)F") in molecules.failures


def test_the_split_is_the_published_one(molecules):
    parts = [molecules.train, molecules.validation, molecules.test]
    assert [len(part) for part in parts] == [3893, 477, 522]


def test_a_row_more_moves_no_other():
    alcohols = ["C" * length + "O" for length in range(1, 60)]
    fewer, more = molecules_from_rows(alcohols[:40]), molecules_from_rows(alcohols)
    for name in ("train", "validation", "test"):
        short, long = ([m.smiles for m in getattr(part, name)] for part in (fewer, more))
        assert short == long[: len(short)]
        assert short


def test_spellings_of_one_molecule_are_one_graph():
    molecules = molecules_from_rows(["OCC first", "CCO second", "", "C(C)O\tthird"])
    assert len(molecules.train + molecules.validation + molecules.test) == 1
    assert molecules.num_duplicates == 2
    first, second = molecule_from_smiles("OCC"), molecule_from_smiles("C(C)O")
    for name in ("x", "edge_index", "edge_attr", "y"):
        torch.testing.assert_close(first[name], second[name], rtol=0, atol=0)


def test_rows_that_do_not_parse_are_reported_and_the_rest_kept():
    rows = ["CCO 1", "C1CC 2", "", "c1ccccc1 3", "CC(C)(C)(C)C 4"]
    molecules = molecules_from_rows(rows)
    assert len(molecules.train + molecules.validation + molecules.test) == 2
    assert molecules.failures == [ParseFailure(2, "C1CC"), ParseFailure(5, "CC(C)(C)(C)C")]


def test_no_rows_give_empty_parts():
    assert molecules_from_rows([]) == MoleculeSet([], [], [], [], 0)
    assert nci_molecules(limit=0) == MoleculeSet([], [], [], [], 0)


def test_letters_are_no_rows():
    with pytest.raises(TypeError, match=r"rows must be lines, got one text: split it with"):
        molecules_from_rows("CCO\nCC")


def test_rdkit_is_silenced_only_around_the_parse():
    code = (
        "from rdkit import Chem\n"
        "from graphattn.datasets.nci import molecules_from_rows\n"
        "molecules_from_rows(['C1CC ours'])\n"
        "Chem.MolFromSmiles('C1CN')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "C1CN" in done.stderr
    assert "C1CC" not in done.stderr


def test_features_of_acetic_acid():
    acid = molecule_from_smiles("CC(=O)O")
    assert acid.smiles == "CC(=O)O"
    assert columns_of(acid.x[1], ATOM_COLUMNS) == [
        ("element", "C"),
        ("degree", 3),
        ("charge", 0),
        ("hybridisation", "SP2"),
        ("hydrogens", 0),
        ("aromatic", False),
        ("ring", False),
    ]
    assert ("hydrogens", 3) in columns_of(acid.x[0], ATOM_COLUMNS)
    assert acid.edge_index.tolist() == [[0, 1, 1, 2, 1, 3], [1, 0, 2, 1, 3, 1]]
    assert columns_of(acid.edge_attr[2], BOND_COLUMNS) == [
        ("type", "DOUBLE"),
        ("conjugated", True),
        ("ring", False),
        ("stereo", "STEREONONE"),
    ]
    # Wildman and Crippen's contributions, summed by hand: C1 + C5 + O9 + O2a, 3 H1 and 1 H4.
    by_hand = 0.1441 - 0.2783 - 0.1526 - 0.2893 + 3 * 0.1230 + 0.2980
    torch.testing.assert_close(acid.y, torch.tensor([by_hand]), rtol=0, atol=1e-4)


def test_values_without_a_column_fall_into_the_open_one():
    plutonium = molecule_from_smiles("[Pu+4]")
    assert ("element", None) in columns_of(plutonium.x[0], ATOM_COLUMNS)
    assert ("charge", None) in columns_of(plutonium.x[0], ATOM_COLUMNS)


def test_double_bonds_know_their_side():
    for smiles, stereo in [("C/C=C/C", "STEREOE"), ("C/C=C\\C", "STEREOZ")]:
        columns = [columns_of(row, BOND_COLUMNS) for row in molecule_from_smiles(smiles).edge_attr]
        assert sum(("stereo", stereo) in row for row in columns) == 2


def test_one_atom_has_no_bonds_and_batches_with_others():
    methane, ethanol = molecule_from_smiles("C"), molecule_from_smiles("CCO")
    assert methane.x.shape == (1, len(ATOM_COLUMNS))
    assert methane.edge_index.shape == (2, 0)
    assert methane.edge_index.dtype == torch.int64
    assert methane.edge_attr.shape == (0, len(BOND_COLUMNS))
    batch = next(iter(DataLoader([methane, ethanol, methane], batch_size=3)))
    assert batch.edge_index.tolist() == [[1, 2, 2, 3], [2, 1, 3, 2]]
    assert batch.y.shape == (3,)


def test_every_category_has_one_value_per_atom_and_bond(molecules):
    for molecule in molecules.test:
        assert bool((molecule.x.sum(1) == 7).all())
        assert bool((molecule.edge_attr.sum(1) == 4).all())
        assert bool(molecule.y.isfinite().all())
        forth, back = molecule.edge_index[:, ::2], molecule.edge_index[:, 1::2].flip(0)
        assert torch.equal(forth, back)


@pytest.mark.parametrize("smiles", ["", "C1CC", "not a molecule", "CC(C)(C)(C)C"])
def test_unreadable_smiles_raise(smiles):
    with pytest.raises(ValueError, match="smiles must be a molecule RDKit can read, got"):
        molecule_from_smiles(smiles)


def test_what_is_no_text_raises():
    with pytest.raises(TypeError, match="smiles must be a string, got int"):
        molecule_from_smiles(7)


def test_negative_limit_raises():
    with pytest.raises(ValueError, match="limit must be None or at least 0, got -1"):
        nci_molecules(limit=-1)


def test_without_rdkit_the_remedy_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "rdkit", None)
    with pytest.raises(ImportError, match=r"pip install graphattn\[molecules\]"):
        molecule_from_smiles("C")
