"""Grouping edges by the node at one of their ends: checks and the choice of how to do it."""

import torch
from torch import Tensor

from graphattn.kernels.counting_sort import cpu, reference
from graphattn.kernels.counting_sort.reference import Groups, Transposed
from graphattn.kernels.cpp.fallback import can_compile
from graphattn.kernels.edge_list.op import assert_in_range, check_indices
from graphattn.kernels.segment_reduce.op import check_ptr

_INDEX_DTYPES = (torch.int64, torch.int32)


def group_edges(
    key: Tensor,
    other: Tensor,
    num_keys: int,
    num_others: int,
    *,
    names: tuple[str, str] = ("key", "other"),
) -> Groups:
    """Groups edges by the node at one end; edges of one node keep their order.

    It takes a time that grows with ``E + num_keys``, and gives the same for any number of threads.
    On a GPU the edges are sorted, and nothing waits for the device: nodes out of range are found
    there, see ``assert_in_range``.

    Args:
        key: The end that groups, ``(E,)``, int64 or int32.
        other: The other end, ``(E,)``, of the same type.
        num_keys: Number of nodes at the end that groups.
        num_others: Number of nodes at the other end.
        names: How an error names the two ends.

    Returns:
        The groups; without edges, all of them are empty.

    Raises:
        TypeError: If the ends are not both int64 or both int32.
        ValueError: If they are not two vectors of one length on one device, or a size is negative.
        IndexError: If a node is negative or too large.
    """
    if key.dtype not in _INDEX_DTYPES or other.dtype != key.dtype:
        raise TypeError(
            f"key and other must be both int64 or both int32, got {key.dtype} and {other.dtype}"
        )
    if key.ndim != 1 or key.shape != other.shape or key.device != other.device:
        got = f"{tuple(key.shape)} on {key.device} and {tuple(other.shape)} on {other.device}"
        raise ValueError(f"key and other must both be (E,) on one device, got {got}")
    if min(num_keys, num_others) < 0:
        raise ValueError(
            f"num_keys and num_others must not be negative, got {num_keys}, {num_others}"
        )
    if can_compile(key, other):
        groups = cpu.group_edges(key.contiguous(), other.contiguous(), num_keys, num_others)
        if groups is not None:
            return groups
    check_indices(key.long(), other.long(), num_keys, num_others, names=names)
    return reference.group_edges(key, other, num_keys, num_others)


def transpose(groups: Groups, num_others: int) -> Transposed:
    """Groups grouped edges by their other end; edges of one node come in order of the old key.

    Args:
        groups: From ``group_edges``.
        num_others: Number of nodes at the other end.

    Returns:
        The new groups. ``order`` is the position before the first grouping, ``twin`` after it.

    Raises:
        TypeError: If ``neighbor`` and ``order`` are not both int64 or both int32, or ``ptr`` is not
            int64.
        ValueError: If the shapes or devices of ``groups`` do not fit, or ``ptr`` does not rise from
            0 to ``E``.
        IndexError: If a neighbor is negative or too large.
    """
    ptr, neighbor, order = groups
    if neighbor.dtype not in _INDEX_DTYPES or order.dtype != neighbor.dtype:
        raise TypeError(
            "neighbor and order must be both int64 or both int32, got"
            f" {neighbor.dtype} and {order.dtype}"
        )
    if ptr.dtype != torch.int64:
        raise TypeError(f"ptr must be int64, got {ptr.dtype}")
    shapes = (tuple(ptr.shape), tuple(neighbor.shape), tuple(order.shape))
    fits = ptr.ndim == neighbor.ndim == 1 and neighbor.shape == order.shape and len(ptr) > 0
    if not fits or not (ptr.device == neighbor.device == order.device):
        raise ValueError(
            f"groups must have ptr (num_keys + 1,), neighbor (E,), order (E,) on one device, got"
            f" {shapes} on {ptr.device}, {neighbor.device}, {order.device}"
        )
    if can_compile(ptr, neighbor, order):
        own = Groups(ptr.contiguous(), neighbor.contiguous(), order.contiguous())
        found = cpu.transpose(own, num_others)
        if found is not None:
            return found
    _check_groups(groups, num_others)
    return reference.transpose(groups, num_others)


def _check_groups(groups: Groups, num_others: int) -> None:
    ptr, neighbor, _ = groups
    num_edges, names = neighbor.shape[0], ("neighbor", "neighbor")
    if ptr.device.type != "cpu":
        check_ptr(ptr, num_edges)
        assert_in_range(neighbor, num_others, names[0])
        return
    if int(ptr[0]) != 0 or int(ptr[-1]) != num_edges or bool((ptr.diff() < 0).any()):
        raise ValueError(f"ptr must rise from 0 to {num_edges}, got {ptr.tolist()[:8]} …")
    check_indices(neighbor.long(), neighbor.long(), num_others, num_others, names=names)
