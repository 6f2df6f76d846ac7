"""Encodings as transforms of PyG: stored on the graphs, of one or of a whole data set at once."""

import copy
from abc import abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch_geometric.data import Batch
from torch_geometric.data.data import BaseData
from torch_geometric.transforms import BaseTransform
from tqdm import tqdm  # type: ignore[import-untyped]  # what torch_geometric itself depends on

from graphattn.encodings.laplacian import laplacian_eigenvectors
from graphattn.encodings.random_walk import random_walk_probabilities
from graphattn.encodings.shortest_path import shortest_path_distances, shortest_path_edges
from graphattn.graphs import Graphs

# Graphs that `add_encodings` takes at a time: enough of a size to work on together, and few enough
# for the progress to move.
_AT_A_TIME = 1024


class GraphEncoding(BaseTransform):
    """A transform that stores a tensor on each graph, and can compute it for many at once.

    A transform of one's own has ``compute``; ``rows`` too, if it is not of nodes.

    Args:
        attr_name: Name of the attribute; ``None`` appends the encoding to ``x``.

    Raises:
        TypeError: When a graph is given whose ``x`` is to have fractions appended and holds whole
            numbers, which PyG would cut off; numbers of kinds want an attribute of their own.
    """

    def __init__(self, attr_name: str | None) -> None:
        self.attr_name = attr_name

    @abstractmethod
    def compute(self, graphs: Graphs) -> Tensor:
        """The encoding of all graphs, graph by graph."""

    def rows(self, graphs: Graphs) -> list[int]:
        """Number of rows of each graph in what ``compute`` gives: that of its nodes."""
        return graphs.sizes

    def forward(self, data: Any) -> Any:
        """Stores the encoding of a ``Data``, or of the graphs of a ``Batch``."""
        return self.store(data, self.compute(Graphs.from_data(data)))

    def store(self, data: Any, encoding: Tensor) -> Any:
        """Stores an encoding that is known, and returns ``data``."""
        if self.attr_name is not None:
            data[self.attr_name] = encoding
        elif data.x is None:
            data.x = encoding
        else:
            x = data.x.unsqueeze(-1) if data.x.ndim == 1 else data.x
            if encoding.is_floating_point() and not x.is_floating_point():
                raise TypeError(
                    f"x must be floating point to have {self} appended, got {x.dtype}:"
                    " convert it, or store the encoding by itself with attr_name"
                )
            data.x = torch.cat([x, encoding.to(x)], dim=-1)
        return data


class AddLaplacianEigenvectorPE(GraphEncoding):
    """Stores the eigenvectors of ``laplacian_eigenvectors``, ``(N, k)``.

    In place of PyG's transform of this name. Signs are fixed here; ``graphattn.nn.RandomSignFlip``
    draws them anew in training. Graphs of ``k`` nodes or fewer, which PyG refuses, have zeros for
    the vectors that they lack. Edges must run in both directions.

    Args:
        k: Number of eigenvectors, without the first.
        attr_name: See ``GraphEncoding``.
        is_undirected: Takes it for granted that every edge runs in both directions.
    """

    def __init__(
        self,
        k: int,
        attr_name: str | None = "laplacian_eigenvector_pe",
        is_undirected: bool = False,
    ) -> None:
        super().__init__(attr_name)
        self.k, self.is_undirected = k, is_undirected

    def compute(self, graphs: Graphs) -> Tensor:
        return laplacian_eigenvectors(graphs, self.k, is_undirected=self.is_undirected).vectors

    def __repr__(self) -> str:
        return f"{type(self).__name__}(k={self.k})"


class AddRandomWalkPE(GraphEncoding):
    """Stores the probabilities of ``random_walk_probabilities``, ``(N, walk_length)``.

    In place of PyG's transform of this name.

    Args:
        walk_length: Number of steps.
        attr_name: See ``GraphEncoding``.
    """

    def __init__(self, walk_length: int, attr_name: str | None = "random_walk_pe") -> None:
        super().__init__(attr_name)
        self.walk_length = walk_length

    def compute(self, graphs: Graphs) -> Tensor:
        return random_walk_probabilities(graphs, self.walk_length)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(walk_length={self.walk_length})"


class AddShortestPathDistances(GraphEncoding):
    """Stores the distances of ``shortest_path_distances``, ``(n * n,)``, int64.

    A ``Batch`` of such graphs has them in the order of the pairs of ``Blocks.from_ptr(batch.ptr)``.

    Args:
        max_distance: What longer paths count as.
        unreachable: What counts where there is no path.
        attr_name: Name of the attribute.
    """

    def __init__(
        self,
        max_distance: int = 510,
        unreachable: int = 510,
        attr_name: str = "shortest_path_distance",
    ) -> None:
        super().__init__(attr_name)
        self.max_distance, self.unreachable = max_distance, unreachable

    def compute(self, graphs: Graphs) -> Tensor:
        return shortest_path_distances(graphs, self.max_distance, self.unreachable)

    def rows(self, graphs: Graphs) -> list[int]:
        return [size * size for size in graphs.sizes]

    def __repr__(self) -> str:
        name = type(self).__name__
        return f"{name}(max_distance={self.max_distance}, unreachable={self.unreachable})"


class AddShortestPathEdgeTypes(GraphEncoding):
    """Stores the types of the edges of ``shortest_path_edges``, ``(n * n, max_length, F)``.

    Types are the whole numbers of ``edge_attr``, ``(E, F)`` or ``(E,)``, plus one; behind the end
    of a path there are zeros. They have the type of ``edge_attr``: with bytes, a large data set
    takes an eighth of the memory. Those of a ``Batch`` are in the order of the pairs of its
    ``Blocks``.

    Args:
        max_length: Number of edges past which a path is cut off.
        attr_name: Name of the attribute.

    Raises:
        ValueError: When a graph is given whose ``edge_attr`` is no such tensor, has a negative
            number, or the largest of its type, which has no room for one more.
    """

    def __init__(self, max_length: int, attr_name: str = "shortest_path_edge_type") -> None:
        super().__init__(attr_name)
        self.max_length = max_length

    def compute(self, graphs: Graphs) -> Tensor:
        """Numbers of the edges, counted in each graph from its first; -1 behind the end."""
        paths = shortest_path_edges(graphs, self.max_length)
        edges = graphs.graph_of_node[graphs.edge_index[0]].bincount(minlength=graphs.num_graphs)
        before = (edges.cumsum(0) - edges)[graphs.graph_of_node[graphs.blocks.target], None]
        return torch.where(paths < 0, paths, paths - before)

    def rows(self, graphs: Graphs) -> list[int]:
        return [size * size for size in graphs.sizes]

    def forward(self, data: Any) -> Any:
        # Edges of a batch are counted through, in the numbers of their paths and in `edge_attr`.
        return self.store(data, shortest_path_edges(Graphs.from_data(data), self.max_length))

    def store(self, data: Any, encoding: Tensor) -> Any:
        """Stores the types of the edges whose numbers are given."""
        types, num_edges = getattr(data, "edge_attr", None), data.edge_index.shape[1]
        if types is None or types.is_floating_point() or types.ndim not in (1, 2):
            got = None if types is None else f"{tuple(types.shape)} {types.dtype}"
            raise ValueError(f"edge_attr must be (E, F) or (E,) whole numbers, got {got}")
        if types.shape[0] != num_edges:
            raise ValueError(f"edge_attr must have {num_edges} rows, got {tuple(types.shape)}")
        shifted = (types if types.ndim == 2 else types.unsqueeze(-1)) + 1
        if shifted.numel() and int(shifted.min()) < 1:  # past the largest, numbers begin anew
            raise ValueError(
                f"edge_attr must not be negative, and less than the largest {types.dtype}, got"
                f" {int(types.min())} to {int(types.max())}"
            )
        table = torch.cat([shifted.new_zeros(1, shifted.shape[1]), shifted])
        return super().store(data, table[encoding + 1])

    def __repr__(self) -> str:
        return f"{type(self).__name__}(max_length={self.max_length})"


def add_encodings(
    data: Iterable[Any], encodings: Sequence[GraphEncoding], *, progress: bool = True
) -> list[Any]:
    """Stores encodings on the graphs of a data set, many graphs at a time.

    Computed once, they are as any other attribute: kept, collated and saved with the graphs.

    Args:
        data: Graphs, each a ``torch_geometric.data.Data``, such as a data set of PyG.
        encodings: What to store, one after another.
        progress: Shows a bar.

    Returns:
        Shallow copies of the graphs with the encodings, in their order; none for none.

    Raises:
        TypeError: If one of the encodings is no ``GraphEncoding``, or ``data`` a graph or batch and
            not several graphs.
        ValueError: If a graph has no ``edge_index``, or its number of nodes is not known.
    """
    if isinstance(data, BaseData):
        got = type(data).__name__
        raise TypeError(
            f"data must be graphs, such as a list, got one {got}: call the encoding on it instead"
        )
    for encoding in encodings:
        if not isinstance(encoding, GraphEncoding):
            raise TypeError(f"encodings must be GraphEncodings, got {type(encoding).__name__}")
    found = [copy.copy(graph) for graph in data]
    for number, graph in enumerate(found):
        _check_single(f"data[{number}]", graph)
    by_size = sorted(range(len(found)), key=lambda number: found[number].num_nodes)
    with tqdm(total=len(found), desc="encodings", unit="graph", disable=not progress) as bar:
        for start in range(0, len(found), _AT_A_TIME):
            some = [found[number] for number in by_size[start : start + _AT_A_TIME]]
            graphs = Graphs.from_data_list(some)
            for encoding in encodings:
                parts = encoding.compute(graphs).split(encoding.rows(graphs))
                for graph, part in zip(some, parts, strict=True):
                    encoding.store(graph, part.clone())  # a slice would hold on to all of them
            bar.update(len(some))
    return found


def _check_single(name: str, graph: Any) -> None:
    if isinstance(graph, Batch):
        got = type(graph).__name__
        raise TypeError(f"{name} must be a single graph, got {got}: take it apart by to_data_list")
    is_there = getattr(graph, "edge_index", None) is not None
    if not is_there or getattr(graph, "num_nodes", None) is None:
        raise ValueError(f"{name} must have edge_index and num_nodes, got {graph}")
