"""Edges as they were given, for graphs of operators: sorted and checked when an operator runs."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from graphattn.dropout import Draw, dropout_mask, kept_factor
from graphattn.edges import Edges
from graphattn.kernels.edge_attention.rows import Rows
from graphattn.structure_memory import structure_of

# Of operators that look at the numbers of a structure, which those in a CUDA graph cannot do.
READS = torch.Tag.cudagraph_unsafe
_LOOPS = " with self-loops"  # behind the flow, as the kind of a list


@dataclass(frozen=True)
class EdgeList:
    """What an operator needs to know of a structure, as tensors, numbers and a word.

    Attributes:
        ends: PyG's ``edge_index``, ``(2, E)``; or the sources and the targets of an ``Edges``,
            ``(E,)`` each, int64.
        num_sources: Number of sources.
        num_targets: Number of targets.
        flow: See ``Edges.from_edge_index``.
        self_loops: Whether every node gets one loop, in place of those that were given. How many
            edges there are is then known only when the operator runs.
    """

    ends: Sequence[Tensor]
    num_sources: int
    num_targets: int
    flow: str = "source_to_target"
    self_loops: bool = False

    @classmethod
    def of(cls, edges: Edges) -> "EdgeList":
        """All edges of a structure, its loops among them."""
        return cls([edges.source, edges.target], edges.num_sources, edges.num_targets)

    @property
    def num_edges(self) -> int:
        """``E``.

        Raises:
            ValueError: If loops are added.
        """
        if self.self_loops:
            raise ValueError("num_edges of a list that loops are added to is known at run time")
        return self.max_edges

    @property
    def max_edges(self) -> int:
        """``E``; if loops are added, the most that it may be."""
        num_loops = min(self.num_sources, self.num_targets) if self.self_loops else 0
        return self.ends[0].shape[-1] + num_loops

    @property
    def device(self) -> torch.device:
        """Where the edges lie."""
        return self.ends[0].device

    @property
    def has_own_loops(self) -> bool:
        """Whether the structure brings its own self-loops in place of given ones."""
        return self.self_loops

    def arguments(self) -> tuple[list[Tensor], list[int], str]:
        """What operators take: ends, numbers of sources and targets, flow and loops."""
        kind = self.flow + _LOOPS * self.self_loops
        return list(self.ends), [self.num_sources, self.num_targets], kind

    @classmethod
    def from_arguments(cls, ends: Sequence[Tensor], sizes: Sequence[int], kind: str) -> "EdgeList":
        """The list whose ``arguments`` these are.

        Raises:
            ValueError: If there are not two sizes.
        """
        if len(sizes) != 2:
            raise ValueError(f"sizes must be the numbers of sources and targets, got {list(sizes)}")
        num_sources, num_targets = sizes
        flow, has_loops = kind.removesuffix(_LOOPS), kind.endswith(_LOOPS)
        return cls(ends, num_sources, num_targets, flow, has_loops)

    def select_given(self, edge_attr: Tensor) -> Tensor:
        """See ``Edges.select_given``; for a list that no loops are added to."""
        if edge_attr.ndim == 0 or edge_attr.shape[0] != self.num_edges:
            raise ValueError(
                f"edge_attr must have one row for each of the {self.num_edges} edges of"
                f" edge_index, got shape {tuple(edge_attr.shape)}"
            )
        return edge_attr

    def extend(self, edge_attr: Tensor, fill_value: float | Tensor | str | None = "mean") -> Tensor:
        """See ``Edges.extend``; for a list that no loops are added to."""
        return self.select_given(edge_attr)

    def structure(self) -> Edges:
        """The structure; the same object as long as the tensors hold the same numbers.

        Raises:
            TypeError, ValueError, IndexError: See ``Edges.from_edge_index``.
        """
        sizes = (self.num_sources, self.num_targets)
        how: dict[str, Any] = {"flow": self.flow, "self_loops": self.self_loops}

        def made() -> Edges:
            is_whole = len(self.ends) == 1
            edge_index = self.ends[0] if is_whole else torch.stack(list(self.ends))
            return Edges.from_edge_index(edge_index, *sizes, **how)

        found: Edges = structure_of(self.ends, (*sizes, *how.values()), made)
        return found


class EdgesInGraph(Edges):
    """The same structure inside a graph of operators, where one of them does the sorting.

    Args:
        edges: The structure.
    """

    def __init__(self, edges: Edges) -> None:
        self.source, self.target, self._kept = edges.source, edges.target, edges._kept
        self.num_sources, self.num_targets = edges.num_sources, edges.num_targets
        self.num_given, self.num_loops, self.flow = edges.num_given, edges.num_loops, edges.flow

    @property
    def by_target(self) -> Rows:
        return Rows(*group_by_target(*EdgeList.of(self).arguments()))


def draw_mask(edges: EdgeList, num_heads: int, probability: float) -> Draw:
    """The mask of dropout for the weights of all edges, and its factor, inside a graph.

    The weights that are dropped are those that ``F.dropout`` drops for the same seed.

    Raises:
        ValueError: If the probability does not lie in [0, 1].
    """
    factor = kept_factor(probability)
    if probability == 0:
        return None, factor
    return drop_weights(*edges.arguments(), num_heads, probability), factor


@torch.library.custom_op(
    "graphattn::dropout_mask",
    mutates_args=(),
    tags=(torch.Tag.nondeterministic_seeded, READS),
)
def drop_weights(
    ends: Sequence[Tensor],
    sizes: Sequence[int],
    kind: str,
    num_heads: int,
    probability: float,
) -> Tensor:
    """Which weights of the edges of a list dropout keeps.

    Args:
        ends: See ``EdgeList.arguments``.
        sizes: See there.
        kind: See there.
        num_heads: ``H``.
        probability: Of a weight to be dropped.

    Returns:
        1 where a weight is kept, uint8, ``(E, H)``; where loops are added, with zeros behind, up to
        the most edges that there may be.
    """
    edges = EdgeList.from_arguments(ends, sizes, kind)
    num_edges = edges.structure().num_edges if edges.self_loops else edges.num_edges
    keep, _ = dropout_mask((num_edges, num_heads), probability, edges.device)
    if keep is None:
        keep = torch.ones(num_edges, num_heads, dtype=torch.uint8, device=edges.device)
    return torch.cat([keep, keep.new_zeros(edges.max_edges - num_edges, num_heads)])


@drop_weights.register_fake
def _(
    ends: Sequence[Tensor],
    sizes: Sequence[int],
    kind: str,
    num_heads: int,
    probability: float,
) -> Tensor:
    edges = EdgeList.from_arguments(ends, sizes, kind)
    return ends[0].new_empty((edges.max_edges, num_heads), dtype=torch.uint8)


@torch.library.custom_op("graphattn::group_by_target", mutates_args=(), tags=READS)
def group_by_target(
    ends: Sequence[Tensor], sizes: Sequence[int], kind: str
) -> tuple[Tensor, Tensor, Tensor]:
    """The edges into each target, of a list that no loops are added to.

    Args:
        ends: See ``EdgeList.arguments``.
        sizes: See there.
        kind: See there.

    Returns:
        ``ptr``, ``neighbor`` and ``order`` of ``Rows``, int64.
    """
    rows = EdgeList.from_arguments(ends, sizes, kind).structure().by_target
    # Copies: a graph may write to what an operator has made for it.
    return tuple(x.to(torch.int64, copy=True) for x in (rows.ptr, rows.neighbor, rows.order))  # type: ignore[return-value]


@group_by_target.register_fake
def _(ends: Sequence[Tensor], sizes: Sequence[int], kind: str) -> tuple[Tensor, Tensor, Tensor]:
    edges = EdgeList.from_arguments(ends, sizes, kind)
    lengths = (edges.num_targets + 1, edges.num_edges, edges.num_edges)
    ptr, neighbor, order = (ends[0].new_empty(length, dtype=torch.int64) for length in lengths)
    return ptr, neighbor, order
