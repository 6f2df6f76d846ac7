"""Crystals of a data set with a report of those left out, and how they are kept in the cache."""

import csv
import gzip
import hashlib
import io
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from graphattn.datasets.crystals import Crystal, Quantity
from graphattn.datasets.derived import derived
from graphattn.datasets.files import data_folder, find


class UnreadCrystal(NamedTuple):
    """A row that gave no crystal.

    Attributes:
        row: Its place, counted from zero; headers do not count.
        name: Of the record.
        reason: Why it was refused.
    """

    row: int
    name: str
    reason: str


@dataclass(frozen=True, eq=False)
class CrystalSet:
    """The crystals of a table that could be read, and a report of the others.

    Attributes:
        crystals: In the order of the rows.
        rows: The row of each crystal, ``(S,)`` int64, counted from zero.
        unread: Rows that gave no crystal.
    """

    crystals: list[Crystal]
    rows: Tensor
    unread: list[UnreadCrystal]

    def __len__(self) -> int:
        return len(self.crystals)

    def places(self, rows: Sequence[int] | Tensor) -> Tensor:
        """Where the crystals of some rows stand in ``crystals``; rows without one are left out.

        Args:
            rows: Of the table, ``(R,)``.

        Returns:
            Places, at most ``R``, int64, in the order of ``rows``.
        """
        place = {row: index for index, row in enumerate(self.rows.tolist())}
        wanted = rows.tolist() if isinstance(rows, Tensor) else rows
        return torch.tensor([place[row] for row in wanted if row in place], dtype=torch.int64)

    def subset(self, places: Tensor) -> "CrystalSet":
        """The crystals at some places of ``crystals``; the report stays that of the table."""
        crystals = [self.crystals[place] for place in places.tolist()]
        return CrystalSet(crystals, self.rows[places], self.unread)


class CrystalSplit(NamedTuple):
    """A data set in its published parts.

    Attributes:
        train: Crystals to fit.
        validation: Crystals to choose by.
        test: Crystals to report on.
    """

    train: CrystalSet
    validation: CrystalSet
    test: CrystalSet


def hashed_fold(name: str) -> int:
    """One of ten folds, fixed by the name of a crystal: for data without a published split.

    Args:
        name: Such as ``"mp-10"``.

    Returns:
        0 to 9: the SHA-256 of the name modulo ten. We validate on fold 8 and test on fold 9.
    """
    return int(hashlib.sha256(name.encode()).hexdigest(), 16) % 10


def collect(records: Iterable[tuple[str, Callable[[], Crystal]]]) -> CrystalSet:
    """Reads one crystal a row; what is refused goes to the report.

    Args:
        records: The name of each row, and what reads its crystal.

    Returns:
        The crystals; no rows give an empty set.
    """
    crystals, rows, unread = [], [], []
    for row, (name, read) in enumerate(records):
        try:
            crystals.append(read())
            rows.append(row)
        except ValueError as error:
            unread.append(UnreadCrystal(row, name, str(error)))
    return CrystalSet(crystals, torch.tensor(rows, dtype=torch.int64), unread)


def kept(name: str, sources: Sequence[Path], make: Callable[[], CrystalSet]) -> CrystalSet:
    """Reads a set from the cache, or makes and keeps it.

    Args:
        name: What it is, such as ``"flla"``.
        sources: The files it is made from: another content makes another set.
        make: Reads them.

    Returns:
        The set. The tensors of its crystals are views of those of all crystals: ``clone`` one
        before you save it alone.
    """
    settings: dict[str, str | int] = {
        "layout": 1,  # counts up when what is kept changes
        "ase": _version("ase"),
    }
    for source in sources:
        with source.open("rb") as file:
            settings[source.name] = hashlib.file_digest(file, "sha256").hexdigest()
    return _unpack(derived(f"crystals/{name}", settings, lambda: _pack(make())))


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "none"


def _pack(found: CrystalSet) -> dict[str, Any]:
    crystals = found.crystals
    units = {name: unit for name, (_, unit) in crystals[0].targets.items()} if crystals else {}
    numbers = [crystal.numbers for crystal in crystals]
    wide = torch.float64
    empty = torch.empty(0, 3, dtype=wide)
    return {
        "names": [crystal.name for crystal in crystals],
        "sizes": torch.tensor([len(crystal) for crystal in crystals], dtype=torch.int64),
        "numbers": torch.cat([torch.empty(0, dtype=torch.int64), *numbers]).to(torch.uint8),
        "fractional": torch.cat([empty, *(crystal.fractional for crystal in crystals)]),
        "lattice": torch.cat([empty, *(crystal.lattice for crystal in crystals)]),
        "targets": {
            name: torch.tensor([crystal.targets[name].value for crystal in crystals], dtype=wide)
            for name in units
        },
        "units": units,
        "rows": found.rows,
        "unread": [list(row) for row in found.unread],
    }


def _unpack(packed: Mapping[str, Any]) -> CrystalSet:
    sizes, units = packed["sizes"].tolist(), packed["units"]
    values = [packed["targets"][name].tolist() for name in units]
    targets = [dict(zip(units, row, strict=True)) for row in zip(*values, strict=True)]
    columns = (
        packed["names"],
        packed["numbers"].long().split(sizes),
        packed["fractional"].split(sizes),
        packed["lattice"].view(-1, 3, 3).unbind(),
        targets or [{} for _ in sizes],
    )
    crystals = [
        Crystal(
            name,
            numbers,
            fractional,
            lattice,
            {target: Quantity(value, units[target]) for target, value in known.items()},
        )
        for name, numbers, fractional, lattice, known in zip(*columns, strict=True)
    ]
    unread = [UnreadCrystal(*row) for row in packed["unread"]]
    return CrystalSet(crystals, packed["rows"], unread)


def find_table(name: str, url: str, sha256: str | None) -> Path:
    """Finds a table, packed by gzip or not in the data folder, or downloads it; as ``find``."""
    tree = data_folder()
    if tree is not None and (tree / f"{name}.gz").is_file():
        return tree / f"{name}.gz"
    return find(name, url, sha256)


def read_table(path: Path) -> list[dict[str, str]]:
    """The rows of a table of comma-separated values, packed by gzip or not.

    Lines that begin with ``#`` before the header are left out, and so is a first column that the
    header does not name, as pandas writes it.
    """
    content = path.read_bytes()
    if content.startswith(b"\x1f\x8b"):
        content = gzip.decompress(content)
    text = io.StringIO(content.decode("utf-8"), newline="")
    csv.field_size_limit(sys.maxsize)  # structures of many atoms are longer than its 128 KiB
    lines = csv.reader(text)
    header = next(line for line in lines if line and not line[0].startswith("#"))
    return [dict(zip(header, line[-len(header) :], strict=True)) for line in lines if line]
