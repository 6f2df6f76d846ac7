"""Dot-product attention of sets of one size that drops weights, some queries at a time."""

import itertools
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from graphattn.nn.feature_dropout import DrawnDropout

# Weights that are held at once: they stay in a core's cache from one product to the next. (Twice
# and half as many took as long, eight times as few half as long again, for sets of 30 to 2,000.)
_HELD = 1 << 17
_LEAST_ROWS = 16  # of a product, however many keys there are


def dropped_attention(query: Tensor, key: Tensor, value: Tensor, probability: float) -> Tensor:
    r"""Softmax attention of a dense batch on the CPU, with weights set to zero at random.

    .. math::
        \mathrm{out}_i = \textstyle\sum_j
        \frac{m_{ij}}{1 - p} \operatorname{softmax}_j(q_i \cdot k_j / \sqrt{C}) \, v_j

    PyTorch's blocked kernels drop no weights on the CPU, and what does keeps all pairs. Here some
    sets, or some queries of a large one, are attended at a time, and their weights are computed and
    their :math:`m_{ij}` drawn again for the derivative. Derivatives of derivatives keep all pairs.

    Args:
        query: ``(B, H, N, C)``, of 32 or 64 bits.
        key: ``(B, H, M, C)``, of the type of ``query``.
        value: ``(B, H, M, D)``, of the type of ``query``.
        probability: Of a weight to be dropped, ``p``, above 0 and below 1; to 16 bits.

    Returns:
        ``(B, H, N, D)``.
    """
    seed = int(torch.randint(1 << 62, ()))
    with torch.autocast("cpu", enabled=False):
        out: Tensor = _Dropped.apply(query, key, value, probability, seed)
    return out


class _Dropped(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, probability: float, seed: int
    ) -> Tensor:
        sets, heads, queries, width = query.shape
        # Elements before heads, as the elements of sets lie one after another.
        out = query.new_empty(sets, queries, heads, value.shape[-1]).transpose(1, 2)
        drawn = DrawnDropout(probability, seed)
        for own, of_queries in _tiles(sets, heads, queries, key.shape[2]):
            weights = _weights(query[of_queries] * width**-0.5, key[own])
            weights *= drawn.kept(weights)
            out[of_queries] = (weights @ value[own]).mul_(drawn.factor)
        ctx.save_for_backward(query, key, value, out)
        ctx.probability, ctx.seed = probability, seed
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, out = ctx.saved_tensors
        drawn = DrawnDropout(ctx.probability, ctx.seed)
        if torch.is_grad_enabled():
            found = _differentiable(ctx.needs_input_grad, query, key, value, drawn, gradient)
            return *found, None, None
        sets, heads, queries, width = query.shape
        grad_query = torch.empty_like(query)
        grad_key, grad_value = torch.zeros_like(key), torch.zeros_like(value)
        for own, of_queries in _tiles(sets, heads, queries, key.shape[2]):
            scaled, arrived = query[of_queries] * width**-0.5, gradient[of_queries]
            weights = _weights(scaled, key[own])
            kept = drawn.kept(weights)
            mean = (arrived * out[of_queries]).sum(-1, keepdim=True)
            arrived = arrived * drawn.factor
            grad_logits = arrived @ value[own].transpose(-1, -2)
            grad_logits.mul_(kept).sub_(mean).mul_(weights)
            grad_query[of_queries] = (grad_logits @ key[own]).mul_(width**-0.5)
            grad_key[own] += grad_logits.transpose(-1, -2) @ scaled
            grad_value[own] += kept.mul_(weights).transpose(-1, -2) @ arrived
        return grad_query, grad_key, grad_value, None, None


def _tiles(
    sets: int, heads: int, queries: int, keys: int
) -> Iterator[tuple[tuple[slice, slice], tuple[slice, slice, slice]]]:
    """Which sets and heads are attended at a time, and which of their queries."""
    together = max(1, _HELD // max(heads * queries * keys, 1))
    is_cut = heads * queries * keys > _HELD  # then one head of one set, for products of many rows
    heads_at_once = 1 if is_cut else heads
    rows = max(_LEAST_ROWS, _HELD // keys) if is_cut else max(queries, 1)
    for first, head, row in itertools.product(
        range(0, sets, together), range(0, heads, heads_at_once), range(0, queries, rows)
    ):
        own = (slice(first, first + together), slice(head, head + heads_at_once))
        yield own, (*own, slice(row, row + rows))


def _weights(scaled: Tensor, key: Tensor) -> Tensor:
    return (scaled @ key.transpose(-1, -2)).softmax(-1)


def _differentiable(
    needed: tuple[bool, ...],
    query: Tensor,
    key: Tensor,
    value: Tensor,
    drawn: DrawnDropout,
    gradient: Tensor,
) -> tuple[Tensor | None, ...]:
    """Derivatives that can be differentiated, by whole matrices."""
    sets, heads, queries, width = query.shape
    shape = (sets, heads, queries, key.shape[2])
    mask = query.new_empty(shape)
    for _, of_queries in _tiles(*shape):
        mask[of_queries] = drawn.kept(mask[of_queries])
    weights = _weights(query * width**-0.5, key) * (mask * drawn.factor)
    given = [x for x, is_needed in zip((query, key, value), needed, strict=False) if is_needed]
    found = iter(torch.autograd.grad(weights @ value, given, gradient, create_graph=True))
    return tuple(next(found) if is_needed else None for is_needed in needed[:3])
