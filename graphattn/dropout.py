"""Dropout on weights: the mask that `F.dropout` would draw, and its use."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from graphattn.blocks import Blocks
from graphattn.edges import Edges
from graphattn.kernels.philox import philox

# What dropout keeps, and what that is multiplied by; see ``dropout_mask`` and ``dropout_draw``.
Draw = tuple[Tensor | None, float]


def kept_factor(probability: float) -> float:
    """What dropout multiplies the weights by that it keeps; 0 where it keeps none.

    Raises:
        ValueError: If the probability does not lie in [0, 1].
    """
    if not 0 <= probability <= 1:
        raise ValueError(f"dropout must lie in [0, 1], got {probability}")
    return 0.0 if probability == 1 else 1 / (1 - probability)


def dropout_mask(shape: Sequence[int], probability: float, device: torch.device) -> Draw:
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
    factor = kept_factor(probability)
    if probability == 0:
        return None, factor
    keep = torch.zeros(*shape, dtype=torch.uint8, device=device)
    if probability < 1:  # else nothing to draw, as in F.dropout
        keep.bernoulli_(1 - probability)
    return keep, factor


def dropout_draw(probability: float, device: torch.device) -> Draw:
    """Which weights dropout keeps among the pairs of blocks, of which no mask is made.

    Args:
        probability: Of a weight to be dropped.
        device: Where the kernels run.

    Returns:
        The seed of a generator, drawn from PyTorch's own, and the number from which on it keeps a
        weight, ``(2,)``, int64, or ``None`` for a probability of zero; and the factor of weights
        that are kept.

    Raises:
        ValueError: If the probability does not lie in [0, 1].
    """
    factor = kept_factor(probability)
    if probability == 0:
        return None, factor
    # On the CPU whatever the device: a number of PyTorch's, but read where the kernels run.
    threshold = torch.tensor([round(probability * 2**32)])
    return torch.cat([torch.randint(1 << 62, (1,)), threshold]).to(device), factor


def drawn_mask(draw: Tensor, shape: Sequence[int], first: int = 0) -> Tensor:
    """The mask of a draw, as kernels apply it.

    Args:
        draw: See ``dropout_draw``.
        shape: ``(P, H)``.
        first: Pair with which the mask begins.

    Returns:
        1 where a weight is kept, ``(P, H)``, uint8.
    """
    seed, threshold = draw.tolist()
    start = first * math.prod(shape[1:])
    counter = torch.arange(start, start + math.prod(shape), device=draw.device).view(*shape)
    return (philox(seed, counter) >= threshold).to(torch.uint8)


def masked(weights: Tensor, keep: Tensor | None, scale: float) -> Tensor:
    """The weights that dropout leaves; see ``dropout_mask``."""
    return weights if keep is None else weights * keep * scale


def draw_dropout(edges: Edges | Blocks, num_heads: int, probability: float) -> Draw:
    """What kernels need to know of dropout: a mask, or a draw between all pairs of blocks."""
    if isinstance(edges, Blocks):
        return dropout_draw(probability, edges.device)
    return dropout_mask((edges.num_edges, num_heads), probability, edges.device)


def shown_mask(keep: Tensor | None, shape: Sequence[int]) -> Tensor | None:
    """What ``draw_dropout`` gives, as a mask."""
    is_draw = keep is not None and keep.dtype == torch.int64
    return drawn_mask(keep, shape) if keep is not None and is_draw else keep


def drop_weights(edges: Edges | Blocks, weights: Tensor, probability: float) -> Tensor:
    """Sets weights to zero at random and lets the others grow by ``1 / (1 - probability)``.

    The weights that are dropped are those that kernels drop; of edges also those that
    ``F.dropout`` drops for the same seed.

    Args:
        edges: The structure.
        weights: ``(E, H)``.
        probability: Of a weight to be dropped; from 0, which changes nothing, to 1.

    Returns:
        ``(E, H)``.

    Raises:
        ValueError: If the probability does not lie in [0, 1].
    """
    keep, scale = draw_dropout(edges, weights.shape[1], probability)
    return masked(weights, shown_mask(keep, weights.shape), scale)
