"""Molecules from SMILES, with the atom and bond features of the Open Graph Benchmark."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch_geometric.data import Data

from graphattn.datasets.workers import map_chunks

NUM_ATOM_FEATURES, NUM_BOND_FEATURES = 9, 3


class UnreadRow(NamedTuple):
    """A row that gave no graph.

    Attributes:
        row: Its place, counted from zero; headers and blank lines do not count.
        text: The SMILES as it stands there.
        reason: Why RDKit does not read it.
    """

    row: int
    text: str
    reason: str


@dataclass(frozen=True)
class SmilesGraphs:
    """The graphs of the SMILES that could be read, and a report of the others.

    Attributes:
        graphs: In the order of the rows.
        rows: The row of each graph, ``(G,)`` int64.
        unread: Rows that gave no graph.
    """

    graphs: list[Data]
    rows: Tensor
    unread: list[UnreadRow]


class _Chunk(NamedTuple):
    """Some molecules one after another, small to send: features fit in a byte."""

    atoms: np.ndarray[Any, Any]  # (N, 9)
    bonds: np.ndarray[Any, Any]  # (E, 3)
    ends: np.ndarray[Any, Any]  # (E, 2)
    num_atoms: list[int]
    num_bonds: list[int]  # both directions
    reasons: list[str]  # empty for what was read


def _packages() -> tuple[Any, Any, Any]:
    try:
        from ogb.utils import features
        from rdkit import Chem, rdBase
    except ImportError as error:
        raise ImportError(
            "molecules need RDKit and ogb: pip install graphattn[molecules]"
        ) from error
    return Chem, rdBase, features


def versions() -> dict[str, str]:
    """The versions of the packages that decide what a graph holds: of RDKit and of ogb."""
    import ogb

    _, rd_base, _ = _packages()
    return {"rdkit": rd_base.rdkitVersion, "ogb": ogb.__version__}


def checked_texts(smiles: Iterable[str]) -> list[str]:
    """The rows of a list, column, generator, … in order, all of which must be texts."""
    if isinstance(smiles, str):
        raise TypeError("smiles must be a sequence of texts, got one text: put it in a list")
    texts = list(smiles)  # once: a generator is then spent, and a column is indexed by labels
    for row, text in enumerate(texts):
        if not isinstance(text, str):
            raise TypeError(f"smiles must be texts, got {type(text).__name__} in row {row}")
    return texts


def graphs_from_smiles(smiles: Iterable[str], *, num_workers: int | None = None) -> SmilesGraphs:
    """Turns SMILES into graphs of their atoms and bonds, in worker processes.

    Hydrogens are numbers of the atoms that they are bound to. Those that RDKit keeps when it reads
    a text are atoms of the graph: isotopes, ions, and hydrogens bound to no other element. Rows
    that RDKit does not read, and those without an atom, are reported; all others are kept.

    Args:
        smiles: One molecule a row, or several parted by dots: a list, a column of a table, or
            anything else that gives texts one by one.
        num_workers: See ``graphattn.datasets.workers``.

    Returns:
        The graphs, each with

        - ``x``: ``(N, 9)`` int64: place in the list of elements, chirality, number of neighbours
          with hydrogens, formal charge, hydrogens, radical electrons, hybridisation, aromatic, in
          a ring; ``ogb.utils.features.get_atom_feature_dims`` tells how many values each has.
        - ``edge_index``: ``(2, E)`` int64, both directions of a bond side by side; ``(2, 0)``
          without bonds.
        - ``edge_attr``: ``(E, 3)`` int64: bond type, stereo, conjugated.
        - ``smiles``: the text, less blanks at either end.

        No rows give none.

    Raises:
        TypeError: If ``smiles`` is a text, or a row is none.
        ImportError: If RDKit or ogb is not installed.

    Source: Hu et al., "Open Graph Benchmark: Datasets for Machine Learning on Graphs", NeurIPS
        2020; same graphs as ``ogb.utils.smiles2graph`` (MIT).
    """
    given = checked_texts(smiles)
    _packages()  # imported once, before processes are forked
    texts = [text.strip() for text in given]
    chunks = map_chunks(_read, texts, label="Reading molecules", num_workers=num_workers)
    reasons = [reason for chunk in chunks for reason in chunk.reasons]
    rows = [row for row, reason in enumerate(reasons) if not reason]
    return SmilesGraphs(
        graphs=_graphs(chunks, [texts[row] for row in rows]),
        rows=torch.tensor(rows, dtype=torch.int64),
        unread=[UnreadRow(row, given[row], reason) for row, reason in enumerate(reasons) if reason],
    )


def _graphs(chunks: list[_Chunk], texts: list[str]) -> list[Data]:
    if not texts:
        return []
    num_atoms = [count for chunk in chunks for count in chunk.num_atoms]
    num_bonds = [count for chunk in chunks for count in chunk.num_bonds]
    x, edge_attr, ends = (
        torch.from_numpy(np.concatenate([getattr(chunk, name) for chunk in chunks])).long()
        for name in ("atoms", "bonds", "ends")
    )
    columns = zip(
        x.split(num_atoms),
        ends.t().contiguous().split(num_bonds, dim=1),
        edge_attr.split(num_bonds),
        texts,
        strict=True,
    )
    return [
        Data(x=atoms, edge_index=edge_index, edge_attr=bonds, smiles=text)
        for atoms, edge_index, bonds, text in columns
    ]


def _read(texts: Sequence[str]) -> _Chunk:
    """Reads some rows; those that give no graph have a reason and no counts."""
    chem, rd_base, features = _packages()
    atoms, bonds, ends = [], [], []
    num_atoms, num_bonds, reasons = [], [], []
    for text in texts:
        with rd_base.BlockLogs():  # what is not read is reported by us, once
            molecule = chem.MolFromSmiles(text)
            if molecule is None or molecule.GetNumAtoms() == 0:
                reasons.append(_reason(text))
                continue
        atoms += [features.atom_to_feature_vector(atom) for atom in molecule.GetAtoms()]
        for bond in molecule.GetBonds():
            begin, end = bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()
            ends += [(begin, end), (end, begin)]
            bonds += [features.bond_to_feature_vector(bond)] * 2
        num_atoms.append(molecule.GetNumAtoms())
        num_bonds.append(2 * molecule.GetNumBonds())
        reasons.append("")
    return _Chunk(
        np.array(atoms, dtype=np.uint8).reshape(-1, NUM_ATOM_FEATURES),
        np.array(bonds, dtype=np.uint8).reshape(-1, NUM_BOND_FEATURES),
        np.array(ends, dtype=np.int32).reshape(-1, 2),
        num_atoms,
        num_bonds,
        reasons,
    )


def _reason(text: str) -> str:
    """Why a text gives no graph; the logs of RDKit must be blocked."""
    chem, _, _ = _packages()
    molecule = chem.MolFromSmiles(text, sanitize=False)
    if molecule is None:
        return "the text is no SMILES"
    if molecule.GetNumAtoms() == 0:
        return "there is no atom"
    problems = [problem.Message() for problem in chem.DetectChemistryProblems(molecule)]
    return "; ".join(problems) or "RDKit cannot read it"
