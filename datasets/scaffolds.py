"""Scaffold splits: molecules of one ring system stay together, and the rare ones are the test."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from graphattn.datasets.smiles import checked_texts
from graphattn.datasets.workers import map_chunks


def _packages() -> tuple[Any, Any]:
    try:
        from rdkit import Chem, rdBase
    except ImportError as error:
        raise ImportError("scaffolds need RDKit: pip install graphattn[molecules]") from error
    return Chem, rdBase


def scaffolds(smiles: Iterable[str], *, num_workers: int | None = None) -> list[str | None]:
    """The ring systems of molecules and what links them, as SMILES with chirality.

    Args:
        smiles: One molecule a row.
        num_workers: See ``graphattn.datasets.workers``.

    Returns:
        One for each row; an empty text for a molecule without rings, None for what cannot be read
        even when valences are not checked.

    Raises:
        TypeError: If ``smiles`` is a text, or a row is none.
        ImportError: If RDKit is not installed.

    Source: Bemis and Murcko, "The Properties of Known Drugs. 1. Molecular Frameworks", J. Med.
        Chem. 1996, as RDKit computes it.
    """
    texts = checked_texts(smiles)
    _packages()  # imported once, before processes are forked
    chunks = map_chunks(_scaffolds, texts, label="Finding scaffolds", num_workers=num_workers)
    return [scaffold for chunk in chunks for scaffold in chunk]


def _scaffolds(texts: Sequence[str]) -> list[str | None]:
    _, rd_base = _packages()
    with rd_base.BlockLogs():
        return [_scaffold(text) for text in texts]


def _scaffold(text: str) -> str | None:
    chem, _ = _packages()
    molecule = chem.MolFromSmiles(text)
    if molecule is None:  # older versions of RDKit, which made the official splits, read more
        molecule = chem.MolFromSmiles(text, sanitize=False)
        if molecule is None:
            return None
        molecule.UpdatePropertyCache(strict=False)
        unchecked = chem.SANITIZE_ALL ^ chem.SANITIZE_PROPERTIES
        if chem.SanitizeMol(molecule, unchecked, catchErrors=True) != chem.SANITIZE_NONE:
            return None
    if molecule.GetNumAtoms() == 0:
        return None
    core = chem.MurckoDecompose(molecule)
    core.ClearComputedProps()
    core.UpdatePropertyCache(strict=False)
    chem.GetSymmSSSR(core)
    text_of_core: str = chem.MolToSmiles(core)
    return text_of_core


def scaffold_split(
    scaffolds: Sequence[str | None], fractions: tuple[float, float] = (0.8, 0.1)
) -> tuple[Tensor, Tensor, Tensor]:
    """Splits molecules by their scaffolds: the most frequent go to training, the rarest to test.

    Molecules of one scaffold are a group. Groups are taken from the largest to the smallest, of
    equal ones the one that begins later first; a group joins the training part if that stays within
    its share, else the validation part if both parts together stay within theirs, else the test
    part. This is the rule of DeepChem, and that of the official splits of OGB.

    Args:
        scaffolds: Of each molecule, such as `scaffolds` finds them; None leaves a molecule out.
        fractions: Shares of the training and the validation part; the test part is what is left.

    Returns:
        Rows of the training, the validation and the test part, each rising, int64.

    Raises:
        ValueError: If a share is negative, or both together are more than one.

    Source: Wu et al., "MoleculeNet: A Benchmark for Molecular Machine Learning", Chemical Science
        2018.
    """
    if min(fractions) < 0 or sum(fractions) > 1:
        raise ValueError(f"fractions must be shares of at most one together, got {fractions}")
    groups: dict[str, list[int]] = defaultdict(list)
    for row, scaffold in enumerate(scaffolds):
        if scaffold is not None:
            groups[scaffold].append(row)
    num_molecules = sum(len(group) for group in groups.values())
    most_train = fractions[0] * num_molecules
    most_train_and_validation = (fractions[0] + fractions[1]) * num_molecules
    train: list[int] = []
    validation: list[int] = []
    test: list[int] = []
    for group in sorted(groups.values(), key=lambda rows: (len(rows), rows[0]), reverse=True):
        if len(train) + len(group) <= most_train:
            train += group
        elif len(train) + len(validation) + len(group) <= most_train_and_validation:
            validation += group
        else:
            test += group
    first, second, third = (
        torch.tensor(sorted(rows), dtype=torch.int64) for rows in (train, validation, test)
    )
    return first, second, third
