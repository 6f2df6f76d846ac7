"""Sets of crystals from tables: flla, elastic and piezoelectric tensors, Perov-5, Carbon-24."""

import ast
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Literal, NamedTuple

from graphattn.datasets.crystal_files import (
    crystal_from_cif,
    crystal_from_poscar,
    crystal_from_pymatgen,
)
from graphattn.datasets.crystal_sets import CrystalSet, collect, find_table, kept, read_table
from graphattn.datasets.crystals import Crystal, Quantity

MATMINER = "https://raw.githubusercontent.com/hackingmaterials/matminer/v0.3.9/matminer/datasets"
CDVAE = (
    "https://raw.githubusercontent.com/txie-93/cdvae/f857f598d6f6cca5dc1ea0582d228f12dcc2c2ea/data"
)
Part = Literal["train", "val", "test"]


class _Table(NamedTuple):
    file: str  # in the data folder, less ".gz"
    address: str
    sha256: str | None  # None where it is not known to us
    structure: str  # column
    read: Callable[..., Crystal]
    name: str  # column
    targets: Mapping[str, str]  # columns and their units


def _literal(text: str, *, name: str, targets: Mapping[str, Quantity]) -> Crystal:
    """Reads a dictionary of pymatgen that is written as Python has it."""
    try:
        record = ast.literal_eval(text)
    except (SyntaxError, ValueError) as error:
        raise ValueError(f"{name}: cannot be read as a dictionary ({error})") from error
    return crystal_from_pymatgen(record, name=name, targets=targets)


def _matminer(
    folder: str,
    file: str,
    sha256: str,
    structure: tuple[str, Callable[..., Crystal]],
    targets: Mapping[str, str],
) -> _Table:
    address = f"{MATMINER}/{file}"
    return _Table(f"{folder}/{file}", address, sha256, *structure, "material_id", targets)


MATMINER_TABLES: dict[str, _Table] = {
    "flla": _matminer(
        "crystal_flla",
        "flla_2015.csv",
        "35b8dbc0b92f4dc7e219fd6606c3a27bee18a9618f376cfee1ff731e306210bb",
        ("structure", _literal),
        {"formation_energy_per_atom": "eV/atom", "e_above_hull": "eV/atom"},
    ),
    "elastic": _matminer(
        "crystal_elastic",
        "elastic_tensor.csv",
        "f7a18c91fe5dcd51012e5b7e3a37f73aaee9087a036d61bdf9d6464b6fca51a6",
        ("poscar", crystal_from_poscar),
        {"K_VRH": "GPa", "G_VRH": "GPa", "poisson_ratio": "1", "elastic_anisotropy": "1"},
    ),
    "piezo": _matminer(
        "crystal_piezo",
        "piezoelectric_tensor.csv",
        "4be45c8df76a9600f789255ddcb05a92fc3807e0b96fd01e85713a58c34a2ae1",
        ("poscar", crystal_from_poscar),
        {"eij_max": "C/m^2"},
    ),
}
"""The tables of `flla`, `elastic` and `piezo`: where each is, and which columns are read."""

PEROV5_SHA256: dict[Part, str | None] = {
    "train": None,  # not known to us; the address pins the commit
    "val": "326f401219901270374b71e2faff63df3a29a99fd26f469993b9f476b693daf2",
    "test": "a85878c685037f0a578257f6d4fcdde00e968dbab73c5f1e90ecef65218513f6",
}
CARBON24_SHA256: dict[Part, str | None] = {
    "train": None,
    "val": "36c00689cd63073c954a58bc6ed6e2adb7aeed5a630c994970959a1babffd50e",
    "test": "386b17c08816f434818d51e46687bf72ff3f92348f3ba24823e4758f1fe8a969",
}


def _crystals(name: str, table: _Table) -> CrystalSet:
    path = find_table(table.file, table.address, table.sha256)

    def records() -> Iterator[tuple[str, Callable[[], Crystal]]]:
        for row in read_table(path):
            targets = {
                target: Quantity(float(row[target] or "nan"), unit)
                for target, unit in table.targets.items()
            }
            record = row[table.name]
            yield (
                record,
                partial(table.read, row[table.structure], name=record, targets=targets),
            )

    return kept(name, [path], lambda: collect(records()))


def flla() -> CrystalSet:
    """Inorganic crystals with the formation energy that density functional theory gives them.

    3,938 crystals of the Materials Project of up to 25 atoms a cell, 46,488 atoms, 86 elements.
    Targets are ``formation_energy_per_atom`` and ``e_above_hull``, both in eV/atom. There is no
    published split; see ``graphattn.datasets.crystal_sets.hashed_fold``.

    The table is ``crystal_flla/flla_2015.csv`` of the data folder, or is downloaded; see
    ``graphattn.datasets.files``. Reading it takes some seconds, once: the crystals are kept in the
    cache.

    Returns:
        The crystals, named as ``mp-10``.

    Raises:
        FileNotFoundError: If the table is neither there nor to be had; says what to put where.

    Source: Faber et al., "Crystal structure representations for machine learning models of
        formation energies", International Journal of Quantum Chemistry 2015; table of matminer
        0.3.9 (modified BSD licence), data of the Materials Project (CC BY 4.0).
    """
    return _crystals("flla", MATMINER_TABLES["flla"])


def elastic() -> CrystalSet:
    """Inorganic crystals with the elastic moduli that density functional theory gives them.

    1,181 crystals of up to 152 atoms a cell, 14,675 atoms, 63 elements. Targets are the bulk
    modulus ``K_VRH`` and the shear modulus ``G_VRH`` (averages of Voigt, Reuss and Hill) in GPa,
    and ``poisson_ratio`` and ``elastic_anisotropy``, plain numbers. There is no published split;
    matbench's ``log_kvrh`` and ``log_gvrh`` are a later, larger set.

    The table is ``crystal_elastic/elastic_tensor.csv`` of the data folder, or is downloaded; see
    ``graphattn.datasets.files``. The crystals are kept in the cache.

    Returns:
        The crystals, named as ``mp-10003``.

    Raises:
        FileNotFoundError: If the table is neither there nor to be had; says what to put where.
        ImportError: If ASE is not installed.

    Source: de Jong et al., "Charting the complete elastic properties of inorganic crystalline
        compounds", Scientific Data 2015 (CC BY 4.0); table of matminer 0.3.9 (modified BSD
        licence).
    """
    return _crystals("elastic", MATMINER_TABLES["elastic"])


def piezo() -> CrystalSet:
    """Crystals with the piezoelectric modulus that density functional theory gives them.

    941 crystals, 7,513 atoms, 78 elements. The target is ``eij_max``, the largest longitudinal
    modulus, in C/m². There is no published split.

    The table is ``crystal_piezo/piezoelectric_tensor.csv`` of the data folder, or is downloaded;
    see ``graphattn.datasets.files``. The crystals are kept in the cache.

    Returns:
        The crystals, named as ``mp-406``.

    Raises:
        FileNotFoundError: If the table is neither there nor to be had; says what to put where.
        ImportError: If ASE is not installed.

    Source: de Jong et al., "A database to enable discovery and design of piezoelectric materials",
        Scientific Data 2015 (CC BY 4.0); table of matminer 0.3.9 (modified BSD licence).
    """
    return _crystals("piezo", MATMINER_TABLES["piezo"])


def _cdvae(
    folder: str, part: Part, sha256: dict[Part, str | None], units: dict[str, str]
) -> _Table:
    if part not in sha256:
        raise ValueError(f"part must be one of {sorted(sha256)}, got {part!r}")
    file, address = f"crystal_{folder.replace('_', '')}/{part}.csv", f"{CDVAE}/{folder}/{part}.csv"
    return _Table(file, address, sha256[part], "cif", crystal_from_cif, "material_id", units)


def perov5(part: Part) -> CrystalSet:
    """Perovskites of five atoms with their heat of formation and gaps, in CDVAE's split.

    11,356 crystals to train, 3,787 to validate and 3,785 to test, 56 elements. Targets are
    ``heat_ref`` and ``heat_all`` (heat of formation), ``dir_gap`` and ``ind_gap`` (band gaps,
    mostly 0), all in eV. By size the heats are of the cell, as matbench has them, though CDVAE's
    paper says per atom.

    The table is ``crystal_perov5/PART.csv`` of the data folder, or is downloaded; see
    ``graphattn.datasets.files``. The crystals are kept in the cache.

    Args:
        part: ``"train"``, ``"val"`` or ``"test"``.

    Returns:
        The crystals, named by numbers.

    Raises:
        ValueError: If there is no such part.
        FileNotFoundError: If the table is neither there nor to be had; says what to put where.
        ImportError: If ASE is not installed.

    Source: Castelli et al., "New cubic perovskites for one- and two-photon water splitting using
        the computational materials repository", Energy and Environmental Science 2012; split and
        files of Xie et al., "Crystal Diffusion Variational Autoencoder for Periodic Material
        Generation", ICLR 2022, repository txie-93/cdvae, MIT licence.
    """
    units = dict.fromkeys(("heat_ref", "heat_all", "dir_gap", "ind_gap"), "eV")
    return _crystals(f"perov5-{part}", _cdvae("perov_5", part, PEROV5_SHA256, units))


def carbon24(part: Part) -> CrystalSet:
    """Carbon at 10 GPa in 6 to 24 atoms a cell with its energy, in CDVAE's split.

    6,091 crystals to train, 2,032 to validate and 2,030 to test. One element: a test of geometry
    alone. The target is ``energy_per_atom`` in eV/atom.

    The table is ``crystal_carbon24/PART.csv`` of the data folder, or is downloaded; see
    ``graphattn.datasets.files``. The crystals are kept in the cache.

    Args:
        part: ``"train"``, ``"val"`` or ``"test"``.

    Returns:
        The crystals, named as ``C-148264-7891-51``.

    Raises:
        ValueError: If there is no such part.
        FileNotFoundError: If the table is neither there nor to be had; says what to put where.
        ImportError: If ASE is not installed.

    Source: Pickard, "AIRSS data for carbon at 10 GPa", Materials Cloud 2020; split and files of Xie
        et al., ICLR 2022, as those of ``perov5``.
    """
    units = {"energy_per_atom": "eV/atom"}
    return _crystals(f"carbon24-{part}", _cdvae("carbon_24", part, CARBON24_SHA256, units))
