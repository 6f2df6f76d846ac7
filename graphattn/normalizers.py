"""How the logits of a target's edges become weights."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from graphattn.edges import Edges
from graphattn.kernels.edge_attention import reference


class Normalizer(nn.Module):
    """Turns logits into weights, target by target and head by head.

    A normalizer of one's own subclasses this one and overrides ``forward``.
    """

    def forward(self, logits: Tensor, edges: Edges) -> Tensor:
        """Weights of the edges.

        Args:
            logits: ``(E, H)``, in the order of ``edges``.
            edges: The structure; ``edges.target`` names the target of each row.

        Returns:
            ``(E, H)``.
        """
        raise NotImplementedError(f"{type(self).__name__} must override forward(logits, edges)")


class Softmax(Normalizer):
    r"""Weights that are positive and sum to one over the edges into a target.

    .. math::
        \alpha_{ij} = \frac{\exp s_{ij}}{\sum_{k \to i} \exp s_{ik}}

    A target without edges, or whose logits are all −inf, has no weight to give: its weights are
    zero. NaN and +inf act as in ``torch.softmax``, within their target and head.
    """

    def forward(self, logits: Tensor, edges: Edges) -> Tensor:
        return reference.segment_softmax(logits, edges.target, edges.num_targets)


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
