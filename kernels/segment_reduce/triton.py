"""Sums, means, least and largest values of segments in Triton, with their derivatives."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from graphattn.kernels.triton.segment_kernels import add, as_it_is, total
from graphattn.kernels.triton.segments import Job, walk


@triton.jit
def _result(state, count):
    return state[0]


@triton.jit
def _mean(state, count):
    return state[0] / tl.maximum(count, 1)


@triton.jit
def _largest(state, count):
    return tl.where(count == 0, 0.0, state[0])


@triton.jit
def _least(state, count):
    return tl.where(count == 0, 0.0, -state[0])


@triton.jit
def _lift(tiles, own, mask):
    return (tl.where(mask, tiles[0], float("-inf")),)


@triton.jit
def _lift_negative(tiles, own, mask):
    return (tl.where(mask, -tiles[0], float("-inf")),)


@triton.jit
def _larger(state, other):
    larger = tl.where(state[0] > other[0], state[0], other[0])
    return (tl.where(state[0] == state[0], larger, state[0]),)  # NaN wins


@triton.jit
def _fold(state):
    is_number = state[0] == state[0]
    nans = tl.sum(tl.where(is_number, 0.0, state[0]), 0, keep_dims=True)
    numbers = tl.where(is_number, state[0], float("-inf"))
    return (tl.max(numbers, 0, keep_dims=True) + nans,)


@triton.jit
def _share(tiles, own, state, count):
    return own[0]


@triton.jit
def _share_equally(tiles, own, state, count):
    return own[0] / count


@triton.jit
def _holders(tiles, own, mask):
    return ((mask & (tiles[0] == own[1])).to(tiles[0].dtype),)


@triton.jit
def _share_of_holders(tiles, own, state, count):
    # Without any holder, which needs a NaN, this is NaN.
    return (tiles[0] == own[1]).to(tiles[0].dtype) * (own[0] / state[0])


_REDUCE = {
    "sum": Job(as_it_is, as_it_is, add, total, finish=_result),
    "mean": Job(as_it_is, as_it_is, add, total, finish=_mean),
    "min": Job(_lift_negative, _lift, _larger, _fold, finish=_least),
    "max": Job(_lift, _lift, _larger, _fold, finish=_largest),
}
_EXPAND = {"sum": Job(write=_share, num_tiles=0), "mean": Job(write=_share_equally, num_tiles=0)}
_EXTREME_BACKWARD = Job(_holders, as_it_is, add, total, write=_share_of_holders)


def segment_reduce(x: Tensor, ptr: Tensor, reduce: str) -> Tensor:
    """See the operation."""
    x, ptr = x.contiguous(), ptr.contiguous()
    result = x.new_empty(ptr.shape[0] - 1, *x.shape[1:])
    walk(_REDUCE[reduce], ptr, (x,), of_segments=result)
    return result


def segment_expand(x: Tensor, ptr: Tensor, num_rows: int, reduce: str) -> Tensor:
    """See the operation."""
    x, ptr = x.contiguous(), ptr.contiguous()
    result = x.new_empty(num_rows, *x.shape[1:])
    walk(_EXPAND[reduce], ptr, (), (x,), of_rows=result)
    return result


def segment_extreme_backward(grad: Tensor, x: Tensor, extreme: Tensor, ptr: Tensor) -> Tensor:
    """See the operation."""
    grad, x, extreme, ptr = (t.contiguous() for t in (grad, x, extreme, ptr))
    result = torch.empty_like(x)
    walk(_EXTREME_BACKWARD, ptr, (x,), (grad, extreme), of_rows=result)
    return result
