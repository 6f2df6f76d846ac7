"""ZINC-12k, PATTERN, CLUSTER and Peptides: graphs in official splits, read from the archives."""

import io
import pickle
from typing import Any

import torch
from torch import Tensor
from torch_geometric.data import Data

from graphattn.datasets.archives import open_archive
from graphattn.datasets.derived import derived, pack, unpack
from graphattn.datasets.files import find

Parts = tuple[list[Data], list[Data], list[Data]]

ZINC = "https://www.dropbox.com/s/feo9qle74kg48gy/molecules.zip?dl=1"
ZINC_ROWS = (
    "https://raw.githubusercontent.com/graphdeeplearning/benchmarking-gnns/master/data/molecules"
)
STOCHASTIC_BLOCKS = "https://data.pyg.org/datasets/benchmarking-gnns"
PEPTIDES = {
    "functional": "https://www.dropbox.com/s/ycsq37q8sxs1ou8/peptidesfunc.zip?dl=1",
    "structural": "https://www.dropbox.com/s/zgv4z8fcpmknhs8/peptidesstruct.zip?dl=1",
}
_FOLDERS = {"functional": "peptidesfunc", "structural": "peptidesstruct"}
_PARTS = ("train", "val", "test")


def zinc12k() -> Parts:
    """12,000 drug-like molecules with their penalised logP: 10,000, 1,000 and 1,000.

    The graphs are those of ``torch_geometric.datasets.ZINC(subset=True)``. The archive holds
    pickles; they are read by a reader that makes tensors and nothing else, so that no code in them
    runs. As they hold 250,000 molecules that takes minutes once; the result is kept in the cache.

    The files are ``zinc/molecules.zip`` and ``zinc/train.index``, ``val.index`` and ``test.index``
    of the data folder, or are downloaded; see ``graphattn.datasets.files``.

    Returns:
        Training, validation and test part: ``x`` ``(N, 1)`` int64, one of 28 kinds of atoms;
        ``edge_index`` ``(2, E)`` int64, both directions; ``edge_attr`` ``(E,)`` int64, kind of
        bond, 1 to 3; ``y`` ``(1,)`` float32, octanol-water logP less a score of how hard it is to
        make and the number of long cycles, no unit.

    Raises:
        FileNotFoundError: If the files are neither there nor to be had; says what to put where.
        ValueError: If the archive is none.
        pickle.UnpicklingError: If a file holds anything but tensors, numbers, texts, lists and
            dictionaries.

    Source: Irwin et al., "ZINC: A Free Tool to Discover Chemistry for Biology", J. Chem. Inf.
        Model. 2012; subset and split of Dwivedi et al., "Benchmarking Graph Neural Networks",
        JMLR 2023.
    """
    rows = {}
    for part in _PARTS:
        text = find(f"zinc/{part}.index", f"{ZINC_ROWS}/{part}.index", None).read_text()
        rows[part] = [int(row) for row in text.strip().strip(",").split(",")]
    with open_archive("zinc/molecules.zip", ZINC) as archive:
        members = {part: archive.getinfo(f"molecules/{part}.pickle") for part in _PARTS}

        def read() -> dict[str, Any]:
            graphs = {}
            for part, member in members.items():
                molecules = _TensorUnpickler(archive.open(member)).load()
                graphs[part] = pack([_molecule(molecules[row]) for row in rows[part]])
            return graphs

        settings: dict[str, str | int] = {"layout": 1}
        for part, member in members.items():
            settings[f"checksum of {part}"] = member.CRC
            settings[f"rows of {part}"] = ",".join(map(str, rows[part]))
        kept = derived("zinc12k", settings, read)
    train, validation, test = (unpack(kept[part]) for part in _PARTS)
    return train, validation, test


def _molecule(record: dict[str, Tensor]) -> Data:
    bonds = record["bond_type"]  # (N, N), 0 for none
    edge_index = bonds.nonzero().t().contiguous()
    return Data(
        x=record["atom_type"].long().view(-1, 1),
        edge_index=edge_index,
        edge_attr=bonds[edge_index[0], edge_index[1]].long(),
        y=record["logP_SA_cycle_normalized"].float().view(1),
    )


class _TensorUnpickler(pickle.Unpickler):
    """Reads pickles of tensors, and refuses whatever else would call a function."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("torch.storage", "_load_from_bytes"):
            return _storage  # in place of one that would run what the bytes say
        if (module, name) in {
            ("torch._utils", "_rebuild_tensor_v2"),
            ("collections", "OrderedDict"),
        }:
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"the file must hold tensors, got {module}.{name}")


def _storage(content: bytes) -> Any:
    return torch.load(io.BytesIO(content), weights_only=True)


def pattern() -> Parts:
    """Graphs in which a pattern is to be found among communities: 10,000, 2,000 and 2,000.

    The archive is ``benchmarking_gnns/PATTERN_v2.zip`` of the data folder, or is downloaded; see
    ``graphattn.datasets.files``. Without a network,
    ``graphattn.datasets.stochastic_blocks.generate_pattern`` draws others of the same recipe.

    Returns:
        Training, validation and test part: ``x`` ``(N, 3)`` float32, ``edge_index`` ``(2, E)``
        int64, ``y`` ``(N,)`` int64, 1 in the pattern.

    Raises:
        FileNotFoundError: If the archive is neither there nor to be had; says what to put where.
        ValueError: If it is no archive.

    Source: Dwivedi et al., "Benchmarking Graph Neural Networks", JMLR 2023, in the layout of
        ``torch_geometric.datasets.GNNBenchmarkDataset``.
    """
    return _stochastic_blocks("PATTERN_v2")


def cluster() -> Parts:
    """Graphs whose communities are to be found from a node of each: 10,000, 1,000 and 1,000.

    The archive is ``benchmarking_gnns/CLUSTER_v2.zip`` of the data folder, or is downloaded; see
    ``graphattn.datasets.files``. Without a network,
    ``graphattn.datasets.stochastic_blocks.generate_cluster`` draws others of the same recipe.

    Returns:
        Training, validation and test part: ``x`` ``(N, 7)`` float32, ``edge_index`` ``(2, E)``
        int64, ``y`` ``(N,)`` int64, the community, 0 to 5.

    Raises:
        FileNotFoundError: If the archive is neither there nor to be had; says what to put where.
        ValueError: If it is no archive.

    Source: Dwivedi et al., "Benchmarking Graph Neural Networks", JMLR 2023, in the layout of
        ``torch_geometric.datasets.GNNBenchmarkDataset``.
    """
    return _stochastic_blocks("CLUSTER_v2")


def _stochastic_blocks(name: str) -> Parts:
    with open_archive(
        f"benchmarking_gnns/{name}.zip", f"{STOCHASTIC_BLOCKS}/{name}.zip"
    ) as archive:
        content = io.BytesIO(archive.read(f"{name}.pt"))
    train, validation, test = (
        [Data(**graph) for graph in part] for part in torch.load(content, weights_only=True)
    )
    return train, validation, test


def peptides(name: str) -> Parts:
    """Peptides as large molecular graphs, 151 atoms on average: 10,873, 2,331 and 2,331.

    The archive is ``peptides/NAME.zip`` of the data folder, or is downloaded; see
    ``graphattn.datasets.files``.

    Args:
        name: ``"functional"``, ten classes that a peptide may belong to, judged by the mean average
            precision; or ``"structural"``, eleven properties of its shape, standardised, judged by
            the mean absolute error.

    Returns:
        Training, validation and test part: ``x`` ``(N, 9)`` int64, ``edge_index`` ``(2, E)`` int64
        and ``edge_attr`` ``(E, 3)`` int64 with the features of ``graphattn.datasets.smiles``;
        ``y`` ``(1, 10)`` or ``(1, 11)`` float32.

    Raises:
        ValueError: If the name is not one of the two, or the archive is none.
        FileNotFoundError: If the archive is neither there nor to be had; says what to put where.

    Source: Dwivedi et al., "Long Range Graph Benchmark", NeurIPS 2022, in the layout of
        ``torch_geometric.datasets.LRGBDataset``.
    """
    if name not in PEPTIDES:
        raise ValueError(f"name must be one of {sorted(PEPTIDES)}, got {name!r}")
    parts = []
    with open_archive(f"peptides/{name}.zip", PEPTIDES[name]) as archive:
        for part in _PARTS:
            content = io.BytesIO(archive.read(f"{_FOLDERS[name]}/{part}.pt"))
            parts.append(
                [
                    Data(x=x, edge_index=edge_index, edge_attr=edge_attr, y=y)
                    for x, edge_attr, edge_index, y in torch.load(content, weights_only=True)
                ]
            )
    train, validation, test = parts
    return train, validation, test
