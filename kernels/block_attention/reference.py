"""Dot-product attention inside sets in plain PyTorch: the definition the kernels must meet."""

from dataclasses import dataclass

import torch
from torch import Tensor

from graphattn.kernels.philox.reference import philox
from graphattn.kernels.segment_reduce.reference import segment_of_row, segment_reduce


def block_attention(
    query: Tensor, key: Tensor, value: Tensor, target_ptr: Tensor, source_ptr: Tensor,
    seed: int, threshold: int,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """See ``op``; holds all pairs, and can be differentiated any number of times."""
    pairs = _pairs(query, key, target_ptr, source_ptr, seed, threshold)
    return _output(pairs, value), torch.stack([pairs.shift, pairs.total.detach()], dim=-1)


def gradients(
    grad: Tensor, query: Tensor, key: Tensor, value: Tensor, target_ptr: Tensor,
    source_ptr: Tensor, seed: int, threshold: int,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """Gradients by queries, keys and values, themselves functions that can be differentiated."""
    pairs = _pairs(query, key, target_ptr, source_ptr, seed, threshold)
    arriving = grad[pairs.target]
    mean = (grad * _output(pairs, value)).sum(-1)
    pulled = (arriving * value[pairs.source]).sum(-1) * pairs.kept
    of_logits = pairs.weights * (pulled - mean[pairs.target]) * pairs.scale
    # A weight of zero has a gradient of zero whatever it is multiplied by.
    of_logits = torch.where(pairs.weights == 0, 0, of_logits).unsqueeze(-1)
    of_values = (pairs.weights * pairs.kept).unsqueeze(-1) * arriving
    return (
        segment_reduce(of_logits * key[pairs.source], pairs.ptr, "sum"),
        torch.zeros_like(key).index_add(0, pairs.source, of_logits * query[pairs.target]),
        torch.zeros_like(value).index_add(0, pairs.source, of_values),
    )


@dataclass(frozen=True)
class _Pairs:
    """All pairs, query by query: ends and borders ``(N + 1,)``, weights ``(P, H)``, their sums."""

    target: Tensor
    source: Tensor
    ptr: Tensor
    weights: Tensor
    kept: Tensor | float  # what a weight is multiplied by
    shift: Tensor
    total: Tensor
    scale: float


def _pairs(
    query: Tensor, key: Tensor, target_ptr: Tensor, source_ptr: Tensor, seed: int, threshold: int
) -> _Pairs:
    owner = segment_of_row(target_ptr, query.shape[0])
    counts = source_ptr.diff()[owner]
    ptr = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
    target = segment_of_row(ptr, int(ptr[-1]))
    source = source_ptr[owner][target] + torch.arange(len(target), device=ptr.device) - ptr[target]
    scale = (query.shape[-1] or 1) ** -0.5
    logits = (query[target] * key[source]).sum(-1) * scale
    largest = segment_reduce(logits.detach(), ptr, "max")
    shift = torch.where(largest == -torch.inf, 0, largest)
    weights = (logits - shift[target]).exp()
    total = segment_reduce(weights, ptr, "sum")
    weights = weights / torch.where(total == 0, 1, total)[target]
    kept: Tensor | float = 1.0
    if threshold > 0:
        numbers = philox(seed, torch.arange(weights.numel(), device=ptr.device).view_as(weights))
        kept = (numbers >= threshold).to(weights.dtype) * (2**32 / (2**32 - threshold))
    return _Pairs(target, source, ptr, weights, kept, shift, total, scale)


def _output(pairs: _Pairs, value: Tensor) -> Tensor:
    weights = (pairs.weights * pairs.kept).unsqueeze(-1)
    return segment_reduce(weights * value[pairs.source], pairs.ptr, "sum")
