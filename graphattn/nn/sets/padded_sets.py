"""Padded batches of sets as sets of unequal size."""

import torch
from torch import Tensor

from graphattn.blocks import Blocks


def from_padded(x: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Blocks]:
    """Takes the padding out of a dense batch.

    Args:
        x: ``(S, N, channels)``.
        mask: Which elements are there, ``(S, N)``, bool; all of them if None.

    Returns:
        The elements that are there, ``(M, channels)``, set by set, and their sets.

    Raises:
        TypeError: If ``x`` is no tensor, or ``mask`` no bool one.
        ValueError: If a shape does not fit.
    """
    if not isinstance(x, Tensor):
        raise TypeError(f"x must be a tensor, got {type(x).__name__}")
    if x.ndim != 3:
        raise ValueError(f"x must be (S, N, channels), got {tuple(x.shape)}")
    if mask is None:
        mask = torch.ones(x.shape[:2], dtype=torch.bool, device=x.device)
    if not isinstance(mask, Tensor) or mask.dtype != torch.bool:
        got = mask.dtype if isinstance(mask, Tensor) else type(mask).__name__
        raise TypeError(f"mask must be a bool tensor, got {got}")
    if mask.shape != x.shape[:2]:
        raise ValueError(f"mask must be {tuple(x.shape[:2])}, got {tuple(mask.shape)}")
    sizes = mask.sum(dim=1)
    return x[mask], Blocks.from_ptr(torch.cat([sizes.new_zeros(1), sizes.cumsum(0)]))
