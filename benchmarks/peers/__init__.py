"""Who is measured: where each one runs, and the function that builds its layers."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Peer:
    """One contestant.

    Attributes:
        title: Its name in tables.
        environment: Which worker runs it: ``"main"`` (this environment), ``"scatter"`` (the same
            with torch-scatter) or ``"dgl"``.
        build: ``module:function`` that makes a ``Contestant`` from layer, case and weights. It is
            imported in the worker alone, since no environment has all packages. Empty for
            contestants on sets alone.
        build_on_sets: Likewise, for layers on sets.
    """

    title: str
    environment: str
    build: str
    build_on_sets: str = ""


PEERS = {
    "ours": Peer(
        "graphattn", "main", "benchmarks.peers.ours:drop_in", "benchmarks.sets.ours:ragged"
    ),
    "pyg": Peer("PyG", "main", "benchmarks.peers.pyg:eager", "benchmarks.sets.pyg:padded"),
    "pyg-sorted": Peer("PyG, sorted EdgeIndex", "main", "benchmarks.peers.pyg:sorted_edges"),
    "pyg-compile": Peer(
        "PyG, torch.compile",
        "main",
        "benchmarks.peers.pyg:compiled",
        "benchmarks.sets.pyg:compiled",
    ),
    "pyg-buckets": Peer("PyG, by size", "main", "", "benchmarks.sets.pyg:buckets"),
    "pyg-scatter": Peer("PyG, torch-scatter", "scatter", "benchmarks.peers.pyg:eager"),
    "dgl": Peer("DGL", "dgl", "benchmarks.peers.dgl:native"),
    "custom": Peer("own score", "main", "benchmarks.peers.ours:own_score"),
    "generated": Peer("generated", "main", "benchmarks.peers.ours:generated"),
    "yardstick": Peer("hand-written", "main", "benchmarks.yardstick.gatv2:hand_written"),
    "dense": Peer("PyTorch, dense", "main", "", "benchmarks.sets.plain:dense"),
    "nested": Peer("PyTorch, nested tensors", "main", "", "benchmarks.sets.plain:nested"),
}
# Layers that a peer lacks, or does not have with edge features.
MISSING = {"dgl": ("TransformerConv",), "nested": ("InducedSetAttentionBlock",)}
WITHOUT_EDGE_FEATURES = ("dgl",)
