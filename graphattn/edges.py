"""Which sources each target attends to: a sparse structure, built once and reused."""

import operator
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch_geometric import EdgeIndex
from torch_geometric.utils import scatter

from graphattn.kernels.counting_sort import Groups, group_edges, transpose
from graphattn.kernels.edge_attention.rows import Rows
from graphattn.kernels.edge_list import check_indices, copy_edges, drop_loops
from graphattn.transforms import outside_transforms

_INDEX_DTYPES = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)
_REDUCTIONS = ("mean", "sum", "add", "min", "max", "amin", "amax", "mul", "any")
_FLOWS = ("source_to_target", "target_to_source")


class Edges:
    """A sparse structure over which targets attend to sources.

    Sources and targets may be the same nodes or two sets of nodes (bipartite). The edges keep the
    order in which they were given; self-loops that the structure adds come last. Everything is
    checked once, here, and the structure holds copies of its own, so that nothing which is done to
    ``edge_index`` afterwards can reach a kernel.

    Build one with ``Edges.from_edge_index`` or ``Edges.from_data``.

    Attributes:
        source: Source of each edge, ``(E,)``, int64.
        target: Target of each edge, ``(E,)``, int64.
        num_sources: Number of sources.
        num_targets: Number of targets.
        num_given: Number of edges that were given.
        num_loops: Number of self-loops that were added; they are the last edges.
    """

    source: Tensor
    target: Tensor

    @outside_transforms
    def __init__(
        self,
        edge_index: Tensor,
        num_sources: int,
        num_targets: int,
        *,
        flow: str = "source_to_target",
        self_loops: bool = False,
    ) -> None:
        if flow not in _FLOWS:
            raise ValueError(f"flow must be one of {_FLOWS}, got {flow!r}")
        num_sources, num_targets = (
            _size("num_sources", num_sources),
            _size("num_targets", num_targets),
        )
        _check_edge_index(edge_index)
        if num_sources < 0 or num_targets < 0:
            raise ValueError(
                "num_sources and num_targets must not be negative, got"
                f" {num_sources}, {num_targets}"
            )
        rows = edge_index.detach().to(torch.int64)
        names, sizes = _ends(num_sources, num_targets, flow)
        self.flow = flow
        self.num_sources, self.num_targets = num_sources, num_targets
        self.num_given = edge_index.shape[1]
        self.num_loops = min(num_sources, num_targets) if self_loops else 0
        # Positions of the given edges that are kept: a loop that was given is replaced by ours.
        self._kept: Tensor | None = None
        if self_loops:
            check_indices(rows[0], rows[1], *sizes, names=names)
            own, self._kept = drop_loops(rows[0], rows[1], room=self.num_loops)
            own[:, self._kept.shape[0] :] = torch.arange(self.num_loops, device=own.device)
        else:
            own = copy_edges(rows[0], rows[1], *sizes, names=names)
        self.source, self.target = own if flow == "source_to_target" else (own[1], own[0])

    @classmethod
    def from_edge_index(
        cls,
        edge_index: Tensor,
        num_sources: int | None = None,
        num_targets: int | None = None,
        *,
        flow: str = "source_to_target",
        self_loops: bool = False,
    ) -> "Edges":
        """Builds a structure from PyG's edge list.

        Args:
            edge_index: ``(2, E)``, integer: row 0 holds sources, row 1 targets. A
                ``torch_geometric.EdgeIndex`` brings its sizes with it.
            num_sources: Number of sources; without it, as many as ``edge_index`` needs.
            num_targets: Number of targets; without it, ``num_sources``.
            flow: ``"target_to_source"`` swaps the meaning of the two rows, as in PyG.
            self_loops: Gives every node one loop, in place of those that were given. Between two
                sets of nodes, node ``i`` of one is linked to node ``i`` of the other.

        Raises:
            TypeError: If ``edge_index`` is no integer tensor.
            ValueError: If its shape is not ``(2, E)`` or a size is negative.
            IndexError: If an index is negative or too large.
        """
        _check_edge_index(edge_index)
        if isinstance(edge_index, EdgeIndex):
            sizes = edge_index.sparse_size()
            sizes = sizes if flow == "source_to_target" else sizes[::-1]
            num_sources = sizes[0] if num_sources is None else num_sources
            num_targets = sizes[1] if num_targets is None else num_targets
            edge_index = edge_index.as_tensor()
        if num_sources is None:
            num_sources = int(edge_index.max()) + 1 if edge_index.numel() else num_targets or 0
        num_targets = num_sources if num_targets is None else num_targets
        return cls(edge_index, num_sources, num_targets, flow=flow, self_loops=self_loops)

    @classmethod
    def from_data(cls, data: Any, *, self_loops: bool = False) -> "Edges":
        """Builds the structure of a ``torch_geometric.data.Data`` or one of its edge stores.

        Args:
            data: Anything with ``edge_index`` and ``num_nodes``, such as ``Data`` or ``Batch``, or
                with ``edge_index`` and ``size()``, such as ``hetero_data["author", "paper"]``.
            self_loops: See ``from_edge_index``.
        """
        if getattr(data, "edge_index", None) is None:
            raise ValueError(f"data must have an edge_index, got {data}")
        if getattr(data, "num_nodes", None) is not None:
            sizes = (data.num_nodes, data.num_nodes)
        else:
            sizes = data.size()
        return cls.from_edge_index(data.edge_index, *sizes, self_loops=self_loops)

    @property
    def has_own_loops(self) -> bool:
        """Whether the structure brought its own self-loops in place of given ones."""
        return self._kept is not None

    @property
    def num_edges(self) -> int:
        """``E``, self-loops included."""
        return int(self.source.shape[0])

    @property
    def device(self) -> torch.device:
        """Where the structure lies."""
        return self.source.device

    @property
    def edge_index(self) -> Tensor:
        """All edges as PyG has them, ``(2, E)``, int64: given ones first, added loops last."""
        ends = (self.source, self.target)
        return torch.stack(ends if self.flow == "source_to_target" else ends[::-1])

    @cached_property
    @outside_transforms
    def by_target(self) -> Rows:
        """The edges into each target."""
        return Rows(*group_edges(self.target, self.source, self.num_targets, self.num_sources))

    @cached_property
    @outside_transforms
    def by_source(self) -> Rows:
        """The edges out of each source, in order of their targets."""
        rows = self.by_target
        groups = transpose(Groups(rows.ptr, rows.neighbor, rows.order), self.num_sources)
        return Rows(groups.ptr, groups.neighbor, groups.order, groups.twin)

    def select_given(self, edge_attr: Tensor) -> Tensor:
        """Those rows of a feature of the given edges that belong to edges of the structure.

        Args:
            edge_attr: ``(num_given, ...)``.

        Returns:
            ``(E - num_loops, ...)``.
        """
        if edge_attr.ndim == 0 or edge_attr.shape[0] != self.num_given:
            raise ValueError(
                f"edge_attr must have one row for each of the {self.num_given} edges of"
                f" edge_index, got shape {tuple(edge_attr.shape)}"
            )
        return edge_attr if self._kept is None else edge_attr[self._kept]

    def extend(self, edge_attr: Tensor, fill_value: float | Tensor | str | None = "mean") -> Tensor:
        """Features for all edges from features of the given ones.

        Args:
            edge_attr: ``(num_given, ...)``.
            fill_value: Features of the added loops, as in PyG: a number, a tensor, ``None`` for
                ones, or ``"mean"``, ``"add"``, ``"min"``, ``"max"``, ``"mul"`` of the features of
                the other edges at the node (those with the node in the second row of
                ``edge_index``, whatever the flow).

        Returns:
            ``(E, ...)``, in the order of the structure.
        """
        kept = self.select_given(edge_attr)
        if self.num_loops == 0:
            return kept
        _check_fill_value(fill_value, kept)
        shape = (self.num_loops, *kept.shape[1:])
        if isinstance(fill_value, str):
            second = self.target if self.flow == "source_to_target" else self.source
            size = self.num_targets if self.flow == "source_to_target" else self.num_sources
            loops = scatter(kept, second[: kept.shape[0]], 0, size, reduce=fill_value)
            loops = loops[: self.num_loops]
        elif isinstance(fill_value, Tensor):
            loops = fill_value.to(kept)
            loops = loops.unsqueeze(0) if loops.ndim != kept.ndim else loops
            try:
                loops = loops.expand(shape)
            except RuntimeError as error:
                raise ValueError(
                    f"fill_value must have one value for each feature, {tuple(kept.shape[1:])}, got"
                    f" {tuple(fill_value.shape)}"
                ) from error
        else:
            loops = kept.new_full(shape, 1.0 if fill_value is None else fill_value)
        return torch.cat([kept, loops])

    @outside_transforms
    def to(self, device: torch.device | str) -> "Edges":
        """The same structure on another device; itself if it lies there."""
        device = torch.device(device)
        if device == self.device:
            return self
        moved = object.__new__(Edges)
        moved.__dict__.update(self.__dict__)
        for name in ("by_target", "by_source"):  # sorted anew where they are needed
            moved.__dict__.pop(name, None)
        for name in ("source", "target", "_kept"):
            tensor = getattr(self, name)
            setattr(moved, name, None if tensor is None else tensor.to(device))
        return moved

    def __repr__(self) -> str:
        loops = f", {self.num_loops} self-loops" if self.num_loops else ""
        return (
            f"Edges({self.num_edges} edges from {self.num_sources} sources to"
            f" {self.num_targets} targets{loops})"
        )


def _size(name: str, size: Any) -> int:
    try:
        return operator.index(size)
    except TypeError as error:
        raise TypeError(f"{name} must be an int, got {type(size).__name__}") from error


def _check_fill_value(fill_value: Any, edge_attr: Tensor) -> None:
    if isinstance(fill_value, str) and fill_value not in _REDUCTIONS:
        raise ValueError(f"fill_value must be one of {_REDUCTIONS}, got {fill_value!r}")
    if not (fill_value is None or isinstance(fill_value, str | Tensor | int | float)):
        got = type(fill_value).__name__
        raise TypeError(f"fill_value must be a number, a tensor, a string or None, got {got}")


def _check_edge_index(edge_index: Tensor) -> None:
    if not isinstance(edge_index, Tensor) or edge_index.dtype not in _INDEX_DTYPES:
        got = edge_index.dtype if isinstance(edge_index, Tensor) else type(edge_index).__name__
        raise TypeError(f"edge_index must be an integer tensor, got {got}")
    if edge_index.layout != torch.strided:
        raise TypeError(f"edge_index must be a dense (2, E) tensor, got {edge_index.layout}")
    if edge_index.ndim != 2 or edge_index.shape[0] != 2:
        raise ValueError(f"edge_index must be (2, E), got {tuple(edge_index.shape)}")


def _ends(num_sources: int, num_targets: int, flow: str) -> tuple[tuple[str, str], tuple[int, int]]:
    """What the two rows of an edge list hold, as an error says it, and how many there are."""
    ends = [("source", num_sources), ("target", num_targets)]
    (first, num_first), (second, num_second) = ends if flow == "source_to_target" else ends[::-1]
    names = (f"edge_index[0] holds {first} nodes and", f"edge_index[1] holds {second} nodes and")
    return names, (num_first, num_second)
