"""MoleculeNet: molecules with measured properties, read from tables and split by scaffold."""

import csv
import gzip
import hashlib
import io
from pathlib import Path
from typing import Any, NamedTuple

import torch

from graphattn.datasets.derived import derived, pack, unpack
from graphattn.datasets.files import data_folder, find
from graphattn.datasets.molecules import OGB, MoleculeBenchmark
from graphattn.datasets.scaffolds import scaffold_split, scaffolds
from graphattn.datasets.smiles import UnreadRow, graphs_from_smiles, versions

DEEPCHEM = "https://deepchemdata.s3-us-west-1.amazonaws.com/datasets"
DEEPCHEM_CODE = (
    "https://raw.githubusercontent.com/deepchem/deepchem/fbe3b911a94a6eb8c84c1a9e7ac67a472c49ea80"
)
ATTENTIVE_FP = (
    "https://raw.githubusercontent.com/OpenDrugAI/AttentiveFP/"
    "dda6708342ffe255ded73c459ad64214a4615542/data"
)
CHEMINFORMATICS = (
    "https://raw.githubusercontent.com/mcsorkun/Genetic-Selection-Cheminformatics/"
    "6f85cd26ffc0aa00b8c34c6d482a2a5f4de149ae/data"
)


class _Table(NamedTuple):
    file: str  # less ".gz" if the address has it
    address: str
    sha256: str | None  # None where it is not known to us
    smiles: int  # column
    labels: slice  # columns


MOLECULENET: dict[str, _Table] = {
    "bace": _Table("bace.csv", f"{DEEPCHEM}/bace.csv", None, 0, slice(2, 3)),
    "bbbp": _Table(
        "BBBP.csv",
        f"{CHEMINFORMATICS}/BBBP.csv",
        "21c46d1637ba49d371ec233454a3833bc7123a98f76204841e1674b5767a23a8",
        -1,
        slice(-2, -1),
    ),
    "clintox": _Table(
        "clintox.csv",
        f"{ATTENTIVE_FP}/clintox.csv",
        "9999816e760dd838358b5d88e81cea2fc062be4458ffa412ceecdba4f88a67b6",
        0,
        slice(1, 3),
    ),
    "esol": _Table(
        "delaney-processed.csv",
        f"{DEEPCHEM_CODE}/datasets/delaney-processed.csv",
        "8c06a76f0c6487d29ab0f903e6a7a7139f189ab3c1178f159c8be8964602f189",
        -1,
        slice(-2, -1),
    ),
    "freesolv": _Table(
        "SAMPL.csv",
        f"{ATTENTIVE_FP}/SAMPL.csv",
        "ab5895d914ee87cb563bd7b9611e869527bba45bec6b014d34dc495a0f9dcb72",
        1,
        slice(2, 3),
    ),
    "hiv": _Table(
        "HIV.csv",
        f"{ATTENTIVE_FP}/HIV.csv",
        "9ffa7fe57dc86c342627ee1d5255e937e2ab812393c73c4d16c697022f6e1d22",
        0,
        slice(-1, None),
    ),
    "lipo": _Table(
        "Lipophilicity.csv",
        f"{ATTENTIVE_FP}/Lipophilicity.csv",
        "aed41590cb30609d51d8e08ad3ff06495a76e80e211358801f596b10da69bacd",
        2,
        slice(1, 2),
    ),
    "muv": _Table("muv.csv", f"{DEEPCHEM}/muv.csv.gz", None, -1, slice(0, 17)),
    "pcba": _Table("pcba.csv", f"{DEEPCHEM}/pcba.csv.gz", None, -1, slice(0, 128)),
    "sider": _Table(
        "sider.csv", f"{DEEPCHEM_CODE}/examples/sider/sider.csv.gz", None, 0, slice(1, 28)
    ),
    "tox21": _Table(
        "tox21.csv",
        f"{ATTENTIVE_FP}/tox21.csv",
        "7d7e7facd853a63e79ddce4e9c3fcb7a0d83a1c300b603031c0f2c64fbe77761",
        -1,
        slice(0, 12),
    ),
    "toxcast": _Table(
        "toxcast_data.csv", f"{DEEPCHEM}/toxcast_data.csv.gz", None, 0, slice(1, 618)
    ),
}
"""The data sets of `moleculenet`: the table of each, and which columns are read."""


def moleculenet(name: str, *, num_workers: int | None = None) -> MoleculeBenchmark:
    """One data set of MoleculeNet, read from its table by RDKit and split by scaffold.

    ======== ====== ========== ======= ===========================================================
    name     rows   properties measure property
    ======== ====== ========== ======= ===========================================================
    esol     1,128  1          RMSE    solubility in water, log10 of mol/L
    freesolv 642    1          RMSE    free energy of hydration, kcal/mol
    lipo     4,200  1          RMSE    octanol-water distribution at pH 7.4, log10
    bbbp     2,039  1          ROC-AUC passes from blood to brain or not
    clintox  1,484  2          ROC-AUC approved as a drug; failed for being toxic
    sider    1,427  27         ROC-AUC side effects
    tox21    7,831  12         ROC-AUC toxic in an assay or not, many not measured
    hiv      41,127 1          ROC-AUC inhibits HIV or not
    ======== ====== ========== ======= ===========================================================

    ``bace``, ``muv``, ``pcba`` and ``toxcast`` are read in the same way.

    The split is by scaffold, 80/10/10; see ``graphattn.datasets.scaffolds``. It counts the rows
    that RDKit read at the time of the official splits and now refuses for their valences, seven of
    hiv and eight of tox21; then they are left out. For esol, freesolv and bbbp, whose official
    lists of OGB are at hand, it is the same, row by row.

    The table is ``moleculenet/NAME/raw/FILE`` of the data folder, or is downloaded; see
    ``graphattn.datasets.files``. Graphs and split are kept in the cache for this table and these
    versions of RDKit and ogb.

    Args:
        name: One of the above.
        num_workers: Number of processes that read; see ``graphattn.datasets.workers``.

    Returns:
        The molecules; see ``graphattn.datasets.smiles`` for ``x``, ``edge_index``, ``edge_attr``
        and ``smiles``. ``y`` is ``(1, T)`` float32, NaN where nothing was measured. The rows that
        RDKit does not read are in the report.

    Raises:
        ValueError: If the name is not known, or a label is no number.
        FileNotFoundError: If the file is neither there nor to be had; says what to put where.
        ImportError: If RDKit or ogb is not installed.

    Source: Wu et al., "MoleculeNet: A Benchmark for Molecular Machine Learning", Chemical Science
        2018; files of the repositories deepchem/deepchem (MIT), OpenDrugAI/AttentiveFP (CC0) and
        mcsorkun/Genetic-Selection-Cheminformatics, and of DeepChem's own store.
    """
    if name not in MOLECULENET:
        raise ValueError(f"name must be one of {sorted(MOLECULENET)}, got {name!r}")
    content = _table(name).read_bytes()
    settings: dict[str, str | int] = {
        "layout": 1,  # counts up when what is kept changes
        "table": hashlib.sha256(content).hexdigest(),
        **versions(),
    }
    kept = derived(f"moleculenet/{name}", settings, lambda: _read(name, content, num_workers))
    graphs = unpack(kept["graphs"])
    train, validation, test = ([graphs[place] for place in part.tolist()] for part in kept["split"])
    return MoleculeBenchmark(
        train,
        validation,
        test,
        metric=OGB[f"mol{name}"].metric,
        evaluator=f"ogbg-mol{name}",
        unread=[UnreadRow(*row) for row in kept["unread"]],
    )


def _table(name: str) -> Path:
    """Finds the table, packed or not."""
    table = MOLECULENET[name]
    file = f"moleculenet/{name}/raw/{table.file}"
    tree = data_folder()
    is_in_tree = tree is not None and (tree / file).is_file()
    if table.address.endswith(".gz") and not is_in_tree:
        file += ".gz"
    return find(file, table.address, table.sha256)


def _read(name: str, content: bytes, num_workers: int | None) -> dict[str, Any]:
    table = MOLECULENET[name]
    if content.startswith(b"\x1f\x8b"):
        content = gzip.decompress(content)
    lines = csv.reader(io.StringIO(content.decode("utf-8"), newline=""))
    rows = [line for line in lines if line][1:]
    smiles = [line[table.smiles] for line in rows]
    y = torch.tensor(
        [[float(label) if label else float("nan") for label in line[table.labels]] for line in rows]
    )
    read = graphs_from_smiles(smiles, num_workers=num_workers)
    for graph, target in zip(read.graphs, y[read.rows].split(1), strict=True):
        graph.y = target
    place = torch.full((len(rows),), -1)
    place[read.rows] = torch.arange(len(read.rows))
    parts = (place[part] for part in scaffold_split(scaffolds(smiles, num_workers=num_workers)))
    return {
        "graphs": pack(read.graphs),
        "split": [part[part >= 0] for part in parts],
        "unread": [list(row) for row in read.unread],
    }
