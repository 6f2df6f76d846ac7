"""Edge attention in plain PyTorch: the definition that every backend must meet.

Differentiable any number of times, on any device. Sums are held in float32 or wider.
"""

from collections.abc import Mapping

import torch
from torch import Tensor


def gather(
    inputs: Mapping[str, Tensor], roles: Mapping[str, str], source: Tensor, target: Tensor
) -> dict[str, Tensor]:
    """Brings every input to the edges: rows of sources and targets, the rest as it is."""
    index = {"source": source, "target": target}
    return {
        name: tensor.index_select(0, index[roles[name]]) if roles[name] in index else tensor
        for name, tensor in inputs.items()
    }


def segment_sum(x: Tensor, segment: Tensor, num_segments: int) -> Tensor:
    """Sum of the rows of each segment, ``(S, ...)``; an empty segment gives zero."""
    return x.new_zeros(num_segments, *x.shape[1:]).index_add(0, segment, x)


def segment_softmax(
    logits: Tensor, segment: Tensor, num_segments: int, sink: Tensor | None = None
) -> Tensor:
    """Softmax over the rows of each segment and head.

    A segment without rows, or with nothing but −inf, has weights of zero. NaN and +inf behave as in
    ``torch.softmax``, in their own segment and head.

    Args:
        logits: ``(E, H)``.
        segment: Segment of each row, ``(E,)``, int64, in any order.
        num_segments: ``S``.
        sink: One more logit of every segment, ``(H,)`` or ``(1,)``; its weight is not returned.

    Returns:
        Weights, ``(E, H)``, of the dtype of ``logits``.
    """
    wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
    index = segment.unsqueeze(1).expand_as(wide)
    # The shift changes no weight, so it takes no part in the derivative.
    largest = wide.new_full((num_segments, wide.shape[1]), -torch.inf)
    largest = largest.scatter_reduce(0, index, wide.detach(), "amax")
    if sink is not None:
        sink = sink.to(wide.dtype)
        largest = torch.maximum(largest, sink.detach())
    largest = largest.masked_fill(largest == -torch.inf, 0)  # -inf less -inf would be NaN
    exponential = (wide - largest.index_select(0, segment)).exp()
    total = segment_sum(exponential, segment, num_segments)
    if sink is not None:
        total = total + (sink - largest).exp()
    total = total.masked_fill(total == 0, 1)
    return (exponential / total.index_select(0, segment)).to(logits.dtype)


def weighted_sum(weights: Tensor, message: Tensor, target: Tensor, num_targets: int) -> Tensor:
    """Sum of the messages to each target, times their weights.

    Args:
        weights: ``(E, H)``.
        message: ``(E, H, C)``.
        target: Target of each edge, ``(E,)``, int64.
        num_targets: ``N``.

    Returns:
        ``(N, H, C)``, of the dtype that weights and messages promote to.
    """
    dtype = torch.promote_types(weights.dtype, message.dtype)
    wide = torch.promote_types(dtype, torch.float32)
    product = weights.unsqueeze(-1).to(wide) * message.to(wide)
    return segment_sum(product, target, num_targets).to(dtype)
