"""Lists of edges: the range of their ends is checked, self-loops are left out."""

import torch
from torch import Tensor

from graphattn.kernels.cpp.fallback import can_compile
from graphattn.kernels.edge_list import cpu, reference


def check_indices(
    first: Tensor,
    second: Tensor,
    num_first: int,
    num_second: int,
    *,
    names: tuple[str, str] = ("first", "second"),
) -> None:
    """Refuses edges whose ends are not where they should be.

    On a device other than the CPU the check runs there, and fails there, without being waited for;
    see ``assert_in_range``.

    Args:
        first: One end of each edge, ``(E,)``, int64.
        second: The other end, ``(E,)``, int64.
        num_first: What each of ``first`` must be below; none may be negative.
        num_second: The same for ``second``.
        names: How an error names the two ends.

    Raises:
        TypeError: If the ends are not int64.
        ValueError: If the ends are not two vectors of one length on one device.
        IndexError: If an index is out of range.
    """
    _check_ends(first, second)
    sizes = (num_first, num_second)
    if first.device.type != "cpu":
        for end, name, size in zip((first, second), names, sizes, strict=True):
            assert_in_range(end, size, name)
        return
    if can_compile(first, second):
        found = cpu.extent(first.contiguous(), second.contiguous())
    else:
        found = reference.extent(first, second)
    _check_extent(found, sizes, names)


def assert_in_range(index: Tensor, size: int, name: str) -> None:
    """Refuses wrong indices on their device; reading them here would have the host wait for it.

    Where the check fails on a GPU, it traps: nothing that was launched after it runs, so that no
    kernel follows an index that is wrong, and the next call that waits for the device raises.

    Args:
        index: ``(E,)``, integers.
        size: What each of them must be below; none may be negative.
        name: How an error names them.

    Raises:
        RuntimeError: If an index is out of range; later, and not here, unless on the CPU.
    """
    if index.shape[0]:
        low, high = index.aminmax()
        torch._assert_async((low >= 0) & (high < size), f"{name} must lie in [0, {size})")


def copy_edges(
    first: Tensor,
    second: Tensor,
    num_first: int,
    num_second: int,
    *,
    names: tuple[str, str] = ("first", "second"),
) -> Tensor:
    """A copy of edges whose ends are checked; arguments and errors are those of check_indices.

    Returns:
        The ends, ``(2, E)``, int64.
    """
    _check_ends(first, second)
    if not can_compile(first, second):
        edges = torch.stack([first, second])
        check_indices(edges[0], edges[1], num_first, num_second, names=names)
        return edges
    edges, found = cpu.copy(first.contiguous(), second.contiguous())
    _check_extent(found, (num_first, num_second), names)
    return edges


def drop_loops(first: Tensor, second: Tensor, *, room: int = 0) -> tuple[Tensor, Tensor]:
    """The edges that do not return to the node they come from.

    Args:
        first: One end of each edge, ``(E,)``, int64.
        second: The other end, ``(E,)``, int64.
        room: How many places to leave behind them, for the caller to fill.

    Returns:
        The ends of the ``K`` edges that are kept, ``(2, K + room)``, int64, and where they stood,
        ``(K,)``, int64; in the order in which they were given.

    Raises:
        TypeError: If the ends are not int64.
        ValueError: If the ends are not two vectors of one length on one device.
    """
    _check_ends(first, second)
    if can_compile(first, second):
        return cpu.drop_loops(first.contiguous(), second.contiguous(), room)
    return reference.drop_loops(first, second, room)


def _check_ends(first: Tensor, second: Tensor) -> None:
    if first.dtype != torch.int64 or second.dtype != torch.int64:
        raise TypeError(f"first and second must be int64, got {first.dtype} and {second.dtype}")
    if first.ndim != 1 or first.shape != second.shape or first.device != second.device:
        got = f"{tuple(first.shape)} on {first.device}, {tuple(second.shape)} on {second.device}"
        raise ValueError(f"first and second must both be (E,) on one device, got {got}")


def _check_extent(extent: list[int], sizes: tuple[int, int], names: tuple[str, str]) -> None:
    for name, size, low, high in zip(names, sizes, extent[::2], extent[1::2], strict=True):
        if low < 0 or high >= size:
            wrong = low if low < 0 else high
            raise IndexError(f"{name} must lie in [0, {size}), got {wrong}")
