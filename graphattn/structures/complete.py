"""Edges between all nodes of a graph."""

import torch
from torch import Tensor

from graphattn.blocks import Blocks


def complete_edges(ptr: Tensor, *, self_loops: bool = False) -> Tensor:
    """Edges from every node to every node of its graph.

    ``Blocks`` is the same structure without a list of its edges, and the better one for attention;
    the list is for what runs on edges.

    Args:
        ptr: Borders of the graphs, such as ``Batch.ptr``, ``(G + 1,)``, int64, rising from 0.
        self_loops: Whether nodes have an edge to themselves.

    Returns:
        ``edge_index``, ``(2, E)``, int64: in order of the targets, and of the sources of each.
        With loops, the order of the pairs of ``Blocks.from_ptr(ptr)``.

    Raises:
        TypeError: If ``ptr`` is not int64.
        ValueError: If it does not rise from 0.
    """
    blocks = Blocks.from_ptr(ptr)
    edge_index = torch.stack([blocks.source, blocks.target])
    return edge_index if self_loops else edge_index[:, edge_index[0] != edge_index[1]]
