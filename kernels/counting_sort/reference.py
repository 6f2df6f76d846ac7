"""Grouping edges by the node at one end in plain PyTorch: the definition, and the way on a GPU."""

# Nothing here has the host wait for the device, and shapes follow from shapes alone.

from typing import NamedTuple

import torch
from torch import Tensor


class Groups(NamedTuple):
    """Edges grouped by the node at one end, their key; those of one key keep their order.

    Attributes:
        ptr: Edges of key ``i`` stand at ``ptr[i]:ptr[i + 1]``, ``(num_keys + 1,)``, int64.
        neighbor: The node at the other end of each edge, ``(E,)``, int32 where it and ``E`` fit.
        order: The position of each edge before it was grouped, ``(E,)``, of the same type.
    """

    ptr: Tensor
    neighbor: Tensor
    order: Tensor


class Transposed(NamedTuple):
    """Groups grouped anew by the other end; those of one key come in order of the old key.

    Attributes:
        ptr: See ``Groups``.
        neighbor: See ``Groups``.
        order: The position of each edge before it was grouped at all.
        twin: The position of each edge in the groups it was taken from, ``(E,)``, of the type of
            ``order``.
    """

    ptr: Tensor
    neighbor: Tensor
    order: Tensor
    twin: Tensor


def group_edges(key: Tensor, other: Tensor, num_keys: int, num_others: int) -> Groups:
    """Edges grouped by their keys, in the order in which they came."""
    # A GPU sorts by digits: half of them in half the time.
    key, order = key.to(position_type(num_keys, key.shape[0])).sort(stable=True)
    narrow = position_type(num_others, key.shape[0])
    return Groups(_ptr(key, num_keys), other.index_select(0, order).to(narrow), order.to(narrow))


def transpose(groups: Groups, num_others: int) -> Transposed:
    """Groups grouped anew by their neighbors."""
    num_keys, num_edges = groups.ptr.shape[0] - 1, groups.neighbor.shape[0]
    key = torch.arange(num_keys, device=groups.ptr.device)
    key = key.repeat_interleave(groups.ptr.diff(), output_size=num_edges)
    neighbor, twin = groups.neighbor.sort(stable=True)
    narrow = position_type(num_keys, num_edges)
    return Transposed(
        _ptr(neighbor, num_others),
        key.index_select(0, twin).to(narrow),
        groups.order.index_select(0, twin).to(narrow),
        twin.to(narrow),
    )


def position_type(num_nodes: int, num_edges: int) -> torch.dtype:
    """The type of nodes and positions: int32 where both fit."""
    fits = max(num_nodes, num_edges) <= torch.iinfo(torch.int32).max
    return torch.int32 if fits else torch.int64


def _ptr(sorted_key: Tensor, num_keys: int) -> Tensor:
    keys = torch.arange(num_keys + 1, dtype=sorted_key.dtype, device=sorted_key.device)
    return torch.searchsorted(sorted_key, keys)
