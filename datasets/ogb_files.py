"""The molecules of the Open Graph Benchmark as their files have them: graphs, labels, split."""

from collections.abc import Callable
from typing import IO, Any

import torch
from torch import Tensor
from torch_geometric.data import Data

from graphattn.datasets.archives import open_archive
from graphattn.datasets.files import data_folder

ADDRESS = "https://snap.stanford.edu/ogb/data/graphproppred/csv_mol_download"
_PARTS = ("train", "valid", "test")


def read_ogb(name: str, archive: str) -> tuple[list[Data], dict[str, Tensor]]:
    """Reads one data set of molecules of the Open Graph Benchmark.

    The loader of ogb itself writes beside the raw files, and reads back what it wrote with pickle,
    which PyTorch refuses since 2.6. This one reads the raw files, each a table, and writes nothing.

    They are those in ``ogb/ogbg_NAME`` of the data folder, else those in the official archive,
    ``ogb/ARCHIVE.zip`` of the data folder or downloaded; see ``graphattn.datasets.files``. The
    archives' checksums are not known to us; what is read is checked to fit together.

    Args:
        name: Such as ``"molesol"``.
        archive: Name of the archive without ending, such as ``"esol"``.

    Returns:
        The graphs, in the order of the files: ``x`` ``(N, 9)`` int64, ``edge_index`` ``(2, E)``
        int64 with both directions of a bond side by side, ``edge_attr`` ``(E, 3)`` int64, ``y``
        ``(1, T)`` float32, NaN where nothing was measured, and ``smiles``; and the rows of
        ``"train"``, ``"valid"`` and ``"test"``.

    Raises:
        ValueError: If the files do not fit together; says how.
        FileNotFoundError: If the files are neither there nor to be had; says what to put where.
        ImportError: If pandas, on which ogb depends, is not installed.
    """
    tree = data_folder()
    folder = None if tree is None else tree / "ogb" / f"ogbg_{name}"
    if folder is not None and folder.is_dir():
        return _read(name, lambda member: (folder / member).open("rb"))
    with open_archive(f"ogb/{archive}.zip", f"{ADDRESS}/{archive}.zip") as file:
        return _read(name, lambda member: file.open(f"{archive}/{member}"))


def _read(name: str, opened: Callable[[str], IO[bytes]]) -> tuple[list[Data], dict[str, Tensor]]:
    try:
        import pandas  # type: ignore[import-untyped]
    except ImportError as error:
        raise ImportError("OGB's files need pandas: pip install graphattn[molecules]") from error

    def table(member: str, dtype: str | None = None) -> Tensor:
        with opened(f"{member}.csv.gz") as file:
            rows: Any = pandas.read_csv(file, header=None, compression="gzip", dtype=dtype)
        return torch.from_numpy(rows.to_numpy(copy=True))

    with opened("mapping/mol.csv.gz") as file:
        smiles = pandas.read_csv(
            file, compression="gzip", usecols=["smiles"], keep_default_na=False
        )["smiles"].tolist()
    num_atoms = table("raw/num-node-list", "int64").flatten()
    num_bonds = table("raw/num-edge-list", "int64").flatten()
    x = table("raw/node-feat", "int64")
    ends = table("raw/edge", "int64")
    bonds = table("raw/edge-feat", "int64")
    y = table("raw/graph-label").float()
    split = {part: table(f"split/scaffold/{part}", "int64").flatten() for part in _PARTS}

    rows = torch.cat(list(split.values())).sort().values
    if not torch.equal(rows, torch.arange(len(y))):
        raise ValueError(f"{name}: the split must have each of {len(y)} graphs in one part")
    lengths = (len(smiles), len(num_atoms), len(num_bonds), len(x), len(ends), len(bonds))
    wanted = (*[len(y)] * 3, int(num_atoms.sum()), *[int(num_bonds.sum())] * 2)
    if lengths != wanted:
        raise ValueError(f"{name}: tables must have {wanted} rows, got {lengths}")

    # A bond is listed once; its other direction stands beside it, as in ogb.
    edge_index = torch.stack([ends, ends.flip(1)], dim=1).flatten(0, 1).t().contiguous()
    edge_attr = bonds.repeat_interleave(2, dim=0)
    sizes = (2 * num_bonds).tolist()
    columns = zip(
        x.split(num_atoms.tolist()),
        edge_index.split(sizes, dim=1),
        edge_attr.split(sizes),
        y.split(1),
        smiles,
        strict=True,
    )
    graphs = [
        Data(x=atoms, edge_index=edges, edge_attr=kinds, y=target, smiles=text.strip())
        for atoms, edges, kinds, target, text in columns
    ]
    return graphs, split
