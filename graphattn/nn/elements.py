"""Checks of what layers on sets are given: elements, rows, structures, numbers of heads."""

import torch
from torch import Tensor

from graphattn.blocks import Blocks
from graphattn.dynamo import unseen


def check_elements(name: str, x: Tensor, num_rows: int, channels: int) -> None:
    """Refuses what is no floating-point tensor ``(num_rows, channels)``.

    Args:
        name: How an error names ``x``.
        x: Features of elements.
        num_rows: Number of elements in the structure.
        channels: Width that the layer was made for.

    Raises:
        TypeError: If ``x`` is no floating-point tensor.
        ValueError: If it has another shape.
    """
    check_floating(name, x)
    if x.shape != (num_rows, channels):
        raise ValueError(f"{name} must be ({num_rows}, {channels}), got {tuple(x.shape)}")


def check_floating(name: str, x: Tensor) -> None:
    """Refuses what is no floating-point tensor, with a TypeError."""
    if not isinstance(x, Tensor) or not x.is_floating_point():
        got = x.dtype if isinstance(x, Tensor) else type(x).__name__
        raise TypeError(f"{name} must be a floating-point tensor, got {got}")


def check_dense_or_sets(
    name: str, x: Tensor, channels: int, blocks: Blocks | None, are_keys: bool = False
) -> None:
    """Refuses elements of another width, or of other sets than those of ``blocks``.

    Args:
        name: How an error names ``x``.
        x: Elements, ``(B, N, channels)``, or with ``blocks`` ``(N, channels)``.
        channels: The width wanted.
        blocks: The sets, if ``x`` is not dense.
        are_keys: Whether ``x`` is what the queries of ``blocks`` attend to, not the queries.

    Raises:
        TypeError: If ``x`` is no floating-point tensor, or ``blocks`` no ``Blocks``.
        ValueError: If the shape does not fit.
    """
    if blocks is not None:
        check_sets(blocks)
        check_elements(name, x, blocks.num_sources if are_keys else blocks.num_targets, channels)
        return
    check_floating(name, x)
    if x.ndim != 3 or x.shape[-1] != channels:
        wanted = f"(B, N, {channels})" + " without blocks" * (x.ndim == 2)
        raise ValueError(f"{name} must be {wanted}, got {tuple(x.shape)}")


def check_sets(blocks: Blocks) -> None:
    """Refuses what is no ``Blocks``, with a TypeError."""
    if not isinstance(blocks, Blocks):
        raise TypeError(f"blocks must be a graphattn.Blocks, got {type(blocks).__name__}")


def check_rows(name: str, rows: Tensor, count: int) -> None:
    """Refuses what is no int64 tensor ``(count,)``.

    Args:
        name: How an error names ``rows``.
        rows: Numbers of elements, of clusters, …
        count: How many there must be.

    Raises:
        TypeError: If ``rows`` is no int64 tensor.
        ValueError: If it has another shape.
    """
    if not isinstance(rows, Tensor) or rows.dtype != torch.int64:
        got = rows.dtype if isinstance(rows, Tensor) else type(rows).__name__
        raise TypeError(f"{name} must be an int64 tensor, got {got}")
    if rows.shape != (count,):
        raise ValueError(f"{name} must be ({count},), got {tuple(rows.shape)}")


def widened(index: Tensor) -> Tensor:
    """An index of int32 as int64, of which structures are made; all else as it is."""
    return index.long() if isinstance(index, Tensor) and index.dtype == torch.int32 else index


@unseen  # which waits for the values
def check_own_keys(name: str, rows: Tensor, blocks: Blocks) -> None:
    """Refuses what does not name one key of its own set for each query.

    Args:
        name: How an error names ``rows``.
        rows: A row of the keys for each query, ``(N,)``, int64.
        blocks: Queries and keys.

    Raises:
        TypeError: If ``rows`` is no int64 tensor.
        ValueError: If it has another shape, or a row is of another set.
    """
    check_rows(name, rows, blocks.num_targets)
    of_query = blocks.by_target
    first, last = of_query.neighbor, of_query.neighbor + of_query.ptr.diff()
    is_wrong = (rows < first) | (rows >= last)
    if bool(is_wrong.any()):
        query = int(is_wrong.nonzero()[0])
        raise ValueError(
            f"{name}[{query}] must be one of its own set, in [{int(first[query])},"
            f" {int(last[query])}), got {int(rows[query])}"
        )


def check_heads(channels: int, heads: int) -> None:
    """Refuses a number of heads that does not divide the channels, with a ValueError."""
    if heads < 1 or channels % heads:
        raise ValueError(f"heads must divide channels = {channels}, got {heads}")


def check_attention(query: Tensor, key: Tensor, value: Tensor, blocks: Blocks) -> None:
    """Refuses queries, keys and values that do not fit the sets or one another.

    Args:
        query: ``(N, H, C)``.
        key: ``(M, H, C)``.
        value: ``(M, H, D)``.
        blocks: Sets of ``N`` queries and ``M`` keys.

    Raises:
        TypeError: If one is no floating-point tensor, or ``blocks`` no ``Blocks``.
        ValueError: If a shape does not fit.
    """
    check_sets(blocks)
    rows = {"query": blocks.num_targets, "key": blocks.num_sources, "value": blocks.num_sources}
    for (name, size), x in zip(rows.items(), (query, key, value), strict=True):
        check_floating(name, x)
        if x.ndim != 3 or x.shape[0] != size:
            raise ValueError(f"{name} must be ({size}, H, C), got {tuple(x.shape)}")
    if query.shape[1:] != key.shape[1:] or key.shape[1] != value.shape[1]:
        shapes = ", ".join(str(tuple(x.shape)) for x in (query, key, value))
        raise ValueError(f"query, key and value must have as many heads and channels, got {shapes}")
