"""Dropout on weights: the mask that `F.dropout` would draw, and its use."""

from collections.abc import Sequence

import torch
from torch import Tensor


def drop(weights: Tensor, probability: float) -> Tensor:
    """Sets weights to zero at random and lets the others grow by ``1 / (1 - probability)``.

    The weights that are dropped are those that ``F.dropout`` drops for the same seed.

    Args:
        weights: ``(E, H)``.
        probability: Of a weight to be dropped; from 0, which changes nothing, to 1.

    Returns:
        ``(E, H)``.

    Raises:
        ValueError: If the probability does not lie in [0, 1].
    """
    return masked(weights, *dropout_mask(weights.shape, probability, weights.device))


def dropout_mask(
    shape: Sequence[int], probability: float, device: torch.device
) -> tuple[Tensor | None, float]:
    """Which weights dropout keeps, and what they are multiplied by.

    Args:
        shape: ``(E, H)``.
        probability: Of a weight to be dropped.
        device: Where the mask is drawn.

    Returns:
        1 where a weight is kept, ``(E, H)``, uint8, or ``None`` for a probability of zero, which
        draws nothing; and the factor.

    Raises:
        ValueError: If the probability does not lie in [0, 1].
    """
    if not 0 <= probability <= 1:
        raise ValueError(f"dropout must lie in [0, 1], got {probability}")
    if probability == 0:
        return None, 1.0
    keep = torch.zeros(*shape, dtype=torch.uint8, device=device)
    if probability == 1:  # nothing to draw, as in F.dropout
        return keep, 0.0
    return keep.bernoulli_(1 - probability), 1 / (1 - probability)


def masked(weights: Tensor, keep: Tensor | None, scale: float) -> Tensor:
    """The weights that dropout leaves; see ``dropout_mask``."""
    return weights if keep is None else weights * keep * scale
