"""Segment softmax in plain PyTorch: the definition that every backend must meet."""

import torch
from torch import Tensor

from graphattn.kernels.segment_reduce.reference import segment_of_row, segment_reduce


def segment_softmax(logits: Tensor, ptr: Tensor) -> Tensor:
    """See the operation; computed in float32 or wider."""
    wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
    segment = segment_of_row(ptr, logits.shape[0])
    largest = segment_reduce(wide, ptr, "max")
    exponential = (wide - largest.index_select(0, segment)).exp()
    total = segment_reduce(exponential, ptr, "sum")
    return (exponential / total.index_select(0, segment)).to(logits.dtype)


def segment_softmax_backward(weights: Tensor, grad: Tensor, ptr: Tensor) -> Tensor:
    """See the operation."""
    wide = torch.promote_types(weights.dtype, torch.float32)
    weights_wide, grad_wide = weights.to(wide), grad.to(wide)
    total = segment_reduce(weights_wide * grad_wide, ptr, "sum")
    total = total.index_select(0, segment_of_row(ptr, grad.shape[0]))
    return (weights_wide * (grad_wide - total)).to(weights.dtype)
