"""Segment softmax and its derivative in Triton."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from graphattn.kernels.triton.segment_kernels import add, as_it_is, total
from graphattn.kernels.triton.segments import Job, walk


@triton.jit
def _exponential(logit, largest):
    # Nothing but −inf gives zero here, and NaN only where it is divided by.
    return tl.exp(logit - tl.where(largest == float("-inf"), 0.0, largest))


@triton.jit
def _lift(tiles, own, mask):
    logit = tl.where(mask, tiles[0], float("-inf"))
    is_number = logit == logit
    largest = tl.where(is_number, logit, float("-inf"))
    return largest, tl.where(is_number, mask.to(logit.dtype), logit)  # NaN shows in the sum


@triton.jit
def _merge(tiles, own, mask):
    return tl.where(mask, tiles[0], float("-inf")), tiles[1]


@triton.jit
def _combine(state, other):
    largest = tl.maximum(state[0], other[0])
    ours = state[1] * _exponential(state[0], largest)
    return largest, ours + other[1] * _exponential(other[0], largest)


@triton.jit
def _fold(state):
    largest = tl.max(state[0], 0, keep_dims=True)
    return largest, tl.sum(state[1] * _exponential(state[0], largest), 0, keep_dims=True)


@triton.jit
def _weights(tiles, own, state, count):
    return tl.exp(tiles[0] - state[0]) / state[1]


@triton.jit
def _products(tiles, own, mask):
    return (tiles[0] * tiles[1],)


@triton.jit
def _pull(tiles, own, state, count):
    return tiles[0] * (tiles[1] - state[0])


def segment_softmax(logits: Tensor, ptr: Tensor) -> Tensor:
    """See the operation."""
    logits, ptr = logits.contiguous(), ptr.contiguous()
    weights = torch.empty_like(logits)
    job = Job(_lift, _merge, _combine, _fold, write=_weights, num_tiles=2)
    walk(job, ptr, (logits,), of_rows=weights)
    return weights


def segment_softmax_backward(weights: Tensor, grad: Tensor, ptr: Tensor) -> Tensor:
    """See the operation."""
    weights, grad, ptr = weights.contiguous(), grad.contiguous(), ptr.contiguous()
    result = torch.empty_like(weights)
    walk(Job(_products, as_it_is, add, total, write=_pull), ptr, (weights, grad), of_rows=result)
    return result
