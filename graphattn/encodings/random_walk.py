"""Random walks: how likely one is where after so many steps."""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from graphattn.graphs import Graphs, Group, check_graphs

Array = npt.NDArray[np.float64]

# Nodes past which a graph's walks are followed through its edges, and not by powers of a matrix.
_MOST_DENSE = 256
# Walks that are followed through the edges of a large graph at a time.
_MOST_WALKS = 256


def random_walk_probabilities(graphs: Graphs, walk_length: int) -> Tensor:
    r"""Probabilities that a random walk is back at its first node: random-walk encodings, RWSE.

    .. math::
        p_{ik} = \bigl(W^k\bigr)_{ii}, \qquad W = D^{-1} A, \qquad k = 1, \ldots, K

    A walk leaves a node by one of the edges that begin there, in proportion to their weights. At a
    node without such edges it ends.

    Graphs of one size are worked on together. Those of more than 256 nodes take memory in
    proportion to their nodes, and time to nodes times edges times steps.

    Args:
        graphs: The graphs; weights must not be negative.
        walk_length: ``K``, the number of steps.

    Returns:
        ``(N, K)``, of the default type.

    Raises:
        TypeError: If ``graphs`` is no ``Graphs``.
        ValueError: If ``walk_length`` is less than one.

    Source: Dwivedi et al., "Graph Neural Networks with Learnable Structural and Positional
        Representations", ICLR 2022. Equal to PyG's ``AddRandomWalkPE`` on graphs without weights
        and without several edges between two nodes: where there are, PyG counts them in the degree
        but not in the step, so that its probabilities do not sum to one.
    """
    _check(graphs, walk_length)
    found = np.zeros((graphs.num_nodes, walk_length))
    for group in graphs.groups(_MOST_DENSE):
        found[group.nodes.cpu().numpy()] = _returns(_walk(graphs, group), walk_length)
    for number in graphs.larger_than(_MOST_DENSE):
        start, end = graphs.ptr[number : number + 2].tolist()
        matrix = graphs.sparse(number, _shares(graphs))
        found[start:end] = _returns_along_edges(matrix, walk_length)
    return torch.from_numpy(found).to(graphs.device, torch.get_default_dtype())


def relative_random_walk_probabilities(graphs: Graphs, walk_length: int) -> Tensor:
    r"""Probabilities that a walk from a node is at another, for all pairs: RRWP.

    .. math::
        p_{ijk} = \bigl(W^k\bigr)_{ij}, \qquad W = D^{-1} A, \qquad k = 0, \ldots, K - 1

    Args:
        graphs: The graphs; weights must not be negative.
        walk_length: ``K``.

    Returns:
        ``(P, K)``, of the default type: for each pair of nodes of a graph, in the order of
        ``graphs.blocks``, of a walk from the query to the key.

    Raises:
        TypeError: If ``graphs`` is no ``Graphs``.
        ValueError: If ``walk_length`` is less than one.

    Source: Ma et al., "Graph Inductive Biases in Transformers without Message Passing" (GRIT), ICML
        2023. Pairs that no walk joins are kept, with zeros.
    """
    _check(graphs, walk_length)
    begin = graphs.blocks.by_target.ptr.cpu().numpy()  # where the pairs of each query begin
    found = np.zeros((graphs.blocks.num_edges, walk_length))
    for group in graphs.groups():
        walk = _walk(graphs, group)
        _, size, _ = walk.shape
        pairs = begin[group.nodes[:, :1].cpu().numpy()] + np.arange(size * size)  # (B, n * n)
        power = np.broadcast_to(np.eye(size), walk.shape)
        for step in range(walk_length):
            found[pairs, step] = power.reshape(len(walk), -1)
            power = power @ walk
    return torch.from_numpy(found).to(graphs.device, torch.get_default_dtype())


def _walk(graphs: Graphs, group: Group) -> Array:
    """Probabilities of one step, ``(B, n, n)``.

    For NumPy, which multiplies small matrices on one core each; more of them only wait.
    """
    adjacency = group.adjacency(graphs.edge_weight).cpu().numpy()
    total = adjacency.sum(-1, keepdims=True)
    walk: Array = adjacency / np.where(total == 0, 1.0, total)
    return walk


def _shares(graphs: Graphs) -> Tensor:
    """Probability with which a walk leaves by each edge, ``(E,)``."""
    source = graphs.edge_index[0]
    total = graphs.edge_weight.new_zeros(graphs.num_nodes).index_add_(0, source, graphs.edge_weight)
    return graphs.edge_weight / total.masked_fill(total == 0, 1.0)[source]


def _returns(walk: Array, walk_length: int) -> Array:
    """Diagonals of the powers, ``(B, n, K)``; those of the later ones from products of two."""
    powers = [walk]
    while 2 * len(powers) < walk_length:
        powers.append(powers[-1] @ walk)
    found = [power.diagonal(axis1=1, axis2=2) for power in powers[:walk_length]]
    back = powers[-1].swapaxes(1, 2)
    found += [(power * back).sum(-1) for power in powers[: walk_length - len(powers)]]
    return np.stack(found, axis=-1)


def _returns_along_edges(matrix: Any, walk_length: int) -> Array:
    """The same, ``(n, K)``, from the walks of a few nodes at a time."""
    size = matrix.shape[0]
    found = np.zeros((size, walk_length))
    backward = matrix.T.tocsr()
    for start in range(0, size, _MOST_WALKS):
        nodes = np.arange(start, min(start + _MOST_WALKS, size))
        place = np.zeros((size, len(nodes)))  # a column says where the walk of one node is
        place[nodes, nodes - start] = 1.0
        for step in range(walk_length):
            place = backward @ place
            found[nodes, step] = place[nodes, nodes - start]
    return found


def _check(graphs: Graphs, walk_length: int) -> None:
    check_graphs(graphs)
    if walk_length < 1:
        raise ValueError(f"walk_length must be at least 1, got {walk_length}")
