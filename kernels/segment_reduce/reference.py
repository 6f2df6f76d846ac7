"""Sums, means, least and largest values of segments in plain PyTorch: the definition."""

import torch
from torch import Tensor

_EXTREMES = {"min": "amin", "max": "amax"}


def segment_of_row(ptr: Tensor, num_rows: int) -> Tensor:
    """The segment of each row, ``(E,)``, int64."""
    segments = torch.arange(ptr.shape[0] - 1, device=ptr.device)
    return segments.repeat_interleave(ptr.diff(), output_size=num_rows)


def segment_reduce(x: Tensor, ptr: Tensor, reduce: str) -> Tensor:
    """See the operation; sums of half precision are held in float32."""
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    segment = segment_of_row(ptr, x.shape[0])
    result = wide.new_zeros(ptr.shape[0] - 1, *x.shape[1:])
    if reduce in _EXTREMES:
        index = segment.reshape(-1, *[1] * (x.ndim - 1)).expand_as(wide)
        # What is there before takes no part, but a row that equals it would share its gradient.
        unset = result.fill_(torch.nan)
        result = unset.scatter_reduce(0, index, wide, _EXTREMES[reduce], include_self=False)
        is_empty = (ptr.diff() == 0).reshape(-1, *[1] * (x.ndim - 1))
        result = result.masked_fill(is_empty, 0)
    else:
        result = result.index_add(0, segment, wide)
    if reduce == "mean":
        result = result / _sizes(ptr, result)
    return result.to(x.dtype)


def segment_expand(x: Tensor, ptr: Tensor, num_rows: int, reduce: str) -> Tensor:
    """See the operation."""
    shared = x / _sizes(ptr, x).to(x.dtype) if reduce == "mean" else x
    return shared.index_select(0, segment_of_row(ptr, num_rows))


def segment_extreme_backward(grad: Tensor, x: Tensor, extreme: Tensor, ptr: Tensor) -> Tensor:
    """See the operation."""
    segment = segment_of_row(ptr, x.shape[0])
    wide = torch.promote_types(x.dtype, torch.float32)
    holds = (x == extreme.index_select(0, segment)).to(wide)
    count = segment_reduce(holds, ptr, "sum")
    return (holds * (grad.to(wide) / count).index_select(0, segment)).to(x.dtype)


def _sizes(ptr: Tensor, like: Tensor) -> Tensor:
    return ptr.diff().clamp(min=1).to(like.dtype).reshape(-1, *[1] * (like.ndim - 1))
