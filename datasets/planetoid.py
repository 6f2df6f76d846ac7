"""Cora, CiteSeer and PubMed: papers that cite one another, in the Planetoid authors' split."""

import shutil
import tempfile
import warnings
from pathlib import Path

from torch_geometric.data import Data
from torch_geometric.io import read_planetoid_data

from graphattn.datasets.files import find

ADDRESS = (
    "https://raw.githubusercontent.com/kimiyoung/planetoid/"
    "af6abf468a772cc055bec88c52e4d6f51b7c37e3/data"
)
SHA256: dict[str, dict[str, str | None]] = {
    "Cora": {
        "allx": "9419ba2f26f5c35243db64aba110e0f35a04851609e0dc5433450676ca6b8543",
        "ally": "2b998f5cc7fedc86e7f97ca2498f47a1ffc1462c29e2d578b23bf3f62b6e7d71",
        "graph": "58f13302f39dde8852dad6fe6d15b89b077b6d7f837626bce671ef80344b383d",
        "test.index": "297ce89af2b51a6a194181c7dbe1796c6a1cf9cd9349a88383b1b1e227867875",
        "tx": "b9afbaa4a400df991f6f02ef677e1e44da55ffc04801fd02f9e673987829226a",
        "ty": "41f5ac76596a1699cc33f53084a2419e92961c42bb75f36fc38e616d348532ad",
        "x": "23cfa55d91c6f624233f5eb7b6e3f141f1bd2b2ae39608a63cf5d084bb27baab",
        "y": "94465c14eb53e04ca262198dcbb2521ee8af60fb3f3d546cd6ca24a511b0e7d1",
    },
    "CiteSeer": {
        "allx": "2ac30345d95c9ec933a817ee0bdd6a5f077f8c184a20e696910192d534414668",
        "ally": "f704b2d986dde6c2669934de1f3ae5696a6cf9455c0f6b2646a2d135ea0a1c95",
        "graph": "d79a4ef9d3e7169aee8946145f6b7306e35bc79bffad26346cfb94e10e9912a7",
        "test.index": "2af990671580b6b2df5d158d1038f8292e30c9cd821b5453f399659b25b723d4",
        "tx": "539a8906a2da97628d212f2fdd668c109a8b3f0d36574b59e5d3fd5b5303da21",
        "ty": "55e5bd1ba1e733a04598753ad1a8d57957f4b8f89e74519f41f4f4938767e4ce",
        "x": "d20de19150741e555de0ed037195630fc194114ebc7fd72ced62810148aa22f6",
        "y": "8ba87e515d8e3ee3cf52f6d2c5b86aa73f11ecad825a808455209ec26cd54924",
    },
    "PubMed": {
        "allx": None,  # the original's is not known to us; the address pins the commit
        "ally": "0c37bbe3b5014ec365e9d393cf4791925e5ed94fb194305d74f064a8d7b50f0e",
        "graph": "5b89f0036ca22909471f1e6558eb42fa06e0c730a577bde5b058b40638f81dc9",
        "test.index": "b101d421688bbaecbd82e8a18f1e282378d6830f3a37666f28ebc47f844341b5",
        "tx": "4eb5f5d0f30f26497eb0ac6ac9719d09c67e284f1ed0385c93f3ef27a671da3d",
        "ty": "ee2e0d4819d9fbcc403689c3bf2e49face401b605932f093bc58ab6461130fdd",
        "x": "fbe9cb5c47200d1b7769a26e579be3b7130b556831f9d850e77c4c74f2599b33",
        "y": "e6c807633307a07ed659249006536a147c7999c797f11a2560752990181b41b3",
    },
}


def planetoid(name: str, *, normalize: bool = False) -> Data:
    """One citation graph with its public split.

    ======== ====== ====== ======== ======= =====================
    name     nodes  edges  features classes train/validation/test
    ======== ====== ====== ======== ======= =====================
    Cora     2708   10556  1433     7       140/500/1000
    CiteSeer 3327   9104   3703     6       120/500/1000
    PubMed   19717  88648  500      3       60/500/1000
    ======== ====== ====== ======== ======= =====================

    Raw files are read from ``planetoid/NAME/raw`` of the data folder, or are downloaded; see
    ``graphattn.datasets.files``. They are pickles: downloads are checked before they are read, all
    but PubMed's ``allx``, whose checksum is not known to us and whose address pins the commit.

    Args:
        name: ``"Cora"``, ``"CiteSeer"`` or ``"PubMed"``.
        normalize: Whether the features of each node are divided by their sum, as in the graph
            attention network; a node without features keeps zeros.

    Returns:
        ``x`` ``(N, F)`` float32 (word present or not; PubMed: TF-IDF, dimensionless),
        ``edge_index`` ``(2, E)`` int64 with both directions, no self-loops and no duplicates, ``y``
        ``(N,)`` int64 topics, and ``train_mask``, ``val_mask``, ``test_mask`` ``(N,)`` bool.

    Raises:
        ValueError: If the name is not one of the three.
        FileNotFoundError: If the files are neither there nor to be had; says what to put where.

    Source: Yang, Cohen and Salakhutdinov, "Revisiting Semi-Supervised Learning with Graph
        Embeddings", ICML 2016; repository kimiyoung/planetoid, MIT licence. The graphs are those of
        Sen et al., "Collective Classification in Network Data", AI Magazine 2008.
    """
    if name not in SHA256:
        raise ValueError(f"name must be one of {sorted(SHA256)}, got {name!r}")
    prefix = f"ind.{name.lower()}"
    with tempfile.TemporaryDirectory() as scratch, warnings.catch_warnings():
        # The reader wants all files in one folder; some may be in the data folder, some cached.
        for part, checksum in SHA256[name].items():
            file = f"{prefix}.{part}"
            raw = find(f"planetoid/{name}/raw/{file}", f"{ADDRESS}/{file}", checksum)
            shutil.copyfile(raw, Path(scratch) / file)
        data: Data = read_planetoid_data(scratch, prefix.removeprefix("ind."))
    if normalize:
        total = data.x.sum(dim=1, keepdim=True)
        data.x = data.x / total.where(total > 0, 1.0)
    return data
