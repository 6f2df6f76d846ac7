"""Entmax over segments in plain PyTorch: the definition, and the derivative of all backends.

Differentiable any number of times, on any device.
"""

from typing import Any

import torch
from torch import Tensor

from graphattn.kernels.edge_attention.reference import segment_sum


def entmax(logits: Tensor, ptr: Tensor, order: Tensor, alpha: Tensor) -> Tensor:
    """The weights; see ``op.entmax``, whose arguments these are once they were checked."""
    segment = segments(ptr, order)
    result: Tensor = _Entmax.apply(logits, segment, ptr.shape[0] - 1, alpha)
    return result


def segments(ptr: Tensor, order: Tensor) -> Tensor:
    """The segment of each row, ``(E,)``, int64."""
    if ptr.device.type == "cpu":  # elsewhere it would wait for the device, which checks bounds
        check_rows(ptr, order)
    num_segments = ptr.shape[0] - 1
    ascending = torch.arange(num_segments, device=ptr.device)
    ascending = ascending.repeat_interleave(ptr.diff(), output_size=order.shape[0])
    return torch.zeros_like(ascending).scatter(0, order.to(torch.int64), ascending)


def check_rows(ptr: Tensor, order: Tensor) -> None:
    """Refuses a structure that does not put each row into one segment.

    Raises:
        ValueError: If ``ptr`` does not rise from 0 to ``E``.
        IndexError: If ``order`` does not hold each row once.
    """
    num_rows = order.shape[0]
    if ptr[0] != 0 or ptr[-1] != num_rows or bool((ptr.diff() < 0).any()):
        raise ValueError(f"ptr must rise from 0 to the number of rows, {num_rows}, and does not")
    if not torch.equal(order.sort().values, torch.arange(num_rows, dtype=order.dtype)):
        raise IndexError(f"order must hold each row in [0, {num_rows}) once, and does not")


def weights_by_bisection(
    logits: Tensor, segment: Tensor, num_segments: int, alpha: Tensor
) -> Tensor:
    """The weights without a derivative, in the element type of the logits.

    The sum over a segment of ``relu((alpha - 1) * (logit - largest) - threshold)`` to the power
    ``1 / (alpha - 1)`` falls as the threshold rises, from at least one at -1 to zero at 0.
    """
    alpha = torch.where((alpha > 1) & alpha.isfinite(), alpha, torch.nan)
    exponent = (1 / (alpha - 1)).to(logits.dtype)
    index = segment.unsqueeze(1).expand_as(logits)
    largest = logits.new_full((num_segments, logits.shape[1]), -torch.inf)
    largest = largest.scatter_reduce(0, index, logits, "amax")
    largest = largest.masked_fill(largest == -torch.inf, 0)[segment]
    # Logits that are equal are equal at infinity, too, where their difference would be NaN.
    below = torch.where(logits == largest, 0, logits - largest) * (alpha - 1).to(logits.dtype)

    def parts(threshold: Tensor) -> tuple[Tensor, Tensor]:
        part = (below - threshold[segment]).clamp(min=0) ** exponent
        return part, segment_sum(part, segment, num_segments)

    low = logits.new_full((num_segments, logits.shape[1]), -1.0)
    width = 1.0
    for _ in range(torch.finfo(logits.dtype).bits):
        width /= 2
        _, total = parts(low + width)
        low = torch.where(total >= 1, low + width, low)
    part, total = parts(low)
    return part / total.masked_fill(total == 0, 1)[segment]


def gradients(
    grad: Tensor, weights: Tensor, segment: Tensor, num_segments: int, alpha: Tensor
) -> tuple[Tensor, Tensor]:
    """Gradients of the logits and of alpha from that of the weights.

    Both follow from the weights alone, once the constraint that they sum to one is differentiated.
    Written so that nothing cancels as alpha nears one.

    Args:
        grad: Gradient of the weights, ``(E, H)``.
        weights: ``(E, H)``.
        segment: Segment of each row, ``(E,)``.
        num_segments: ``S``.
        alpha: ``(H,)``, float64.

    Returns:
        Gradients of the logits, ``(E, H)``, and of alpha, ``(H,)``, float64.
    """

    def total(x: Tensor) -> Tensor:
        return segment_sum(x, segment, num_segments)

    less = (alpha - 1).to(weights.dtype)
    has_weight = weights != 0  # NaN has
    inside = torch.where(has_weight, weights, 1)  # log(0) would put NaN into the derivative
    log = inside.log()
    excess = torch.expm1(-less * log)
    # slope = weight ** (2 - alpha), the derivative of a weight by its own logit
    slope = torch.where(has_weight, inside * (1 + excess), 0)
    size = total(slope)
    size = size.masked_fill(size == 0, 1)
    mean = total(slope * grad) / size
    of_logits = slope * (grad - mean[segment])

    pull = torch.where(has_weight, weights * grad, 0)
    curved = (total(weights * excess) * total(pull) - total(pull * excess)) / size
    entropic = total(pull * log) - mean * total(weights * log)
    of_alpha = (curved.to(alpha) / (alpha - 1) - entropic.to(alpha)) / (alpha - 1)
    return of_logits, of_alpha.sum(0)


class _Entmax(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, logits: Tensor, segment: Tensor, num_segments: int, alpha: Tensor
    ) -> Tensor:
        weights = weights_by_bisection(logits, segment, num_segments, alpha)
        ctx.save_for_backward(weights, segment, alpha)
        ctx.num_segments = num_segments
        return weights

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, Tensor]:
        weights, segment, alpha = ctx.saved_tensors
        of_logits, of_alpha = gradients(grad, weights, segment, ctx.num_segments, alpha)
        return of_logits, None, None, of_alpha
