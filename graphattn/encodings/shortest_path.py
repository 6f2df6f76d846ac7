"""Shortest paths between all nodes of a graph: how long they are, and which edges they take."""

import torch
from torch import Tensor

from graphattn.graphs import Graphs, Group, check_graphs


def shortest_path_distances(
    graphs: Graphs, max_distance: int = 510, unreachable: int = 510
) -> Tensor:
    """Numbers of edges on the shortest paths, for all pairs of nodes of a graph.

    Weights do not count. Stored on graphs one by one, the distances of a ``Batch`` of PyG are those
    of its ``Blocks``: pairs of a graph stand together.

    Args:
        graphs: The graphs.
        max_distance: What longer paths count as; Graphormer's code has 510.
        unreachable: What counts where there is no path.

    Returns:
        ``(P,)``, int64: for each pair, in the order of ``graphs.blocks``, of the path from the
        query to the key; zero from a node to itself.

    Raises:
        TypeError: If ``graphs`` is no ``Graphs``.
        ValueError: If ``max_distance`` or ``unreachable`` is negative.

    Source: Ying et al., "Do Transformers Really Perform Badly for Graph Representation?"
        (Graphormer), NeurIPS 2021.
    """
    from scipy.sparse.csgraph import dijkstra  # type: ignore[import-untyped]

    check_graphs(graphs)
    if max_distance < 0 or unreachable < 0:
        raise ValueError(
            "max_distance and unreachable must not be negative, got"
            f" {max_distance} and {unreachable}"
        )
    ones = torch.ones_like(graphs.edge_weight)
    lengths = [torch.zeros(0, dtype=torch.float64)]
    for number, size in enumerate(graphs.sizes):
        if size:
            matrix = graphs.sparse(number, ones)
            lengths.append(torch.from_numpy(dijkstra(matrix, unweighted=True)).flatten())
    length = torch.cat(lengths)
    capped = length.clamp(max=max_distance).masked_fill(length.isinf(), unreachable)
    return capped.long().to(graphs.device)


def shortest_path_edges(graphs: Graphs, max_length: int) -> Tensor:
    """The edges of a shortest path, for all pairs of nodes of a graph.

    Of several shortest paths it is the one that Graphormer's code takes, by the algorithm of Floyd
    and Warshall: the time grows with the cubes of the graphs' sizes. Weights do not count.

    Args:
        graphs: The graphs.
        max_length: Number of edges, counted from the query, past which a path is cut off.

    Returns:
        ``(P, max_length)``, int64: for each pair, in the order of ``graphs.blocks``, numbers of the
        edges from the query to the key, one after another; -1 past the end, and where there is no
        path. Of several edges between two nodes it is the last.

    Raises:
        TypeError: If ``graphs`` is no ``Graphs``.
        ValueError: If ``max_length`` is negative.

    Source: See ``shortest_path_distances``.
    """
    check_graphs(graphs)
    if max_length < 0:
        raise ValueError(f"max_length must not be negative, got {max_length}")
    found = torch.full((graphs.blocks.num_edges, max_length), -1, device=graphs.device)
    begin = graphs.blocks.by_target.ptr  # where the pairs of each query begin
    for group in graphs.groups():
        count = group.shape[1] ** 2
        pairs = begin[group.nodes[:, :1]] + torch.arange(count, device=graphs.device)  # (B, n * n)
        found[pairs.flatten()] = _edges_along(group, max_length)
    return found


def intermediate_nodes(group: Group) -> tuple[Tensor, Tensor]:
    """Lengths of the shortest paths, and a node halfway, by the algorithm of Floyd and Warshall.

    Args:
        group: Graphs of one size.

    Returns:
        Lengths, ``(B, n, n)``, int32, more than ``n`` where there is no path; and the last node by
        which the path was shortened, ``(B, n, n)``, int32, -1 where it is an edge or there is none.
    """
    _, size, _ = group.shape
    length = torch.full(group.shape, size + 1, dtype=torch.int32, device=group.nodes.device)
    length.view(-1)[group.place] = 1
    length.diagonal(dim1=-2, dim2=-1).zero_()
    halfway = torch.full_like(length, -1)
    for node in range(size):
        through = length[:, :, node, None] + length[:, node, None, :]
        is_shorter = through < length
        length = torch.where(is_shorter, through, length)
        halfway.masked_fill_(is_shorter, node)
    return length, halfway


def _edges_along(group: Group, max_length: int) -> Tensor:
    """The edges of the path of each pair, ``(B * n * n, max_length)``."""
    _, size, _ = group.shape
    length, halfway = (x.flatten().long() for x in intermediate_nodes(group))
    found = torch.full((length.shape[0], max_length), -1, device=length.device)
    if max_length == 0:
        return found
    is_edge = length == 1
    last = torch.full_like(length, -1).scatter_reduce(0, group.place, group.edges, "amax")
    found[is_edge, 0] = last[is_edge]
    position = torch.arange(max_length, device=length.device)
    longest = int(length.masked_fill(length > size, 0).max())
    for steps in range(2, longest + 1):  # either half of a path is shorter, and there already
        pair = (length == steps).nonzero().squeeze(-1)
        row, column = pair // size, pair % size
        first, second = row * size + halfway[pair], row // size * size + halfway[pair]
        second = second * size + column
        past = position - length[first, None]  # (pairs, max_length), place in the second half
        rest = found[second].gather(1, past.clamp(min=0))
        found[pair] = torch.where(past < 0, found[first], rest)
    return found
