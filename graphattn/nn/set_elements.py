"""What layers on sets ask of the elements they are given, dense or set after set."""

from torch import Tensor

from graphattn.blocks import Blocks


def check_elements(
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
    if blocks is not None and not isinstance(blocks, Blocks):
        raise TypeError(f"blocks must be a graphattn.Blocks, got {type(blocks).__name__}")
    if not isinstance(x, Tensor) or not x.is_floating_point():
        got = x.dtype if isinstance(x, Tensor) else type(x).__name__
        raise TypeError(f"{name} must be a floating-point tensor, got {got}")
    if blocks is None:
        fits, wanted = x.ndim == 3, f"(B, N, {channels})" + " without blocks" * (x.ndim == 2)
    else:
        rows = blocks.num_sources if are_keys else blocks.num_targets
        fits, wanted = x.ndim == 2 and x.shape[0] == rows, f"({rows}, {channels})"
    if not fits or x.shape[-1] != channels:
        raise ValueError(f"{name} must be {wanted}, got {tuple(x.shape)}")
