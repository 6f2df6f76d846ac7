"""Graphs that encodings must not stumble over, alone and side by side."""

import networkx
import torch
from torch import Tensor
from torch_geometric.data import Batch, Data
from torch_geometric.utils import from_networkx

from graphattn.graphs import Graphs


def undirected(*edges: tuple[int, int]) -> Tensor:
    """Edges in both directions."""
    index = torch.tensor(edges, dtype=torch.int64).reshape(-1, 2).t()
    return torch.cat([index, index.flip(0)], dim=1)


def random_graph(size: int, seed: int, *, directed: bool = False, share: float = 0.3) -> Data:
    """Of the kind of Erdős and Rényi, its nodes in order."""
    drawn = networkx.gnp_random_graph(size, share, seed=seed, directed=directed)
    return Data(edge_index=from_networkx(drawn).edge_index, num_nodes=size)


ODD = {
    "path": Data(edge_index=undirected((0, 1), (1, 2), (2, 3)), num_nodes=4),
    "one node": Data(edge_index=undirected(), num_nodes=1),
    "no edges": Data(edge_index=undirected(), num_nodes=4),
    "no nodes": Data(edge_index=undirected(), num_nodes=0),
    "two components": Data(edge_index=undirected((0, 2), (2, 4), (4, 0), (1, 3)), num_nodes=5),
    "isolated node": Data(edge_index=undirected((0, 1), (1, 3), (3, 4)), num_nodes=5),
    "one edge": Data(edge_index=undirected((0, 1)), num_nodes=2),
    "random": random_graph(12, 0),
    "another of its size": random_graph(12, 1),
}


def side_by_side() -> Graphs:
    """All of them, in this order."""
    return Graphs.from_data(Batch.from_data_list(list(ODD.values())))
