"""What networks on graphs read of a batch: features of nodes and edges, encodings, structure."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from graphattn.blocks import Blocks
from graphattn.encodings import AddLaplacianEigenvectorPE, AddRandomWalkPE
from graphattn.nn.graph_transformers.encodings import RandomSignFlip


class GraphFeatures(NamedTuple):
    """Graphs side by side, as layers take them.

    Attributes:
        x: Nodes, ``(N, channels)``.
        edge_index: ``(2, E)``, int64.
        edge_attr: Edges, ``(E, channels)``, or None where they have no features.
        blocks: Which nodes are of one graph.
    """

    x: Tensor
    edge_index: Tensor
    edge_attr: Tensor | None
    blocks: Blocks


class GraphInputs(nn.Module):
    """Adds up what parts say of nodes, and of edges: features, and encodings of where they are.

    Args:
        nodes: Modules from a batch to ``(N, channels)``, such as ``FromAttribute`` or
            ``RandomWalkEncoding``; at least one.
        edges: Likewise to ``(E, channels)``; none, if edges have no features.
        edge_index: Name of the attribute that holds the edges. Another one than PyG's can hold
            those that a builder of ``graphattn.structures`` made beside the graph's own.

    Shapes:
        - batch: a ``Batch`` of PyG, or one ``Data``
        - output: ``GraphFeatures``

    Raises:
        ValueError: If there is no part for nodes, or the batch lacks an attribute.
    """

    def __init__(
        self,
        nodes: Iterable[nn.Module],
        edges: Iterable[nn.Module] = (),
        edge_index: str = "edge_index",
    ) -> None:
        super().__init__()
        self.nodes, self.edges = nn.ModuleList(nodes), nn.ModuleList(edges)
        self.edge_index = edge_index
        if not self.nodes:
            raise ValueError("nodes must hold at least one module, got none")

    @property
    def has_edges(self) -> bool:
        """Whether edges have features."""
        return len(self.edges) > 0

    def forward(self, batch: Any) -> GraphFeatures:
        """Reads a batch; see the class for shapes."""
        x = _sum(part(batch) for part in self.nodes)
        edge_attr = _sum(part(batch) for part in self.edges) if self.has_edges else None
        ptr = getattr(batch, "ptr", None)
        if ptr is None:  # a single graph
            ptr = torch.tensor([0, x.shape[0]], device=x.device)
        return GraphFeatures(x, attribute(batch, self.edge_index), edge_attr, Blocks.from_ptr(ptr))

    def extra_repr(self) -> str:
        return f"edge_index={self.edge_index!r}"


class FromAttribute(nn.Module):
    """A network on one attribute of a batch.

    Args:
        name: Of the attribute, such as ``"x"``.
        network: What is done with it, such as ``SummedEmbeddings``, a linear map, or
            ``graphattn.nn.DegreeEncoding`` of degrees.

    Shapes:
        - batch: a ``Batch`` of PyG, or one ``Data``
        - output: what the network gives

    Raises:
        ValueError: If the batch lacks the attribute.
    """

    def __init__(self, name: str, network: nn.Module) -> None:
        super().__init__()
        self.name, self.network = name, network

    def forward(self, batch: Any) -> Tensor:
        """Reads a batch; see the class for shapes."""
        read: Tensor = self.network(attribute(batch, self.name))
        return read

    def extra_repr(self) -> str:
        return repr(self.name)


class SummedEmbeddings(nn.Module):
    r"""Learned vectors for each of several whole numbers, added up: OGB's atoms and bonds.

    .. math::
        \mathrm{out} = \textstyle\sum_f z^f_{x_f}

    Args:
        sizes: How many values each number has, such as
            ``ogb.utils.features.get_atom_feature_dims()``.
        channels: Width of the vectors.

    Shapes:
        - x: ``(N, F)``, integer, column ``f`` from 0 to ``sizes[f] - 1``
        - output: ``(N, channels)``

    Raises:
        TypeError: If ``x`` is no integer tensor.
        ValueError: If it has another shape, or there are no sizes.
        IndexError: On a CPU, if a value lies outside.

    Source: ``AtomEncoder`` and ``BondEncoder`` of Hu et al., "Open Graph Benchmark: Datasets for
        Machine Learning on Graphs", NeurIPS 2020; same order of the tables.
    """

    def __init__(self, sizes: Sequence[int], channels: int) -> None:
        super().__init__()
        if not sizes:
            raise ValueError("sizes must hold at least one number, got none")
        tables = [nn.Embedding(size, channels) for size in sizes]
        for table in tables:
            nn.init.xavier_uniform_(table.weight)
        self.embeddings = nn.ModuleList(tables)

    def forward(self, x: Tensor) -> Tensor:
        """Looks up; see the class for shapes."""
        if not isinstance(x, Tensor) or x.is_floating_point() or x.dtype == torch.bool:
            got = x.dtype if isinstance(x, Tensor) else type(x).__name__
            raise TypeError(f"x must be an integer tensor, got {got}")
        if x.ndim != 2 or x.shape[1] != len(self.embeddings):
            raise ValueError(f"x must be (N, {len(self.embeddings)}), got {tuple(x.shape)}")
        columns = x.long().unbind(1)
        return _sum(
            embedding(column) for embedding, column in zip(self.embeddings, columns, strict=True)
        )


class RandomWalkEncoding(nn.Module):
    """How likely random walks are to be back at a node: normed over the batch, and mapped.

    Args:
        walk_length: Number of steps.
        channels: Width of the output.
        norm: Makes a norm of a width.

    Shapes:
        - batch: with ``random_walk_pe``, ``(N, walk_length)``, as ``transform`` stores it
        - output: ``(N, channels)``

    Raises:
        ValueError: If the batch lacks the attribute.

    Source: Rampášek et al., "Recipe for a General, Powerful, Scalable Graph Transformer", NeurIPS
        2022, which puts it beside the features of nodes; here it is added to them.
    """

    def __init__(
        self, walk_length: int, channels: int, norm: Callable[[int], nn.Module] = nn.BatchNorm1d
    ) -> None:
        super().__init__()
        self.walk_length = walk_length
        self.network = nn.Sequential(norm(walk_length), nn.Linear(walk_length, channels))

    def transform(self) -> AddRandomWalkPE:
        """What stores on graphs what this reads."""
        return AddRandomWalkPE(self.walk_length)

    def forward(self, batch: Any) -> Tensor:
        """Reads a batch; see the class for shapes."""
        encoded: Tensor = self.network(attribute(batch, "random_walk_pe"))
        return encoded


class LaplacianEncoding(nn.Module):
    """Eigenvectors of the graph's Laplacian, their signs drawn anew in training, and mapped.

    Args:
        k: Number of eigenvectors.
        channels: Width of the output.

    Shapes:
        - batch: with ``laplacian_eigenvector_pe``, ``(N, k)``, as ``transform`` stores it
        - output: ``(N, channels)``

    Raises:
        ValueError: If the batch lacks the attribute.

    Source: Dwivedi and Bresson, "A Generalization of Transformer Networks to Graphs", AAAI workshop
        2021; signs are those of ``graphattn.nn.RandomSignFlip``.
    """

    def __init__(self, k: int, channels: int) -> None:
        super().__init__()
        self.k = k
        self.flip, self.linear = RandomSignFlip(), nn.Linear(k, channels)

    def transform(self) -> AddLaplacianEigenvectorPE:
        """What stores on graphs what this reads."""
        return AddLaplacianEigenvectorPE(self.k)

    def forward(self, batch: Any) -> Tensor:
        """Reads a batch; see the class for shapes."""
        vectors = attribute(batch, "laplacian_eigenvector_pe")
        encoded: Tensor = self.linear(self.flip(vectors, getattr(batch, "batch", None)))
        return encoded


def attribute(batch: Any, name: str) -> Tensor:
    """An attribute of a batch; a ValueError names it if it is not there."""
    found: Tensor | None = getattr(batch, name, None)
    if found is None:
        raise ValueError(f"batch must have {name}, got {batch}")
    return found


def _sum(parts: Iterable[Tensor]) -> Tensor:
    first, *others = parts
    for other in others:
        if other.shape != first.shape:
            raise ValueError(
                f"parts must have one shape, got {tuple(first.shape)} and {tuple(other.shape)}"
            )
        first = first + other
    return first
