"""Crystals from CIF and POSCAR files, from ASE and pymatgen, and from dictionaries."""

import io
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from graphattn.datasets.chemical_elements import atomic_number
from graphattn.datasets.crystals import Crystal, Quantity

FULL = 0.999  # of a site: occupancies are rounded in files
Targets = Mapping[str, Quantity]


def read_crystal(path: str | Path, *, targets: Targets | None = None) -> Crystal:
    """Reads a crystal from a file.

    Args:
        path: A CIF file (``.cif``), or a POSCAR file (named ``POSCAR`` or ``CONTCAR`` with whatever
            follows, or ``.vasp``, ``.poscar``).
        targets: What is known of it.

    Returns:
        The crystal; its name is that of the file.

    Raises:
        FileNotFoundError: If there is no such file.
        ImportError: If ASE is not installed.
        ValueError: If the file is of no known format, or its crystal is refused; see
            ``crystal_from_cif`` and ``crystal_from_poscar``.
    """
    path = Path(path)
    stem, suffix = path.name.upper(), path.suffix.lower()
    if suffix == ".cif":
        read = crystal_from_cif
    elif suffix in (".vasp", ".poscar") or stem.startswith(("POSCAR", "CONTCAR")):
        read = crystal_from_poscar
    else:
        raise ValueError(f"path must name a CIF or POSCAR file, got {path.name!r}")
    return read(path.read_text(), name=path.name, targets=targets)


def crystal_from_cif(text: str, *, name: str, targets: Targets | None = None) -> Crystal:
    """Reads a crystal from the text of a CIF file, symmetry included.

    The first block that holds a structure is read. Deuterium is read as hydrogen.

    Args:
        text: What the file holds.
        name: Of the crystal.
        targets: What is known of it.

    Raises:
        ImportError: If ASE is not installed.
        ValueError: If it cannot be read, a site is not fully occupied, or the crystal is refused;
            see ``Crystal``.
    """
    cif = _ase_reader("cif")
    try:
        blocks = [block for block in cif.parse_cif(io.StringIO(text)) if block.has_structure()]
    except Exception as error:  # ASE raises errors of many kinds over files that are none
        raise _unreadable(name, "CIF", error) from error
    if not blocks:
        raise ValueError(f"{name}: a CIF file must hold a structure, got none")
    block = blocks[0]
    for site, occupancy in enumerate(block.get("_atom_site_occupancy") or []):
        if isinstance(occupancy, int | float) and not occupancy >= FULL:
            raise ValueError(
                f"{name}: every site must be occupied by one atom, got an occupancy of "
                f"{occupancy} at site {site}, counted from zero: order the structure first"
            )
    _atomic_numbers(name, block.get_symbols())
    try:
        listed = block.get_unsymmetrized_structure()
        listed.pbc = True
    except Exception as error:
        raise _unreadable(name, "CIF", error) from error
    # Images of one site may fall together, two listed sites may not: ASE would merge them unsaid.
    crystal = crystal_from_ase(listed, name=name, targets=targets)
    try:
        with warnings.catch_warnings():
            # Said of every system with one setting, and of files that list their operations.
            warnings.filterwarnings("ignore", message="crystal system")
            if int(block.get_spacegroup(subtrans_included=True)) == 1:
                return crystal
            atoms = block.get_atoms()
    except Exception as error:
        raise _unreadable(name, "CIF", error) from error
    return crystal_from_ase(atoms, name=name, targets=targets)


def crystal_from_poscar(text: str, *, name: str, targets: Targets | None = None) -> Crystal:
    """Reads a crystal from the text of a POSCAR file of VASP.

    Args:
        text: What the file holds; without a line of symbols, the first line names the elements.
        name: Of the crystal.
        targets: What is known of it.

    Raises:
        ImportError: If ASE is not installed.
        ValueError: If it cannot be read, or the crystal is refused; see ``Crystal``.
    """
    vasp = _ase_reader("vasp")
    try:
        atoms = vasp.read_vasp(io.StringIO(text))
    except KeyError as error:
        raise ValueError(f"{name}: unknown element {error}") from error
    except AttributeError as error:  # ASE looks for a POTCAR beside a file that has a name
        raise ValueError(
            f"{name}: a POSCAR file must name its elements, in its sixth line or its first"
        ) from error
    except Exception as error:
        raise _unreadable(name, "POSCAR", error) from error
    return crystal_from_ase(atoms, name=name, targets=targets)


def crystal_from_ase(atoms: Any, *, name: str, targets: Targets | None = None) -> Crystal:
    """Takes over an ``ase.Atoms``.

    Args:
        atoms: Periodic in all three directions.
        name: Of the crystal.
        targets: What is known of it.

    Raises:
        ValueError: If it is not periodic, or the crystal is refused; see ``Crystal``.
    """
    if not np.all(atoms.pbc):
        raise ValueError(f"{name}: atoms must be periodic in three directions, got {atoms.pbc}")
    lattice = np.array(atoms.cell, dtype=np.float64)
    return _crystal(name, atoms.numbers, None, lattice, targets, position=atoms.positions)


def crystal_from_pymatgen(structure: Any, *, name: str, targets: Targets | None = None) -> Crystal:
    """Takes over a ``pymatgen`` ``Structure``, or what its ``as_dict`` gives.

    Args:
        structure: Every site has one element; oxidation states are dropped.
        name: Of the crystal.
        targets: What is known of it.

    Raises:
        ValueError: If a site is not fully occupied by one element, the dictionary is of another
            form, or the crystal is refused; see ``Crystal``.
    """
    record = structure if isinstance(structure, Mapping) else structure.as_dict()
    try:
        symbols = [_only_species(name, place, site) for place, site in enumerate(record["sites"])]
        fractional = [site["abc"] for site in record["sites"]]
        lattice = record["lattice"]["matrix"]
    except (KeyError, TypeError) as error:
        raise _unreadable(name, "pymatgen's dictionary", error) from error
    return _crystal(name, _atomic_numbers(name, symbols), fractional, lattice, targets)


def crystal_from_dictionary(
    record: Mapping[str, Any], *, name: str, targets: Targets | None = None
) -> Crystal:
    """Reads a crystal from a dictionary of one of three forms.

    Args:
        record: One of ``{"numbers": (n,), "fractional": (n, 3), "lattice": (3, 3)}`` as of
            ``Crystal``; ``{"elements": (n,), "coords": (n, 3), "lattice_mat": (3, 3), "cartesian":
            bool}`` of JARVIS, in ångström where Cartesian; or ``{"sites": …, "lattice": …}`` of
            pymatgen. Values are lists, arrays or tensors.
        name: Of the crystal.
        targets: What is known of it.

    Raises:
        ValueError: If the dictionary is of none of these forms, or the crystal is refused; see
            ``Crystal``.
    """
    if "sites" in record:
        return crystal_from_pymatgen(record, name=name, targets=targets)
    try:
        if "lattice_mat" in record:
            symbols = [str(symbol).strip() for symbol in record["elements"]]
            numbers = _atomic_numbers(name, symbols)
            coordinates = record["coords"]
            is_cartesian = bool(record.get("cartesian", False))
            return _crystal(
                name,
                numbers,
                None if is_cartesian else coordinates,
                record["lattice_mat"],
                targets,
                position=coordinates,
            )
        return _crystal(name, record["numbers"], record["fractional"], record["lattice"], targets)
    except KeyError as error:
        raise ValueError(
            f"{name}: a dictionary must have numbers, fractional and lattice, or be as JARVIS or "
            f"pymatgen have it; got the keys {sorted(record)} without {error}"
        ) from error


def _crystal(
    name: str,
    numbers: Any,
    fractional: Any,
    lattice: Any,
    targets: Targets | None,
    *,
    position: Any = None,
) -> Crystal:
    """Makes the record; without fractional coordinates, from Cartesian ones."""
    try:
        cell, number = _array(lattice).astype(np.float64), _array(numbers)
        given = position if fractional is None else fractional
        coordinates = _array(given).astype(np.float64).reshape(-1, 3)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{name}: numbers, coordinates and lattice must be arrays of numbers ({error})"
        ) from error
    if number.size and not np.issubdtype(number.dtype, np.integer):
        raise ValueError(f"{name}: numbers must be integers, got {number.tolist()[:8]}")
    # A lattice that cannot be inverted is refused by the record, which knows what to say of it.
    if fractional is None and np.isfinite(cell).all() and np.linalg.matrix_rank(cell) == 3:
        coordinates = coordinates @ np.linalg.inv(cell)
    return Crystal(
        name,
        torch.from_numpy(number.astype(np.int64)),
        torch.from_numpy(coordinates),
        torch.from_numpy(cell),
        targets=dict(targets or {}),
    )


def _array(value: Any) -> np.ndarray[Any, Any]:
    return value.detach().cpu().numpy() if isinstance(value, Tensor) else np.asarray(value)


def _only_species(name: str, place: int, site: Mapping[str, Any]) -> str:
    species = site["species"]
    if len(species) != 1 or not float(species[0].get("occu", 1)) >= FULL:
        found = ", ".join(f"{kind['element']} {kind.get('occu', 1)}" for kind in species)
        raise ValueError(
            f"{name}: every site must be occupied by one atom, got {found or 'nothing'} at site "
            f"{place}, counted from zero: order the structure first"
        )
    return str(species[0]["element"])


def _atomic_numbers(name: str, symbols: list[str]) -> list[int]:
    try:
        return [atomic_number(symbol) for symbol in symbols]
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error


def _unreadable(name: str, form: str, error: Exception) -> ValueError:
    return ValueError(f"{name}: cannot be read as {form} ({type(error).__name__}: {error})")


def _ase_reader(form: str) -> Any:
    """The module of ASE that reads files of a form."""
    try:
        from ase.io import cif, vasp
    except ImportError as error:
        raise ImportError("files of crystals need ASE: pip install graphattn[crystals]") from error
    return {"cif": cif, "vasp": vasp}[form]
