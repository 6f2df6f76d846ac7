"""Eigenvectors of a graph's Laplacian: how its nodes lie to one another, as waves."""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from graphattn.graphs import Graphs, check_graphs

Array = npt.NDArray[np.float64]

# Nodes up to which all eigenvectors of a graph are computed, and not the wanted ones alone.
_MOST_DENSE = 500
# Magnitudes that count as equal where the sign of an eigenvector is chosen: what rounding leaves of
# components that symmetry makes equal.
_EQUAL = 1e-4
# Part of a weight by which that of the other direction may differ: float32 rounds to less.
_SAME_WEIGHT = 1e-5


class LaplacianEigenvectors(NamedTuple):
    """The eigenvectors of the smallest eigenvalues but the first.

    Attributes:
        values: Eigenvalues, rising, ``(G, k)``; zero where a graph has no more.
        vectors: Eigenvectors, a column each, of length one in each graph, ``(N, k)``; zero where
            there are no more.
    """

    values: Tensor
    vectors: Tensor


def laplacian_eigenvectors(
    graphs: Graphs, k: int, *, is_undirected: bool = False, isolated: float = 1.0
) -> LaplacianEigenvectors:
    r"""Eigenvectors of the symmetric normalised Laplacian: Laplacian encodings, LapPE.

    .. math::
        L = I - D^{-1/2} A D^{-1/2}, \qquad L v_m = \lambda_m v_m, \qquad
        0 \le \lambda_0 \le \lambda_1 \le \cdots \le 2

    Given are :math:`v_1, \ldots, v_k`. The first, whose eigenvalue is zero if there is an edge, is
    left out, and only that one: a graph of several components keeps the other vectors of eigenvalue
    zero, as in PyG. Loops do not count. A graph of ``n <= k`` nodes has ``n - 1`` vectors, and
    zeros for the rest; a graph of one node has zeros.

    A sign is free, and is chosen so that the first of the largest components (in magnitude) is
    positive. Of a repeated eigenvalue any orthonormal vectors would do; those of the solver are
    given, the same at each call, but others when nodes are renamed.

    Graphs of one size are solved together. Of those of more than 500 nodes only the wanted vectors
    are computed, component by component, by Lanczos iterations from a fixed start.

    Args:
        graphs: The graphs; every edge in both directions, weights not negative.
        k: Number of eigenvectors.
        is_undirected: Takes it for granted that every edge runs in both directions.
        isolated: Entry of ``L`` for a node without edges: 1 in PyG, 0 in the books.

    Returns:
        Eigenvalues ``(G, k)`` and eigenvectors ``(N, k)``, of the default type.

    Raises:
        TypeError: If ``graphs`` is no ``Graphs``.
        ValueError: If ``k`` is less than one, or an edge has no twin in the other direction, of the
            same weight to 1e-5 of it.

    Source: Dwivedi and Bresson, "A Generalization of Transformer Networks to Graphs", AAAI workshop
        2021. Equal to PyG's ``AddLaplacianEigenvectorPE`` up to signs, which are random there, and
        to the choice inside a repeated eigenvalue.
    """
    check_graphs(graphs)
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    source, target = graphs.edge_index
    weight = graphs.edge_weight.masked_fill(source == target, 0.0)
    found = _lowest(graphs, weight, k + 1, isolated, is_undirected)
    values, vectors = (torch.from_numpy(x[:, 1:]).to(graphs.device) for x in found)
    vectors = vectors * _signs(graphs, vectors)
    values = values.masked_fill(values.isinf(), 0.0)
    dtype = torch.get_default_dtype()
    return LaplacianEigenvectors(values.to(dtype), vectors.to(dtype))


def _lowest(
    graphs: Graphs, weight: Tensor, count: int, isolated: float, is_undirected: bool
) -> tuple[Array, Array]:
    """As many eigenvalues ``(G, count)`` and eigenvectors ``(N, count)``, the first included.

    Past the last, eigenvalues are infinite and eigenvectors zero.
    """
    values = np.full((graphs.num_graphs, count), np.inf)
    vectors = np.zeros((graphs.num_nodes, count))
    # Lanczos iterations need room between what is wanted and what there is.
    most_dense = max(_MOST_DENSE, 4 * count)
    for group in graphs.groups(most_dense):
        # By NumPy, which takes one core for a small matrix. PyTorch parts each among all, and they
        # wait for one another longer than they work: on a busy machine a hundred times as long.
        adjacency = group.adjacency(weight).cpu().numpy()
        mirrored = adjacency.swapaxes(1, 2)
        if not is_undirected and not np.allclose(adjacency, mirrored, rtol=_SAME_WEIGHT, atol=0.0):
            raise ValueError(_DIRECTED)
        found, own = np.linalg.eigh(_laplacian(adjacency, isolated))
        kept = min(count, found.shape[1])
        values[group.graphs.cpu().numpy(), :kept] = found[:, :kept]
        vectors[group.nodes.cpu().numpy(), :kept] = own[:, :, :kept]
    for number in graphs.larger_than(most_dense):
        entries = graphs.sparse(number, weight)
        if not is_undirected and (abs(entries - entries.T) - _SAME_WEIGHT * entries).max() > 0:
            raise ValueError(_DIRECTED)
        start, end = graphs.ptr[number : number + 2].tolist()
        values[number], vectors[start:end] = _lowest_of_large(entries, count, isolated)
    return values, vectors


_DIRECTED = (
    "edges must run in both directions, with equal weights, for the eigenvectors of a Laplacian;"
    " torch_geometric.utils.to_undirected adds the missing ones"
)


def _laplacian(adjacency: Array, isolated: float) -> Array:
    """``(B, n, n)``."""
    degree = adjacency.sum(-1)
    has_edges = degree > 0
    root = np.where(has_edges, degree, np.inf) ** -0.5  # (B, n)
    found = -root[:, :, None] * adjacency * root[:, None, :]
    every = np.arange(degree.shape[1])
    found[:, every, every] += np.where(has_edges, 1.0, isolated)
    return found


def _lowest_of_large(adjacency: Any, count: int, isolated: float) -> tuple[Array, Array]:
    """Of one large graph: ``(count,)`` and ``(n, count)``.

    The spectrum of a graph is that of its components, each of which has the eigenvalue zero once.
    Taken one by one, none is missed: iterations find a repeated eigenvalue by rounding alone.
    """
    from scipy.sparse.csgraph import connected_components  # type: ignore[import-untyped]

    num_parts, labels = connected_components(adjacency, directed=False)
    if num_parts == 1:
        return _iterated(adjacency, count)
    order = labels.argsort(kind="stable")  # nodes, component by component
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    entries = adjacency.tocoo()
    ends = np.stack([rank[entries.row], rank[entries.col]])
    borders = np.concatenate([[0], np.bincount(labels, minlength=num_parts).cumsum()])
    parts = Graphs(*(torch.from_numpy(x) for x in (ends, borders, entries.data)))
    below, of_parts = _lowest(parts, parts.edge_weight, count, isolated, is_undirected=True)
    chosen = below.flatten().argsort(kind="stable")[:count]
    vectors = np.zeros((len(order), count))
    for place, (part, column) in enumerate(zip(*divmod(chosen, count), strict=True)):
        own = slice(borders[part], borders[part + 1])
        vectors[order[own], place] = of_parts[own, column]
    return below.flatten()[chosen], vectors


def _iterated(adjacency: Any, count: int) -> tuple[Array, Array]:
    """Of one large connected graph: the largest eigenvalues of its normalised adjacency."""
    from scipy.sparse import csc_array, diags_array  # type: ignore[import-untyped]
    from scipy.sparse.linalg import ArpackNoConvergence, eigsh  # type: ignore[import-untyped]

    root = diags_array(adjacency.sum(axis=1) ** -0.5)
    normalised = csc_array(root @ adjacency @ root)
    start = np.random.default_rng(0).standard_normal(adjacency.shape[0])
    options = {"k": count, "v0": start, "ncv": max(40, 2 * count + 1)}
    try:
        found, vectors = eigsh(normalised, which="LA", maxiter=100, **options)
    except ArpackNoConvergence:
        # Long thin graphs: eigenvalues crowd near one. The inverse about a point just past them
        # pulls them apart, at the price of a factorisation, which such graphs have a sparse one of.
        found, vectors = eigsh(normalised, which="LM", sigma=1.0 + 1e-3, **options)
    order = (-found).argsort(kind="stable")
    return 1.0 - found[order], vectors[:, order]


def _signs(graphs: Graphs, vectors: Tensor) -> Tensor:
    """What makes the first of the largest components positive, ``(N, k)``: 1 or -1."""
    graph = graphs.graph_of_node.unsqueeze(-1).expand_as(vectors)
    shape = (graphs.num_graphs, vectors.shape[1])
    largest = vectors.new_zeros(shape).scatter_reduce(0, graph, vectors.abs(), "amax")
    is_large = vectors.abs() >= (1.0 - _EQUAL) * largest.gather(0, graph)
    every = torch.arange(graphs.num_nodes, device=vectors.device).unsqueeze(-1).expand_as(graph)
    last = torch.full(shape, graphs.num_nodes, device=vectors.device)
    candidates = every.where(is_large, graphs.num_nodes)
    first = last.scatter_reduce(0, graph, candidates, "amin").gather(0, graph)  # (N, k)
    return torch.where(vectors.gather(0, first) < 0, -1.0, 1.0)
