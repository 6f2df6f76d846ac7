"""Checks of what layers on sets are given: the elements of all sets, one after another."""

from torch import Tensor

from graphattn.blocks import Blocks


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
    if not isinstance(x, Tensor) or not x.is_floating_point():
        got = x.dtype if isinstance(x, Tensor) else type(x).__name__
        raise TypeError(f"{name} must be a floating-point tensor, got {got}")
    if x.shape != (num_rows, channels):
        raise ValueError(f"{name} must be ({num_rows}, {channels}), got {tuple(x.shape)}")


def check_sets(blocks: Blocks) -> None:
    """Refuses what is no ``Blocks``, with a TypeError."""
    if not isinstance(blocks, Blocks):
        raise TypeError(f"blocks must be a graphattn.Blocks, got {type(blocks).__name__}")


def check_heads(channels: int, heads: int) -> None:
    """Refuses a number of heads that does not divide the channels, with a ValueError."""
    if heads < 1 or channels % heads:
        raise ValueError(f"heads must divide channels = {channels}, got {heads}")
