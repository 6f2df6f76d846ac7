"""Entmax over segments in Triton: Newton's method and bisection, for some heads at a time."""

# A program has a segment, however long, and a few heads. It walks the rows once for every step
# towards the threshold; caches hold what it reads again. As on the CPU, all is computed in double.

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from graphattn.kernels.triton.mathematics import mathematics
from graphattn.kernels.triton.segments import Tile, launch


@triton.jit
def _heads(alpha, TILE: tl.constexpr):
    head = tl.program_id(1) * TILE.columns + tl.arange(0, TILE.columns)[None, :]
    own = tl.load(alpha + head, mask=head < TILE.num_columns, other=2.0)
    is_simple = (own == 2) | (own == 1.5)
    return head, own, is_simple, tl.min(is_simple.to(tl.int32)) == 1


@triton.jit
def _places(order, start, end, head, TILE: tl.constexpr):
    row = start + tl.arange(0, TILE.rows)[:, None]
    place = tl.load(order + row, mask=row < end, other=0).to(tl.int64)
    return place * TILE.num_columns + head, (row < end) & (head < TILE.num_columns)


@triton.jit
def _power(base, exponent, simple, is_simple, all_simple):
    power = simple
    if not all_simple:  # a power takes longer than all else
        power = tl.where(is_simple, simple, mathematics.pow(base, exponent))
    return power


@triton.jit
def _largest(logits, order, begin, end, head, TILE: tl.constexpr):
    largest = tl.full((TILE.rows, TILE.columns), float("-inf"), tl.float64)
    is_nan = tl.full((TILE.rows, TILE.columns), 0, tl.int32)
    for start in range(begin, end, TILE.rows):
        place, mask = _places(order, start, end, head, TILE)
        logit = tl.load(logits + place, mask=mask, other=float("-inf")).to(tl.float64)
        largest = tl.maximum(largest, tl.where(logit == logit, logit, float("-inf")))
        is_nan |= (logit != logit).to(tl.int32)
    return tl.max(largest, 0, keep_dims=True), tl.max(is_nan, 0, keep_dims=True) > 0


@triton.jit
def _weights_above(logits, place, mask, largest, threshold, alpha, is_simple, all_simple):
    """What lies above the threshold to the power 1 / (alpha - 1), and that by what lies above."""
    logit = tl.load(logits + place, mask=mask, other=float("-inf")).to(tl.float64)
    # Logits that are equal are so at infinity, too.
    below = tl.where(logit == largest, 0.0, (logit - largest) * (alpha - 1))
    above = below - threshold
    simple = tl.where(alpha == 2, 1.0, above)
    slope = _power(above, 1 / (alpha - 1) - 1, simple, is_simple, all_simple)
    return tl.where(above > 0, above * slope, 0.0), tl.where(above > 0, slope, 0.0)


@triton.jit
def _threshold(
    logits,
    order,
    begin,
    end,
    head,
    alpha,
    largest,
    is_active,
    is_simple,
    all_simple,
    TILE: tl.constexpr,
):
    """The highest threshold found at which the weights sum to one at least, and their sum.

    The sum falls as the threshold rises, from at least one at -1 to zero at 0. For alpha up to 2 it
    is convex, so Newton's method rises to the root and never passes it. Else what lies between the
    two is halved.
    """
    by_newton = alpha <= 2
    low = tl.full((1, TILE.columns), -1.0, tl.float64)
    high = tl.full((1, TILE.columns), 0.0, tl.float64)
    total = tl.full((1, TILE.columns), 1.0, tl.float64)
    trial = tl.where(by_newton, low, (low + high) / 2)
    while tl.max(is_active.to(tl.int32)) > 0:
        weights = tl.full((TILE.rows, TILE.columns), 0, tl.float64)
        slopes = tl.full((TILE.rows, TILE.columns), 0, tl.float64)
        for start in range(begin, end, TILE.rows):
            place, mask = _places(order, start, end, head, TILE)
            weight, slope = _weights_above(
                logits, place, mask, largest, trial, alpha, is_simple, all_simple
            )
            weights += weight
            slopes += slope
        found = tl.sum(weights, 0, keep_dims=True)
        is_low = by_newton | (found >= 1)
        low = tl.where(is_active & is_low, trial, low)
        total = tl.where(is_active & is_low, found, total)
        high = tl.where(is_active & (is_low == 0), trial, high)
        step = (found - 1) * (alpha - 1) / tl.sum(slopes, 0, keep_dims=True)
        trial = tl.where(by_newton, trial + step, (low + high) / 2)
        is_active &= (trial > low) & (trial < high)
    return low, total


@triton.jit
def _entmax(ptr, order, alpha, logits, weights, TILE: tl.constexpr):
    segment = tl.program_id(0).to(tl.int64)
    begin, end = tl.load(ptr + segment), tl.load(ptr + segment + 1)
    head, own_alpha, is_simple, all_simple = _heads(alpha, TILE)
    largest, is_nan = _largest(logits, order, begin, end, head, TILE)
    is_nan |= ((own_alpha > 1) & (own_alpha < float("inf"))) == 0
    has_weights = (is_nan == 0) & (largest > float("-inf"))
    threshold, total = _threshold(
        logits,
        order,
        begin,
        end,
        head,
        own_alpha,
        largest,
        has_weights,
        is_simple,
        all_simple,
        TILE,
    )
    for start in range(begin, end, TILE.rows):
        place, mask = _places(order, start, end, head, TILE)
        weight, _ = _weights_above(
            logits, place, mask, largest, threshold, own_alpha, is_simple, all_simple
        )
        nothing = tl.where(is_nan, float("nan"), 0.0)
        weight = tl.where(has_weights, weight / total, nothing)
        tl.store(weights + place, weight.to(weights.dtype.element_ty), mask=mask)


@triton.jit
def _slopes(grad, weights, place, mask, alpha, is_simple, all_simple):
    """Gradients of weights, and derivatives of weights by their own logits; NaN stays NaN."""
    weight = tl.load(weights + place, mask=mask, other=0).to(tl.float64)
    simple = tl.where(alpha == 2, 1.0, tl.sqrt(weight))
    slope = _power(weight, 2 - alpha, simple, is_simple, all_simple)
    arriving = tl.load(grad + place, mask=mask, other=0).to(tl.float64)
    return arriving, tl.where(weight > 0, slope, weight)


@triton.jit
def _gradient_of_alpha(
    grad, weights, order, begin, end, head, alpha, size, mean, TILE: tl.constexpr
):
    """What a segment adds; written so that nothing cancels as alpha nears one."""
    pulls = tl.full((TILE.rows, TILE.columns), 0, tl.float64)
    excesses, excess_pulls, logs, log_pulls = pulls, pulls, pulls, pulls
    for start in range(begin, end, TILE.rows):
        place, mask = _places(order, start, end, head, TILE)
        weight = tl.load(weights + place, mask=mask, other=0).to(tl.float64)
        arriving = tl.load(grad + place, mask=mask, other=0).to(tl.float64)
        arriving = tl.where(weight == 0, 0.0, arriving)
        log = tl.log(tl.where(weight == 0, 1.0, weight))
        excess = weight * mathematics.expm1((1 - alpha) * log)
        pulls += weight * arriving
        excesses += excess
        excess_pulls += excess * arriving
        logs += weight * log
        log_pulls += weight * arriving * log
    product = tl.sum(excesses, 0, keep_dims=True) * tl.sum(pulls, 0, keep_dims=True)
    curved = (product - tl.sum(excess_pulls, 0, keep_dims=True)) / size
    entropic = tl.sum(log_pulls, 0, keep_dims=True) - mean * tl.sum(logs, 0, keep_dims=True)
    return (curved / (alpha - 1) - entropic) / (alpha - 1)


@triton.jit
def _entmax_backward(
    ptr,
    order,
    alpha,
    grad,
    weights,
    of_logits,
    of_alpha,
    WANT_ALPHA: tl.constexpr,
    TILE: tl.constexpr,
):
    segment = tl.program_id(0).to(tl.int64)
    begin, end = tl.load(ptr + segment), tl.load(ptr + segment + 1)
    head, own_alpha, is_simple, all_simple = _heads(alpha, TILE)
    slopes = tl.full((TILE.rows, TILE.columns), 0, tl.float64)
    pulls = tl.full((TILE.rows, TILE.columns), 0, tl.float64)
    for start in range(begin, end, TILE.rows):
        place, mask = _places(order, start, end, head, TILE)
        arriving, slope = _slopes(grad, weights, place, mask, own_alpha, is_simple, all_simple)
        slopes += slope
        pulls += slope * arriving
    size = tl.sum(slopes, 0, keep_dims=True)
    size = tl.where(size == 0, 1.0, size)
    mean = tl.sum(pulls, 0, keep_dims=True) / size
    for start in range(begin, end, TILE.rows):
        place, mask = _places(order, start, end, head, TILE)
        arriving, slope = _slopes(grad, weights, place, mask, own_alpha, is_simple, all_simple)
        result = slope * (arriving - mean)
        tl.store(of_logits + place, result.to(of_logits.dtype.element_ty), mask=mask)
    if WANT_ALPHA:
        own = _gradient_of_alpha(
            grad, weights, order, begin, end, head, own_alpha, size, mean, TILE
        )
        tl.store(of_alpha + segment * TILE.num_columns + head, own, mask=head < TILE.num_columns)


def entmax(logits: Tensor, ptr: Tensor, order: Tensor, alpha: Tensor) -> Tensor:
    """See the operation."""
    logits, ptr, order, alpha = (t.contiguous() for t in (logits, ptr, order, alpha))
    weights = torch.empty_like(logits)
    _launch(_entmax, logits, ptr, order, alpha, logits, weights)
    return weights


def entmax_backward(
    grad: Tensor, weights: Tensor, ptr: Tensor, order: Tensor, alpha: Tensor, want_alpha: bool
) -> tuple[Tensor, Tensor]:
    """Gradients of the logits, ``(E, H)``, and of alpha, ``(H,)`` or, if not wanted, ``(0,)``."""
    grad, weights, ptr, order, alpha = (t.contiguous() for t in (grad, weights, ptr, order, alpha))
    of_logits = torch.empty_like(weights)
    by_segment = alpha.new_zeros(ptr.shape[0] - 1 if want_alpha else 0, alpha.shape[0])
    tensors = (grad, weights, of_logits, by_segment)
    _launch(_entmax_backward, weights, ptr, order, alpha, *tensors, WANT_ALPHA=want_alpha)
    return of_logits, by_segment.sum(0) if want_alpha else alpha.new_empty(0)


def _launch(kernel: Any, rows: Tensor, ptr: Tensor, *others: Tensor, **constants: bool) -> None:
    num_segments = ptr.shape[0] - 1
    if rows.numel() > 0:
        tile = Tile.of(tl.float64, rows.shape[1], rows.shape[0] / num_segments)
        launch(kernel, tile, num_segments, ptr, *others, **constants)
