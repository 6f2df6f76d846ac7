"""Crystals from files, from other libraries, and from dictionaries."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import ase
import ase.build
import numpy as np
import pytest
import torch

from graphattn.datasets.crystal_files import (
    crystal_from_ase,
    crystal_from_cif,
    crystal_from_dictionary,
    crystal_from_poscar,
    crystal_from_pymatgen,
    read_crystal,
)
from graphattn.datasets.crystal_sets import read_table
from graphattn.datasets.crystals import Crystal, Quantity

CIF = """data_NaCl
_symmetry_space_group_name_H-M   'F m -3 m'
_symmetry_Int_Tables_number   225
_symmetry_cell_setting   cubic
_cell_length_a   5.64
_cell_length_b   5.64
_cell_length_c   5.64
_cell_angle_alpha   90
_cell_angle_beta   90
_cell_angle_gamma   90
loop_
 _atom_site_label
 _atom_site_type_symbol
 _atom_site_fract_x
 _atom_site_fract_y
 _atom_site_fract_z
 _atom_site_occupancy
  Na1 Na+ 0.0 0.0 0.0 1.0
  Cl1 Cl- 0.5 0.5 0.5 1
"""
POSCAR = """rock salt
1.0
0.0 2.82 2.82
2.82 0.0 2.82
2.82 2.82 0.0
Na Cl
1 1
direct
0.0 0.0 0.0
-0.5 1.5 0.5
"""
PYMATGEN = {
    "lattice": {"matrix": [[0.0, 2.82, 2.82], [2.82, 0.0, 2.82], [2.82, 2.82, 0.0]]},
    "sites": [
        {"abc": [0.0, 0.0, 0.0], "species": [{"element": "Na", "occu": 1, "oxidation_state": 1}]},
        {"abc": [-0.5, 1.5, 0.5], "species": [{"element": "Cl", "occu": 1}]},
    ],
}
FRACTIONAL = [[0.0, 0.0, 0.0], [-0.5, 1.5, 0.5]]
PRIMITIVE = PYMATGEN["lattice"]["matrix"]


def assert_is_primitive_salt(crystal: Crystal) -> None:
    assert crystal.numbers.tolist() == [11, 17]
    torch.testing.assert_close(crystal.fractional, torch.tensor(FRACTIONAL).double())
    torch.testing.assert_close(crystal.lattice, torch.tensor(PRIMITIVE, dtype=torch.float64))


def test_a_cif_file_is_read_with_its_symmetry() -> None:
    targets = {"gap": Quantity(5.0, "eV")}
    crystal = crystal_from_cif(CIF, name="salt", targets=targets)
    assert crystal.formula == "Na4 Cl4"
    assert crystal.targets == targets
    torch.testing.assert_close(crystal.lattice, torch.eye(3).double() * 5.64)
    expected = ase.build.bulk("NaCl", "rocksalt", a=5.64, cubic=True)
    for number in (11, 17):
        ours = crystal.position[crystal.numbers == number].tolist()
        theirs = expected.positions[expected.numbers == number].tolist()
        np.testing.assert_allclose(sorted(ours), sorted(theirs), atol=1e-12)


@pytest.mark.parametrize("occupancy", ["1", "1.00(2)", "?", "."])
def test_a_full_site_of_a_cif_file_may_be_written_in_many_ways(occupancy: str) -> None:
    text = CIF.replace("0.5 1\n", f"0.5 {occupancy}\n")
    assert crystal_from_cif(text, name="salt").formula == "Na4 Cl4"


def test_a_cif_file_without_symmetry_gives_the_atoms_as_listed() -> None:
    plain = CIF.replace("F m -3 m", "P 1").replace("225", "1").replace("cubic", "triclinic")
    crystal = crystal_from_cif(plain.replace("0.5 0.5 0.5", "-0.5 1.5 0.5"), name="plain")
    torch.testing.assert_close(crystal.fractional, torch.tensor(FRACTIONAL).double())


def test_the_symmetry_of_a_cif_file_gives_the_atoms_of_the_poscar_file(data_folder: Path) -> None:
    path = data_folder / "crystal_elastic" / "elastic_tensor.csv.gz"
    if not path.is_file():
        pytest.skip(f"no {path}")
    rows = read_table(path)[::80]
    assert len({row["space_group"] for row in rows}) > 8
    for row in rows:
        listed = crystal_from_poscar(row["poscar"], name=row["material_id"])
        grown = crystal_from_cif(row["structure"], name=row["material_id"])
        assert grown.numbers.bincount().tolist() == listed.numbers.bincount().tolist()
        assert float(grown.lattice.det()) == pytest.approx(float(listed.lattice.det()), rel=1e-3)


def test_a_poscar_file_is_read() -> None:
    assert_is_primitive_salt(crystal_from_poscar(POSCAR, name="salt"))
    old = POSCAR.replace("rock salt", "Na Cl").replace("Na Cl\n1 1", "1 1")
    assert_is_primitive_salt(crystal_from_poscar(old, name="salt"))


def test_atoms_of_ase_are_taken_over() -> None:
    atoms = ase.Atoms("NaCl", scaled_positions=FRACTIONAL, cell=PRIMITIVE, pbc=True)
    assert_is_primitive_salt(crystal_from_ase(atoms, name="salt"))
    atoms.pbc = (True, True, False)
    with pytest.raises(ValueError, match=r"^slab: atoms must be periodic in three directions"):
        crystal_from_ase(atoms, name="slab")


def test_structures_of_pymatgen_are_taken_over() -> None:
    structure = SimpleNamespace(as_dict=lambda: PYMATGEN)
    assert_is_primitive_salt(crystal_from_pymatgen(structure, name="salt"))


POSITIONS = (np.array(FRACTIONAL) @ np.array(PRIMITIVE)).tolist()
DICTIONARIES: dict[str, dict[str, Any]] = {
    "ours": {"numbers": [11, 17], "fractional": FRACTIONAL, "lattice": PRIMITIVE},
    "of tensors": {
        "numbers": torch.tensor([11, 17]),
        "fractional": torch.tensor(FRACTIONAL),
        "lattice": torch.tensor(PRIMITIVE, dtype=torch.float64),
    },
    "of JARVIS": {"elements": ["Na", "Cl "], "coords": FRACTIONAL, "lattice_mat": PRIMITIVE},
    "of JARVIS, Cartesian": {
        "elements": ["Na", "Cl"],
        "coords": POSITIONS,
        "lattice_mat": PRIMITIVE,
        "cartesian": True,
    },
    "of pymatgen": PYMATGEN,
}


@pytest.mark.parametrize("form", DICTIONARIES)
def test_dictionaries_are_read(form: str) -> None:
    assert_is_primitive_salt(crystal_from_dictionary(DICTIONARIES[form], name="salt"))


def test_a_file_is_read_by_its_name(tmp_path: Path) -> None:
    for name, text in (("a.cif", CIF), ("a.vasp", POSCAR), ("CONTCAR_2", POSCAR)):
        (tmp_path / name).write_text(text)
        assert read_crystal(tmp_path / name).name == name
    with pytest.raises(ValueError, match=r"path must name a CIF or POSCAR file, got 'a\.xyz'"):
        read_crystal(tmp_path / "a.xyz")
    with pytest.raises(FileNotFoundError):
        read_crystal(tmp_path / "missing.cif")


BAD_CIF = {
    "half a site": (("0.0 1.0", "0.0 0.5(1)"), "every site must be occupied.* 0.5 at site 0"),
    "unknown element": (("Na+", "Xx"), "unknown element 'Xx'"),
    "one place": (("0.5 0.5 0.5", "0 0 1"), r"two atoms must not be at one place.*\(Na\).*\(Cl\)"),
    "unknown place": (("0.5 0.5 0.5", "? 0.5 0.5"), "cannot be read as CIF"),
    "unknown edge": (("length_a   5.64", "length_a   ?"), "cannot be read as CIF"),
    "no edge": (("_cell_length_a   5.64\n", ""), "lattice must not be singular"),
    "no group": (("F m -3 m'\n_symmetry_Int_Tables_number   225", "Q'"), "cannot be read as CIF"),
    "no structure": (("_atom_site", "_nothing"), "a CIF file must hold a structure, got none"),
    "no CIF": ((CIF, "hello"), "cannot be read as CIF"),
    "empty": ((CIF, ""), "a CIF file must hold a structure, got none"),
}


@pytest.mark.parametrize("case", BAD_CIF)
def test_a_bad_cif_file_is_refused_by_name(case: str) -> None:
    change, message = BAD_CIF[case]
    with pytest.raises(ValueError, match=f"^salt: {message}"):
        crystal_from_cif(CIF.replace(*change), name="salt")


BAD_POSCAR = {
    "unknown element": (("Na Cl\n", "Na Xx\n"), "unknown element 'Xx'"),
    "no elements": (("Na Cl\n", ""), "a POSCAR file must name its elements"),
    "left-handed": (("\n2.82 2.82 0.0", "\n-2.82 -2.82 0.0"), "lattice must be right-handed"),
    "cut off": (("-0.5 1.5 0.5\n", ""), "cannot be read as POSCAR"),
    "empty": ((POSCAR, ""), "cannot be read as POSCAR"),
}


@pytest.mark.parametrize("case", BAD_POSCAR)
def test_a_bad_poscar_file_is_refused_by_name(case: str) -> None:
    change, message = BAD_POSCAR[case]
    with pytest.raises(ValueError, match=f"^salt: {message}"):
        crystal_from_poscar(POSCAR.replace(*change), name="salt")


def mixed(*species: dict[str, Any]) -> dict[str, Any]:
    site = {"abc": [0, 0, 0], "species": list(species)}
    return {"lattice": PYMATGEN["lattice"], "sites": [site]}


BAD_DICTIONARIES = {
    "alloy": (
        mixed({"element": "Na", "occu": 0.5}, {"element": "K", "occu": 0.5}),
        "every site must be occupied by one atom, got Na 0.5, K 0.5 at site 0",
    ),
    "vacancies": (mixed({"element": "Na", "occu": 0.9}), "every site must be .* got Na 0.9"),
    "hole": (mixed(), "every site must be occupied by one atom, got nothing"),
    "unknown element": (mixed({"element": "Zz", "occu": 1}), "unknown element 'Zz'"),
    "sites that are none": ({"sites": 3, "lattice": {}}, "cannot be read as pymatgen"),
    "no atoms": (
        {"numbers": [], "fractional": [], "lattice": PRIMITIVE},
        "a crystal must have atoms, got none",
    ),
    "half numbers": (
        {"numbers": [11, 17.5], "fractional": FRACTIONAL, "lattice": PRIMITIVE},
        "numbers must be integers",
    ),
    "words": (
        {"numbers": [11], "fractional": [["x", "y", "z"]], "lattice": PRIMITIVE},
        "numbers, coordinates and lattice must be arrays of numbers",
    ),
    "flat cell of Cartesian atoms": (
        DICTIONARIES["of JARVIS, Cartesian"] | {"lattice_mat": [[1, 0, 0], [0, 1, 0], [1, 1, 0]]},
        "lattice must not be singular",
    ),
    "other keys": ({"atoms": 1}, r"a dictionary must have .* got the keys \['atoms'\]"),
}


@pytest.mark.parametrize("case", BAD_DICTIONARIES)
def test_a_bad_dictionary_is_refused_by_name(case: str) -> None:
    record, message = BAD_DICTIONARIES[case]
    with pytest.raises(ValueError, match=f"^salt: {message}"):
        crystal_from_dictionary(record, name="salt")
