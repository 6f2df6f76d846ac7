"""Remembers the structures of edge lists that are used again, such as one graph's at each epoch."""

import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.weak import WeakIdKeyDictionary

from graphattn.edges import Edges

_LIMIT = 16  # structures; a training loop has a few, a loader of fresh batches none worth keeping

_Key = tuple[int, int, int, str, bool]
_remembered: "OrderedDict[_Key, tuple[weakref.ref[Tensor], int, Edges]]" = OrderedDict()
# Reentrant: a tensor may be freed, and its structure forgotten, while this thread holds the lock.
_lock = threading.RLock()

# What operators made of tensors, by the first and then by the last of them; forgotten with either.
_of_operators: Any = WeakIdKeyDictionary()


def edges_of(
    edge_index: Tensor,
    num_sources: int,
    num_targets: int,
    *,
    flow: str = "source_to_target",
    self_loops: bool = False,
) -> Edges:
    """The structure of an edge list; the same object as long as the list is the same.

    A structure is found again by the identity and the version of its tensor: another tensor, or one
    changed in place, is sorted and checked anew. Writing through ``.data`` or ``.numpy()`` does not
    count as a change to PyTorch and goes unseen; the structure then is the old one, and safe. So
    does what a compiler writes: operators have ``structure_of``.

    Args:
        edge_index: ``(2, E)``, integer.
        num_sources: Number of sources.
        num_targets: Number of targets.
        flow: See ``Edges.from_edge_index``.
        self_loops: See ``Edges.from_edge_index``.

    Raises:
        TypeError, ValueError, IndexError: See ``Edges.from_edge_index``.
    """
    if not isinstance(edge_index, Tensor) or edge_index.is_inference():
        # An inference tensor has no version, so a change to it could not be noticed.
        return Edges.from_edge_index(
            edge_index, num_sources, num_targets, flow=flow, self_loops=self_loops
        )
    key = (id(edge_index), num_sources, num_targets, flow, self_loops)
    version = edge_index._version
    with _lock:
        found = _remembered.get(key)
        if found is not None and found[0]() is edge_index and found[1] == version:
            _remembered.move_to_end(key)
            return found[2]
    edges = Edges.from_edge_index(
        edge_index, num_sources, num_targets, flow=flow, self_loops=self_loops
    )
    with _lock:
        _remembered[key] = (weakref.ref(edge_index, lambda _: _forget(key)), version, edges)
        _remembered.move_to_end(key)
        while len(_remembered) > _LIMIT:
            _remembered.popitem(last=False)
    return edges


def structure_of(tensors: Sequence[Tensor], key: Hashable, make: Callable[[], Any]) -> Any:
    """What an operator makes of tensors; the same object as long as they hold the same numbers.

    A compiler writes to memory that a graph has no more use for, through the same tensor and
    without counting it as a change. So the numbers are compared, which costs little beside sorting.

    Args:
        tensors: One or two.
        key: What else it depends on.
        make: Makes it.
    """
    of_first = _of_operators.setdefault(tensors[0], WeakIdKeyDictionary())
    known = of_first.setdefault(tensors[-1], {})
    copies, made = known.get(key, (None, None))
    if copies is None or not all(map(torch.equal, copies, tensors)):
        copies, made = [x.clone() for x in tensors], make()
        known[key] = (copies, made)
    return made


def _forget(key: _Key) -> None:
    with _lock:
        _remembered.pop(key, None)
