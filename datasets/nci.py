"""The NCI molecules that ship inside the RDKit wheel, as graphs with a property RDKit computes."""

import hashlib
import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch_geometric.data import Data

ATOM_CATEGORIES: dict[str, tuple[Any, ...]] = {
    "element": (
        *("C", "N", "O", "S", "F", "Cl", "Br", "I", "P", "B"),
        *("Si", "Se", "As", "Sb", "Sn", "Hg", "Cu", "Co", "Zn", "Ni"),
    ),
    "degree": (0, 1, 2, 3, 4, 5, 6),
    "charge": (-1, 0, 1, 2, 3),
    "hybridisation": ("S", "SP", "SP2", "SP3", "SP3D", "SP3D2"),
    "hydrogens": (0, 1, 2, 3, 4),
    "aromatic": (False, True),
    "ring": (False, True),
}
"""What is told of an atom, and the values that get a column of their own."""

BOND_CATEGORIES: dict[str, tuple[Any, ...]] = {
    "type": ("SINGLE", "DOUBLE", "TRIPLE", "AROMATIC"),
    "conjugated": (False, True),
    "ring": (False, True),
    "stereo": ("STEREONONE", "STEREOZ", "STEREOE"),
}
"""What is told of a bond, and the values that get a column of their own."""


def _columns(categories: dict[str, tuple[Any, ...]]) -> tuple[tuple[str, Any], ...]:
    """Names every column ``(category, value)``; the value None stands for any value not listed."""
    return tuple(
        (name, value)
        for name, values in categories.items()
        for value in (values if values == (False, True) else (*values, None))
    )


ATOM_COLUMNS = _columns(ATOM_CATEGORIES)
"""The columns of ``x``: ``(category, value)``, with None for every value without a column."""

BOND_COLUMNS = _columns(BOND_CATEGORIES)
"""The columns of ``edge_attr``: ``(category, value)``, None for every value without a column."""

_ATOM_COLUMN = {column: index for index, column in enumerate(ATOM_COLUMNS)}
_BOND_COLUMN = {column: index for index, column in enumerate(BOND_COLUMNS)}


class ParseFailure(NamedTuple):
    """A row that RDKit cannot read.

    Attributes:
        row: Line of the file, counted from one.
        text: The SMILES as it stands there.
    """

    row: int
    text: str


@dataclass(frozen=True)
class MoleculeSet:
    """Molecules in three fixed parts, and the rows that gave none.

    Attributes:
        train: Molecules to fit.
        validation: Molecules to choose by.
        test: Molecules to report on.
        failures: Rows that do not parse; all others are kept.
        num_duplicates: Rows left out since an earlier row is the same molecule.
    """

    train: list[Data]
    validation: list[Data]
    test: list[Data]
    failures: list[ParseFailure]
    num_duplicates: int


def _rdkit() -> tuple[Any, Any, Any, Any]:
    try:
        from rdkit import Chem, RDConfig, rdBase
        from rdkit.Chem import Crippen
    except ImportError as error:
        raise ImportError("molecules need RDKit: pip install graphattn[molecules]") from error
    return Chem, Crippen, RDConfig, rdBase


def _parse(smiles: str) -> Any | None:
    """Reads a SMILES, atoms in canonical order; None if RDKit cannot or if it holds no atom."""
    chem, _, _, rd_base = _rdkit()
    with rd_base.BlockLogs():  # what does not parse is reported by us, once
        molecule = chem.MolFromSmiles(smiles)
        if molecule is None or molecule.GetNumAtoms() == 0:
            return None
        return chem.MolFromSmiles(chem.MolToSmiles(molecule))


def _one_hot(rows: list[tuple[Any, ...]], categories: Iterable[str], column: Any) -> Tensor:
    """Turns values, one tuple a row in the order of the categories, into columns of 0 and 1."""
    names = tuple(categories)
    hot = [
        [
            column.get((name, value), column.get((name, None)))
            for name, value in zip(names, row, strict=True)
        ]
        for row in rows
    ]
    features = torch.zeros(len(rows), len(column))
    if hot:
        features.scatter_(1, torch.tensor(hot), 1.0)
    return features


def _graph(molecule: Any) -> Data:
    chem, crippen, _, _ = _rdkit()
    atoms = [
        (
            atom.GetSymbol(),
            atom.GetDegree(),
            atom.GetFormalCharge(),
            atom.GetHybridization().name,
            atom.GetTotalNumHs(),
            atom.GetIsAromatic(),
            atom.IsInRing(),
        )
        for atom in molecule.GetAtoms()
    ]
    ends, bonds = [], []
    for bond in molecule.GetBonds():
        begin, end = bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()
        ends += [(begin, end), (end, begin)]
        kind, stereo = bond.GetBondType().name, bond.GetStereo().name
        bonds += [(kind, bond.GetIsConjugated(), bond.IsInRing(), stereo)] * 2
    return Data(
        x=_one_hot(atoms, ATOM_CATEGORIES, _ATOM_COLUMN),
        edge_index=torch.tensor(ends, dtype=torch.int64).reshape(-1, 2).t().contiguous(),
        edge_attr=_one_hot(bonds, BOND_CATEGORIES, _BOND_COLUMN),
        y=torch.tensor([crippen.MolLogP(molecule)], dtype=torch.float32),
        smiles=chem.MolToSmiles(molecule),
    )


def molecule_from_smiles(smiles: str) -> Data:
    """Turns a SMILES into a graph of its heavy atoms and bonds, with its Crippen logP.

    Nodes stand in the order of the atoms in the canonical SMILES, however ``smiles`` spells the
    molecule; the two directions of a bond stand side by side in ``edge_index``.

    Args:
        smiles: A molecule, or several parted by dots.

    Returns:
        A graph with

        - ``x``: ``(N, len(ATOM_COLUMNS))`` float32, one-hot per category: element, number of heavy
          neighbours, formal charge (elementary charges), hybridisation, number of hydrogens,
          aromatic, in a ring.
        - ``edge_index``: ``(2, E)`` int64, both directions of every bond; ``(2, 0)`` without bonds.
        - ``edge_attr``: ``(E, len(BOND_COLUMNS))`` float32, one-hot per category: type,
          conjugated, in a ring, stereo.
        - ``y``: ``(1,)`` float32, logarithm (base 10, no unit) of the partition coefficient between
          octanol and water, by the atom contributions of Wildman and Crippen.
        - ``smiles``: the canonical SMILES.

    Raises:
        TypeError: If ``smiles`` is not a string.
        ValueError: If RDKit cannot read it, or if it holds no atom.
        ImportError: If RDKit is not installed.

    Source: Wildman and Crippen, "Prediction of Physicochemical Parameters by Atomic
        Contributions", J. Chem. Inf. Comput. Sci. 1999, as RDKit computes it, hydrogens included.
    """
    if not isinstance(smiles, str):
        raise TypeError(f"smiles must be a string, got {type(smiles).__name__}")
    molecule = _parse(smiles)
    if molecule is None:
        raise ValueError(f"smiles must be a molecule RDKit can read, got {smiles!r}")
    return _graph(molecule)


def molecules_from_rows(rows: Iterable[str]) -> MoleculeSet:
    """Reads one SMILES a row, merges equal molecules, and splits them by hash.

    A molecule's part depends on nothing but the SHA-256 of its canonical SMILES: about 80 % train,
    10 % validation, 10 % test. No molecule is in two parts, and more rows move none of the earlier
    ones. RDKit may change its canonical SMILES between versions, and with them the split.

    Args:
        rows: Lines that begin with a SMILES; what follows the first blank is left aside. Blank
            rows are skipped, but counted.

    Returns:
        The molecules (see `molecule_from_smiles`) in the order of the rows, and the rows that do
        not parse. No rows give empty lists.

    Raises:
        TypeError: If ``rows`` is one text, whose letters would be the rows.
        ImportError: If RDKit is not installed.
    """
    if isinstance(rows, str):
        raise TypeError("rows must be lines, got one text: split it with splitlines()")
    parts: tuple[list[Data], list[Data], list[Data]] = ([], [], [])
    failures: list[ParseFailure] = []
    seen: set[str] = set()
    num_duplicates = 0
    for row, line in enumerate(rows, start=1):
        text = next(iter(line.split()), None)
        if text is None:
            continue
        try:
            molecule = molecule_from_smiles(text)
        except ValueError:
            failures.append(ParseFailure(row, text))
            continue
        if molecule.smiles in seen:
            num_duplicates += 1
            continue
        seen.add(molecule.smiles)
        parts[_part(molecule.smiles)].append(molecule)
    return MoleculeSet(*parts, failures=failures, num_duplicates=num_duplicates)


def _part(canonical_smiles: str) -> int:
    """Tells where a molecule belongs: 0 train, 1 validation, 2 test."""
    digest = hashlib.sha256(canonical_smiles.encode()).digest()
    tenth = int.from_bytes(digest[:8], "big") % 10
    return max(0, tenth - 7)


def nci_molecules(limit: int | None = None) -> MoleculeSet:
    """Loads the NCI molecules inside the RDKit wheel: small organic compounds, nothing downloaded.

    4,999 rows, of which 8 do not parse and 99 repeat a molecule; 4,892 molecules stay, of 2 to 122
    heavy atoms (mean 16), 3 % of them with a metal. Their logP has mean 2.4 and
    standard deviation 2.2.

    Args:
        limit: Read the first ``limit`` rows only; None reads all.

    Returns:
        Molecules split by the hash of their canonical SMILES (see `molecules_from_rows`; shapes
        and units in `molecule_from_smiles`), and the rows that do not parse.

    Raises:
        ValueError: If ``limit`` is negative.
        ImportError: If RDKit is not installed.
        FileNotFoundError: If this RDKit ships without its data folder.

    Source: ``Data/NCI/first_5K.smi`` of RDKit (BSD 3-Clause), the first compounds of the open
        database of the National Cancer Institute (public domain). SHA-256 of the file:
        ``91e71c015f14939837f2943dcc904f7c87e5a3a0124d82b05c28ad2f23004def``.
    """
    if limit is not None and limit < 0:
        raise ValueError(f"limit must be None or at least 0, got {limit}")
    _, _, rd_config, _ = _rdkit()
    path = Path(rd_config.RDDataDir) / "NCI" / "first_5K.smi"
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} is missing: this RDKit ships without its data; "
            "pip install --force-reinstall rdkit brings it back"
        )
    with path.open(encoding="ascii") as file:
        return molecules_from_rows(itertools.islice(file, limit))
