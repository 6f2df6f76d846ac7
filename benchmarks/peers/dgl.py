"""DGL, in an environment of its own; dgl_environment.sh prepares it."""

from typing import Any

import dgl  # type: ignore[import-not-found]
import dgl.nn  # type: ignore[import-not-found]
from torch import Tensor, nn

from benchmarks.cases import Case
from benchmarks.peers.contestant import Contestant, Weights


def native(layer: str, case: Case, weights: Weights) -> Contestant:
    """DGL's own layer on DGL's graph, all its formats made."""
    module: nn.Module = getattr(dgl.nn, layer)(
        case.in_channels, case.channels, case.heads, allow_zero_in_degree=True
    )
    renamed = {"GATConv": _gat, "GATv2Conv": _gatv2}[layer](weights)
    module.load_state_dict(renamed)

    def prepare(edge_index: Tensor, num_nodes: int) -> Any:
        graph = dgl.graph((edge_index[0], edge_index[1]), num_nodes=num_nodes)
        if case.self_loops:
            graph = dgl.add_self_loop(dgl.remove_self_loop(graph))
        graph.create_formats_()
        return graph

    return Contestant(
        list(module.parameters()),
        prepare,
        lambda x, graph, edge_attr: module(graph, x[0]).flatten(1),
    )


def _gat(weights: Weights) -> Weights:
    return {
        "fc.weight": weights["lin.weight"],
        "attn_l": weights["att_src"],
        "attn_r": weights["att_dst"],
        "bias": weights["bias"],
    }


def _gatv2(weights: Weights) -> Weights:
    # The bias that PyTorch Geometric adds to the output is zero when made, and DGL has none.
    return {
        "fc_src.weight": weights["lin_l.weight"],
        "fc_src.bias": weights["lin_l.bias"],
        "fc_dst.weight": weights["lin_r.weight"],
        "fc_dst.bias": weights["lin_r.bias"],
        "attn": weights["att"],
    }
