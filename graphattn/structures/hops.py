"""Edges between nodes that are a few steps apart."""

import torch
from torch import Tensor

from graphattn.edges import Edges


def hop_edges(edge_index: Tensor, num_nodes: int, num_hops: int) -> Tensor:
    """Edges to every node from all nodes that reach it in at most so many steps.

    Edges stay inside their graphs by themselves, so that a ``Batch`` is one large graph here. There
    are no loops, and no edge stands twice.

    Args:
        edge_index: ``(2, E)``, integer: row 0 holds sources, row 1 targets.
        num_nodes: ``N``.
        num_hops: Number of steps; 0 gives no edges.

    Returns:
        ``edge_index``, ``(2, E)``, int64, in order of the targets, and of the sources of each.

    Raises:
        TypeError: If ``edge_index`` is no integer tensor.
        ValueError: If its shape is not ``(2, E)``, or a number is negative.
        IndexError: If an index is out of range.
    """
    import numpy as np
    from scipy import sparse  # type: ignore[import-untyped]

    if num_hops < 0:
        raise ValueError(f"num_hops must not be negative, got {num_hops}")
    given = Edges.from_edge_index(edge_index, num_nodes, num_nodes, self_loops=True)
    if num_hops == 0:
        return given.source.new_zeros(2, 0)
    ends = (given.target.cpu().numpy(), given.source.cpu().numpy())
    one_step = sparse.csr_array((np.ones(given.num_edges, dtype=bool), ends), (num_nodes,) * 2)
    reached = one_step
    for _ in range(num_hops - 1):
        reached = reached @ one_step  # loops keep what was reached before
    reached.sort_indices()
    entries = reached.tocoo()
    found = torch.stack([torch.from_numpy(x).long() for x in (entries.col, entries.row)])
    return found[:, found[0] != found[1]].to(edge_index.device)
