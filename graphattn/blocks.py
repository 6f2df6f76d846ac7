"""All pairs inside each set: the structure of attention on sets, without padding."""

import functools
import operator
from collections.abc import Callable
from functools import cached_property
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor
from torch.nn import functional as F

from graphattn.edges import Edges
from graphattn.kernels.edge_attention.rows import Rows
from graphattn.transforms import outside_transforms

_Method = TypeVar("_Method", bound=Callable[..., Any])


def _kept(make: _Method) -> _Method:
    """Marks a method whose result a structure keeps: layers ask at each call.

    A graph of operators makes it where it is used, and keeps nothing.
    """
    outside = outside_transforms(make)

    @functools.wraps(make)
    def get(blocks: "Blocks", *arguments: int) -> Any:
        if torch.compiler.is_compiling():
            return make(blocks, *arguments)
        key = (make.__name__, *arguments)
        if key not in blocks._made:
            blocks._made[key] = outside(blocks, *arguments)
        return blocks._made[key]

    return get  # type: ignore[return-value]


class _End(NamedTuple):
    """The queries of all sets, or the keys: borders, number, the most of a set, sum of squares."""

    ptr: Tensor
    rows: int
    most: int
    squares: int


class Blocks:
    """Sets whose queries each attend to every key of their set.

    Queries and keys may be the same elements or not (cross-attention). Only the borders of the sets
    are kept, never the pairs: their number grows with the squares of the sets' sizes. Pairs are
    counted query by query, the keys of a query in order; inputs and results of role ``edge`` have
    one row for each pair in that order, ``(P, ...)``.

    Build one with ``Blocks.from_ptr`` or ``Blocks.from_batch``. To ``EdgeAttention`` queries are
    targets and keys are sources.

    Attributes:
        target_ptr: Queries of set ``s`` stand at ``target_ptr[s]:target_ptr[s + 1]``, ``(S + 1,)``,
            int64.
        source_ptr: Likewise for keys.
        num_targets: Number of queries.
        num_sources: Number of keys.
        num_edges: Number of pairs, ``P``.
        most_targets: Number of queries of the set that has most; 0 without sets.
        most_sources: Likewise for keys.
        most_pairs: Likewise for pairs.
    """

    @outside_transforms
    def __init__(self, target_ptr: Tensor, source_ptr: Tensor) -> None:
        _check_ptr("target_ptr", target_ptr)
        _check_ptr("source_ptr", source_ptr)
        if target_ptr.shape != source_ptr.shape or target_ptr.device != source_ptr.device:
            raise ValueError(
                "target_ptr and source_ptr must have one set each on one device, got"
                f" {tuple(target_ptr.shape)} on {target_ptr.device} and"
                f" {tuple(source_ptr.shape)} on {source_ptr.device}"
            )
        sizes = F.pad(torch.stack([target_ptr, source_ptr]).diff(), (0, 1))  # (2, S + 1), zero last
        pairs, squares = sizes.prod(0), sizes.square().sum(1)
        of_ends = [target_ptr[-1], source_ptr[-1], *sizes.amax(1), *squares]
        counts = torch.stack([*of_ends, pairs.sum(), pairs.max()]).tolist()  # waits only once
        # Copies, so that nothing which is done to the caller's tensors later can reach a kernel.
        ends = (ptr.clone() for ptr in (target_ptr, source_ptr))
        targets, sources = (_End(ptr, *counts[own:6:2]) for own, ptr in enumerate(ends))
        self._fill(targets, sources, *counts[6:])

    def _fill(self, targets: "_End", sources: "_End", num_pairs: int, most_pairs: int) -> None:
        self._targets, self._sources = targets, sources
        self.target_ptr, self.source_ptr = targets.ptr, sources.ptr
        self.num_targets, self.num_sources = targets.rows, sources.rows
        self.most_targets, self.most_sources = targets.most, sources.most
        self.num_edges, self.most_pairs = num_pairs, most_pairs
        self._made: dict[Any, Any] = {}

    @staticmethod
    def _of_known(targets: "_End", sources: "_End", num_pairs: int, most_pairs: int) -> "Blocks":
        """A structure whose borders follow from another's, and need no check."""
        made = Blocks.__new__(Blocks)
        made._fill(targets, sources, num_pairs, most_pairs)
        return made

    @classmethod
    def from_ptr(cls, ptr: Tensor, source_ptr: Tensor | None = None) -> "Blocks":
        """Builds a structure from the borders of the sets, such as ``Batch.ptr``.

        Args:
            ptr: Of the queries, ``(S + 1,)``, int64, rising from 0; sets may be empty.
            source_ptr: Of the keys; without it, the keys are the queries.

        Raises:
            TypeError: If one is not int64.
            ValueError: If one is no such vector, or there are not as many sets in both.
        """
        return cls(ptr, ptr if source_ptr is None else source_ptr)

    @classmethod
    @outside_transforms
    def from_batch(
        cls, batch: Tensor, source_batch: Tensor | None = None, num_sets: int | None = None
    ) -> "Blocks":
        """Builds a structure from the set of each element, such as ``Batch.batch``.

        Args:
            batch: Set of each query, ``(N,)``, int64, not falling.
            source_batch: Set of each key; without it, the keys are the queries.
            num_sets: ``S``; without it, as many as there are in ``batch`` and ``source_batch``.

        Raises:
            TypeError: If one is not int64.
            ValueError: If one is no vector, is not sorted, or has a set outside of 0 to ``S - 1``,
                or ``num_sets`` is negative.
        """
        if num_sets is not None and operator.index(num_sets) < 0:
            raise ValueError(f"num_sets must not be negative, got {num_sets}")
        given = {"batch": batch} | ({} if source_batch is None else {"source_batch": source_batch})
        last = max([_last_set(name, x) for name, x in given.items()])
        if num_sets is None:
            num_sets = last + 1
        elif last >= num_sets:
            raise ValueError(f"batch must lie in [0, num_sets = {num_sets}), got {last}")
        borders = torch.arange(num_sets + 1, device=batch.device)
        return cls.from_ptr(*(torch.searchsorted(x.contiguous(), borders) for x in given.values()))

    @property
    def num_sets(self) -> int:
        """``S``."""
        return self.target_ptr.shape[0] - 1

    @cached_property
    def target_sizes(self) -> list[int]:
        """Number of queries of each set."""
        return [int(size) for size in self.target_ptr.diff().tolist()]

    @cached_property
    def source_sizes(self) -> list[int]:
        """Number of keys of each set."""
        return [int(size) for size in self.source_ptr.diff().tolist()]

    @property
    def device(self) -> torch.device:
        """Where the structure lies."""
        return self.target_ptr.device

    @property
    @_kept
    def by_target(self) -> Rows:
        """The pairs of each query."""
        return self._rows()

    @property
    @_kept
    def by_source(self) -> Rows:
        """The pairs of each key."""
        return self.transposed()._rows(of_targets=self.by_target.ptr)

    def _rows(self, of_targets: Tensor | None = None) -> Rows:
        """The pairs of each query, or of each key if this is the transposed structure."""
        ptr, other_ptr, num_rows = self.target_ptr, self.source_ptr, self.num_targets
        every = torch.arange(num_rows, device=ptr.device)
        own = torch.arange(self.num_sets, device=ptr.device)
        of_row = own.repeat_interleave(ptr.diff(), output_size=num_rows)  # the set of each element
        counts = other_ptr.diff()[of_row]
        return Rows(
            ptr=torch.cat([counts.new_zeros(1), counts.cumsum(0)]),
            neighbor=other_ptr[of_row],
            order=every - ptr[of_row],
            twin=of_targets,
            num_pairs=self.num_edges,
        )

    @property
    def target(self) -> Tensor:
        """The query of each pair, ``(P,)``, int64; made anew at each use."""
        counts = self.by_target.ptr.diff()
        every = torch.arange(self.num_targets, device=self.device)
        return every.repeat_interleave(counts, output_size=self.num_edges)

    @property
    def source(self) -> Tensor:
        """The key of each pair, ``(P,)``, int64; made anew at each use."""
        rows, target = self.by_target, self.target
        every = torch.arange(self.num_edges, device=self.device)
        return rows.neighbor[target] + every - rows.ptr[target]

    @_kept
    def transposed(self) -> "Blocks":
        """Keys as queries and queries as keys."""
        return self._of_known(self._sources, self._targets, self.num_edges, self.most_pairs)

    @_kept
    def among_targets(self) -> "Blocks":
        """The queries of each set over themselves."""
        own = self._targets
        return self._of_known(own, own, own.squares, own.most**2)

    def seeds(self, count: int) -> "Blocks":
        """As many queries for each set as said, over the queries of this structure as keys.

        Args:
            count: Queries of each set.

        Raises:
            TypeError: If ``count`` is no whole number.
            ValueError: If it is negative.
        """
        if operator.index(count) < 0:
            raise ValueError(f"count must not be negative, got {count}")
        return self._seeds(operator.index(count))

    @_kept
    def _seeds(self, count: int) -> "Blocks":
        borders = torch.arange(self.num_sets + 1, device=self.device) * count
        most = count if self.num_sets else 0
        seeds = _End(borders, self.num_sets * count, most, self.num_sets * count**2)
        keys = self._targets
        return self._of_known(seeds, keys, keys.rows * count, keys.most * count)

    @outside_transforms
    def edges(self) -> Edges:
        """The same structure as a list of all pairs, which the plain definition runs on."""
        index = torch.stack([self.source, self.target])
        return Edges.from_edge_index(index, self.num_sources, self.num_targets)

    def to(self, device: torch.device | str) -> "Blocks":
        """The same structure on another device; itself if it lies there."""
        device = torch.device(device)
        if device == self.device:
            return self
        return Blocks(self.target_ptr.to(device), self.source_ptr.to(device))

    def __repr__(self) -> str:
        return (
            f"Blocks({self.num_sets} sets, {self.num_targets} queries, {self.num_sources} keys,"
            f" {self.num_edges} pairs)"
        )


def as_edges(edges: Edges | Blocks) -> Edges:
    """A structure as a list of edges, for what runs on lists alone."""
    return edges.edges() if isinstance(edges, Blocks) else edges


def _check_ptr(name: str, ptr: Tensor) -> None:
    if not isinstance(ptr, Tensor) or ptr.dtype != torch.int64:
        got = ptr.dtype if isinstance(ptr, Tensor) else type(ptr).__name__
        raise TypeError(f"{name} must be an int64 tensor, got {got}")
    if ptr.ndim != 1 or ptr.shape[0] == 0:
        raise ValueError(f"{name} must be (S + 1,), got {tuple(ptr.shape)}")
    if int(ptr[0]) != 0 or bool((ptr.diff() < 0).any()):
        raise ValueError(f"{name} must rise from 0, got {ptr.tolist()[:8]} …")


def _last_set(name: str, batch: Tensor) -> int:
    if not isinstance(batch, Tensor) or batch.dtype != torch.int64:
        got = batch.dtype if isinstance(batch, Tensor) else type(batch).__name__
        raise TypeError(f"{name} must be an int64 tensor, got {got}")
    if batch.ndim != 1:
        raise ValueError(f"{name} must be (N,), got {tuple(batch.shape)}")
    if batch.numel() == 0:
        return -1
    if bool((batch.diff() < 0).any()) or int(batch[0]) < 0:
        raise ValueError(
            f"{name} must not be negative nor fall: sort the elements by their set first"
            f" (order = {name}.argsort(stable=True)), got {batch.tolist()[:8]} …"
        )
    return int(batch[-1])
