"""Graphs side by side, checked once: what encodings and structures are computed from."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from graphattn.blocks import Blocks
from graphattn.edges import Edges

# Entries of the dense matrices that are worked on at a time: 8 MiB, about what a cache holds.
_MOST_ENTRIES = 2**20


@dataclass(frozen=True)
class Group:
    """Graphs of one size, for dense matrices without padding.

    Attributes:
        graphs: Their numbers, ``(B,)``, int64.
        nodes: Their nodes, ``(B, n)``, int64.
        edges: Numbers of their edges, ``(M,)``, int64.
        place: Where each edge stands in ``(B, n, n)``, its source the row, its target the column,
            counted through, ``(M,)``, int64.
    """

    graphs: Tensor
    nodes: Tensor
    edges: Tensor
    place: Tensor

    @property
    def shape(self) -> tuple[int, int, int]:
        """``(B, n, n)``."""
        count, size = self.nodes.shape
        return count, size, size

    def adjacency(self, weight: Tensor) -> Tensor:
        """The weights as matrices.

        Args:
            weight: Of all edges, ``(E,)``, floating point.

        Returns:
            ``(B, n, n)``, from row to column; the weights of edges between the same nodes add up.
        """
        entries = weight.new_zeros(self.shape).flatten()
        return entries.index_add_(0, self.place, weight[self.edges]).view(self.shape)


class Graphs:
    """Graphs whose nodes stand one graph after another, as in a ``Batch`` of PyG.

    Args:
        edge_index: ``(2, E)``, integer: row 0 holds sources, row 1 targets.
        ptr: Borders of the graphs, such as ``Batch.ptr``, ``(G + 1,)``, int64, rising from 0;
            graphs may be empty.
        edge_weight: ``(E,)``; without it, every edge has weight one.

    Attributes:
        edge_index: ``(2, E)``, int64.
        edge_weight: ``(E,)``, float64.
        blocks: All pairs of nodes inside each graph. Encodings of pairs are in its order: that of
            the pairs (query, key), graph by graph and row by row.

    Raises:
        TypeError: If ``edge_index`` or ``ptr`` is no integer tensor, or ``edge_weight`` no tensor
            of numbers.
        ValueError: If a shape is wrong, ``ptr`` does not rise, an edge joins two graphs, or a
            weight is negative or not finite.
        IndexError: If an edge ends outside of the graphs.
    """

    def __init__(self, edge_index: Tensor, ptr: Tensor, edge_weight: Tensor | None = None) -> None:
        self.blocks = Blocks.from_ptr(ptr)
        num_nodes = self.blocks.num_targets
        self.edge_index = Edges.from_edge_index(edge_index, num_nodes, num_nodes).edge_index
        num_edges = self.edge_index.shape[1]
        if edge_weight is None:
            edge_weight = torch.ones(num_edges, device=edge_index.device)
        if not isinstance(edge_weight, Tensor) or edge_weight.is_complex():
            got = edge_weight.dtype if isinstance(edge_weight, Tensor) else type(edge_weight)
            raise TypeError(f"edge_weight must be a tensor of real numbers, got {got}")
        if edge_weight.shape != (num_edges,):
            raise ValueError(f"edge_weight must be ({num_edges},), got {tuple(edge_weight.shape)}")
        self.edge_weight = edge_weight.detach().to(torch.float64)
        if not bool(((self.edge_weight >= 0) & self.edge_weight.isfinite()).all()):
            raise ValueError("edge_weight must be finite and not negative")
        ends = self.graph_of_node[self.edge_index]  # (2, E)
        if bool((ends[0] != ends[1]).any()):
            edge = int((ends[0] != ends[1]).nonzero()[0])
            raise ValueError(
                f"edges must stay inside their graph, but edge {edge} runs from node"
                f" {self.edge_index[:, edge].tolist()[0]} of graph {int(ends[0, edge])} to node"
                f" {self.edge_index[:, edge].tolist()[1]} of graph {int(ends[1, edge])}"
            )

    @classmethod
    def from_data(cls, data: Any) -> "Graphs":
        """Takes the graph of a ``torch_geometric.data.Data``, or those of a ``Batch``.

        Args:
            data: With ``edge_index`` and ``num_nodes``, and ``edge_weight`` if edges have one.

        Raises:
            ValueError: If there is no ``edge_index``; else see the class.
        """
        return cls.from_data_list([data])

    @classmethod
    def from_data_list(cls, data: Sequence[Any]) -> "Graphs":
        """Puts the graphs of several ``Data`` or ``Batch`` side by side; see ``from_data``.

        Raises:
            ValueError: If one has no ``edge_index``, or only some have ``edge_weight``.
            IndexError: If an edge ends outside of its graph.
        """
        indices, weights, borders, start = [], [], [torch.zeros(1, dtype=torch.int64)], 0
        counts: list[tuple[int, int]] = []  # edges and nodes
        for graph in data:
            if getattr(graph, "edge_index", None) is None or graph.num_nodes is None:
                raise ValueError(f"data must have edge_index and num_nodes, got {graph}")
            indices.append(graph.edge_index + start)
            if getattr(graph, "edge_weight", None) is not None:
                weights.append(graph.edge_weight)
            ptr = getattr(graph, "ptr", None)
            own = torch.tensor([graph.num_nodes]) if ptr is None else ptr[1:]
            borders.append(own + start)
            start += graph.num_nodes
            counts.append((graph.edge_index.shape[1], graph.num_nodes))
        if weights and len(weights) != len(indices):
            raise ValueError(
                f"all graphs must have edge_weight or none, got {len(weights)} of {len(indices)}"
            )
        edge_index = torch.cat(indices, 1) if indices else torch.zeros(2, 0, dtype=torch.int64)
        ptr = torch.cat([border.to(edge_index.device) for border in borders])
        _check_own(edge_index, counts)
        return cls(edge_index, ptr, torch.cat(weights) if weights else None)

    @property
    def ptr(self) -> Tensor:
        """Nodes of graph ``g`` stand at ``ptr[g]:ptr[g + 1]``, ``(G + 1,)``, int64."""
        return self.blocks.target_ptr

    @property
    def sizes(self) -> list[int]:
        """Number of nodes of each graph."""
        return self.blocks.target_sizes

    @property
    def num_graphs(self) -> int:
        """``G``."""
        return self.blocks.num_sets

    @property
    def num_nodes(self) -> int:
        """``N``."""
        return self.blocks.num_targets

    @property
    def device(self) -> torch.device:
        """Where the graphs lie."""
        return self.edge_index.device

    @cached_property
    def graph_of_node(self) -> Tensor:
        """Number of the graph of each node, ``(N,)``, int64."""
        every = torch.arange(self.num_graphs, device=self.ptr.device)
        return every.repeat_interleave(self.ptr.diff(), output_size=self.num_nodes)

    def groups(self, largest: int | None = None) -> Iterator[Group]:
        """Groups of graphs of equal size, from small to large, of a size that a cache holds.

        Args:
            largest: Number of nodes past which a graph is left out; without it, none is.

        Yields:
            A group; graphs without nodes are in none.
        """
        sizes, starts = self.ptr.diff(), self.ptr[:-1]
        order = sizes.argsort(stable=True)  # (G,) graphs, small ones first
        edges, edge_ptr = self._edges_by_graph(order)
        ordered = sizes[order].tolist()
        first = 0
        while first < self.num_graphs:
            size = ordered[first]
            if largest is not None and size > largest:
                return
            last = first + 1
            most = first + max(1, _MOST_ENTRIES // max(1, size * size))
            while last < self.num_graphs and ordered[last] == size and last < most:
                last += 1
            if size:
                graphs = order[first:last]
                nodes = starts[graphs, None] + torch.arange(size, device=self.device)
                own = edges[edge_ptr[first] : edge_ptr[last]]
                yield Group(graphs, nodes, own, self._places(own, graphs, size))
            first = last

    def larger_than(self, size: int) -> list[int]:
        """Numbers of the graphs of more nodes."""
        return [number for number, own in enumerate(self.sizes) if own > size]

    def edges_of(self, number: int) -> Tensor:
        """Numbers of the edges of a graph, ``(M,)``, int64, in order."""
        edges, edge_ptr = self._by_graph
        return edges[edge_ptr[number] : edge_ptr[number + 1]]

    def sparse(self, number: int, weight: Tensor) -> Any:
        """The weights of one graph as a matrix.

        Args:
            number: Of the graph.
            weight: Of all edges, ``(E,)``.

        Returns:
            ``scipy.sparse.csr_array``, ``(n, n)``, from row to column; the weights of edges between
            the same nodes add up.
        """
        from scipy.sparse import csr_array  # type: ignore[import-untyped]

        edges, size = self.edges_of(number), self.sizes[number]
        source, target = (self.edge_index[:, edges] - self.ptr[number]).cpu().numpy()
        matrix = csr_array((weight[edges].cpu().numpy(), (source, target)), shape=(size, size))
        matrix.eliminate_zeros()  # an edge without weight joins nothing
        return matrix

    @cached_property
    def _by_graph(self) -> tuple[Tensor, list[int]]:
        return self._edges_by_graph(torch.arange(self.num_graphs, device=self.device))

    def _edges_by_graph(self, order: Tensor) -> tuple[Tensor, list[int]]:
        """Edges in the order of their graphs, in which those of each begin where."""
        rank = torch.empty_like(order)
        rank[order] = torch.arange(self.num_graphs, device=self.device)
        of_edge = rank[self.graph_of_node[self.edge_index[0]]]  # (E,)
        counts = of_edge.bincount(minlength=self.num_graphs).cumsum(0)
        return of_edge.argsort(stable=True), [0, *counts.tolist()]

    def _places(self, edges: Tensor, graphs: Tensor, size: int) -> Tensor:
        row = torch.empty(self.num_graphs, dtype=torch.int64, device=self.device)
        row[graphs] = torch.arange(graphs.shape[0], device=self.device)
        source, target = self.edge_index[:, edges]
        graph = self.graph_of_node[source]
        start = self.ptr[graph]
        return (row[graph] * size + source - start) * size + target - start

    def __repr__(self) -> str:
        return (
            f"Graphs({self.num_graphs} graphs, {self.num_nodes} nodes,"
            f" {self.edge_index.shape[1]} edges)"
        )


def check_graphs(graphs: Graphs) -> None:
    """Refuses what is no ``Graphs``, with a TypeError."""
    if not isinstance(graphs, Graphs):
        raise TypeError(f"graphs must be a graphattn.graphs.Graphs, got {type(graphs).__name__}")


def _check_own(edge_index: Tensor, counts: list[tuple[int, int]]) -> None:
    """Refuses edges of a graph that would end in the one beside it."""
    edges, nodes = torch.tensor(counts, dtype=torch.int64).view(-1, 2).to(edge_index.device).T
    last = nodes.cumsum(0).repeat_interleave(edges, output_size=edge_index.shape[1])
    first = last - nodes.repeat_interleave(edges, output_size=edge_index.shape[1])
    is_outside = ((edge_index < first) | (edge_index >= last)).any(0)
    if bool(is_outside.any()):
        edge = int(is_outside.nonzero()[0])
        ends = (edge_index[:, edge] - first[edge]).tolist()
        graph = int(torch.searchsorted(edges.cumsum(0), edge, right=True))
        raise IndexError(
            f"edge_index of graph {graph} must lie in [0, num_nodes = {int(nodes[graph])}),"
            f" got an edge from {ends[0]} to {ends[1]}"
        )
