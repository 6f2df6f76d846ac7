"""Entmax over segments in plain PyTorch: the definition, and the derivative of all backends.

Differentiable any number of times backwards, and once forwards, on any device.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from graphattn.kernels.cpp.fallback import num_forward_levels
from graphattn.kernels.edge_attention.reference import segment_sum


def entmax(logits: Tensor, ptr: Tensor, order: Tensor, alpha: Tensor) -> Tensor:
    """The weights; see ``op.entmax``, whose arguments these are once they were checked.

    Raises:
        NotImplementedError: Inside two forward-mode derivatives.
    """
    if num_forward_levels() > 1:
        # PyTorch takes what a function of its own gives for the tangent to be constant.
        raise NotImplementedError(
            "entmax cannot be differentiated forwards twice: take one of the derivatives backwards,"
            " as torch.func.hessian does, such as jacfwd(jacrev(f)) for jacfwd(jacfwd(f))"
        )
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

    own = _slopes(weights, segment, num_segments, alpha)
    mean = total(own.slope * grad) / own.size
    of_logits = own.slope * (grad - mean[segment])

    pull = torch.where(own.has_weight, weights * grad, 0)
    curved = (total(weights * own.excess) * total(pull) - total(pull * own.excess)) / own.size
    entropic = total(pull * own.log) - mean * total(weights * own.log)
    of_alpha = (curved.to(alpha) / (alpha - 1) - entropic.to(alpha)) / (alpha - 1)
    return of_logits, of_alpha.sum(0)


def tangent(
    of_logits: Tensor | None,
    of_alpha: Tensor | None,
    weights: Tensor,
    segment: Tensor,
    num_segments: int,
    alpha: Tensor,
) -> Tensor:
    """The change of the weights with that of the logits and of alpha; ``None`` is no change.

    Args:
        of_logits: ``(E, H)``.
        of_alpha: ``(H,)``, float64.
        weights: See ``gradients``, as for all others.
        segment: See there.
        num_segments: See there.
        alpha: See there.
    """

    def total(x: Tensor) -> Tensor:
        return segment_sum(x, segment, num_segments)

    own = _slopes(weights, segment, num_segments, alpha)
    change = torch.zeros_like(weights)
    if of_logits is not None:
        mean = total(own.slope * of_logits) / own.size
        change = own.slope * (of_logits - mean[segment])
    if of_alpha is not None:
        bent = weights * own.excess
        curved = (total(bent)[segment] * weights - bent) / own.size[segment]
        bits = weights * own.log
        entropic = bits - own.slope * (total(bits) / own.size)[segment]
        by_alpha = (curved.to(alpha) / (alpha - 1) - entropic.to(alpha)) / (alpha - 1)
        change = change + (by_alpha * of_alpha).to(weights.dtype)
    return change


@dataclass(frozen=True)
class _Slopes:
    """What the derivatives by logits and by alpha share."""

    has_weight: Tensor  # (E, H), bool; NaN has
    log: Tensor  # of the weight, (E, H); 0 where there is none
    excess: Tensor  # weight ** (1 - alpha) less one, (E, H)
    slope: Tensor  # weight ** (2 - alpha), the derivative of a weight by its own logit, (E, H)
    size: Tensor  # the sum of the slopes of a segment, (S, H); 1 where that is zero


def _slopes(weights: Tensor, segment: Tensor, num_segments: int, alpha: Tensor) -> _Slopes:
    has_weight = weights != 0
    inside = torch.where(has_weight, weights, 1)  # log(0) would put NaN into the derivative
    log = inside.log()
    excess = torch.expm1(-(alpha - 1).to(weights.dtype) * log)
    slope = torch.where(has_weight, inside * (1 + excess), 0)
    size = segment_sum(slope, segment, num_segments)
    return _Slopes(has_weight, log, excess, slope, size.masked_fill(size == 0, 1))


class _Entmax(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(logits: Tensor, segment: Tensor, num_segments: int, alpha: Tensor) -> Tensor:
        return weights_by_bisection(logits, segment, num_segments, alpha)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, int, Tensor], output: Tensor) -> None:
        _, segment, ctx.num_segments, alpha = inputs
        ctx.save_for_backward(output, segment, alpha)
        ctx.save_for_forward(output, segment, alpha)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, Tensor]:
        weights, segment, alpha = ctx.saved_tensors
        of_logits, of_alpha = gradients(grad, weights, segment, ctx.num_segments, alpha)
        return of_logits, None, None, of_alpha

    @staticmethod
    def jvp(ctx: Any, of_logits: Tensor | None, *others: Tensor | None) -> Tensor:
        weights, segment, alpha = ctx.saved_tensors
        return tangent(of_logits, others[-1], weights, segment, ctx.num_segments, alpha)
