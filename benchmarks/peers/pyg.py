"""PyTorch Geometric: eager, with a sorted EdgeIndex, compiled; and the weights of all peers."""

from pathlib import Path
from typing import Any

import torch
import torch_geometric.nn
from torch import Tensor, nn
from torch_geometric import EdgeIndex
from torch_geometric.utils import add_self_loops, remove_self_loops

from benchmarks.cases import Case
from benchmarks.peers.contestant import Contestant, Weights, arguments


def write_weights(layer: str, case: Case, path: Path) -> None:
    """Writes the weights that all peers take, by PyTorch Geometric's names."""
    torch.manual_seed(0)
    if layer == "GATv2 attention":
        weights = {"attention": torch.randn(case.heads, case.channels) / case.channels**0.5}
    else:
        weights = getattr(torch_geometric.nn, layer)(**arguments(layer, case)).state_dict()
    torch.save(weights, path)


def eager(layer: str, case: Case, weights: Weights) -> Contestant:
    """The layer as it comes, called with a plain edge list."""
    module = _module(layer, case, weights, case.self_loops)
    return Contestant(
        list(module.parameters()),
        lambda edge_index, num_nodes: edge_index,
        lambda x, edge_index, edge_attr: module(x[0], edge_index, edge_attr),
    )


def sorted_edges(layer: str, case: Case, weights: Weights) -> Contestant:
    """An ``EdgeIndex`` sorted by target, its caches filled, self-loops already in it."""
    module = _module(layer, case, weights, False)

    def prepare(edge_index: Tensor, num_nodes: int) -> Any:
        edge_index = _with_loops(layer, case, edge_index, num_nodes)
        order = edge_index[1].argsort(stable=True)
        size = (num_nodes, num_nodes)
        index = EdgeIndex(edge_index[:, order], sparse_size=size, sort_order="col")
        return index.fill_cache_(), order

    def call(x: Any, structure: Any, edge_attr: Tensor | None) -> Tensor:
        index, order = structure
        return module(x[0], index, None if edge_attr is None else edge_attr[order])

    return Contestant(list(module.parameters()), prepare, call)


def compiled(layer: str, case: Case, weights: Weights) -> Contestant:
    """The layer under ``torch.compile``; self-loops, which break its graph, are added before."""
    module = _module(layer, case, weights, False)
    fast = torch.compile(module, dynamic=True if case.num_batches > 1 else None)
    return Contestant(
        list(module.parameters()),
        lambda edge_index, num_nodes: _with_loops(layer, case, edge_index, num_nodes),
        lambda x, edge_index, edge_attr: fast(x[0], edge_index, edge_attr),
    )


def _module(layer: str, case: Case, weights: Weights, self_loops: bool) -> nn.Module:
    given = arguments(layer, case, self_loops=self_loops)
    module: nn.Module = getattr(torch_geometric.nn, layer)(**given)
    module.load_state_dict(weights)
    return module


def _with_loops(layer: str, case: Case, edge_index: Tensor, num_nodes: int) -> Tensor:
    if layer == "TransformerConv" or not case.self_loops:
        return edge_index
    edge_index, _ = remove_self_loops(edge_index)
    return add_self_loops(edge_index, num_nodes=num_nodes)[0]
