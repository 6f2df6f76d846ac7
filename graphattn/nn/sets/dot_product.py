"""Scaled dot-product attention inside sets of unequal size, without padding."""

import functools
from collections.abc import Callable

import torch
from torch import Tensor

from graphattn.attention import EdgeAttention
from graphattn.blocks import Blocks
from graphattn.compiled import is_transformed
from graphattn.nn.elements import check_attention
from graphattn.nn.feature_dropout import DrawnDropout
from graphattn.nn.sets.dense_attention import dense_attention
from graphattn.nn.sets.dropped_attention import dropped_attention
from graphattn.nn.sets.size_groups import size_groups

# Sets of one size go together through PyTorch's own attention, whose blocked products take a third
# to a sixth of the time of a walk over the pairs from 16 by 16 elements on; below 12 by 12 the walk
# is as fast. A call costs as much as the walk gains between so many pairs of all heads. (Measured
# forward and backward, one thread, 4 and 8 heads of 8 to 32 channels.)
_LEAST_PAIRS = 144
_MANY_PAIRS = 5000
# Where weights are dropped, products of some queries at a time take half as long as the walk for
# sets of 30, and a fifth for sets of 100 to 6,000; but they occupy few threads, and the walk all.
# (Measured with one and two threads, of which the second brings the products a third.)
_MOST_THREADS = 8


def score(query: Tensor, key: Tensor) -> Tensor:
    """The dot product over the square root of the width; both ``(E, H, C)``, gives ``(E, H)``."""
    return (query * key).sum(-1) / query.shape[-1] ** 0.5


def message(value: Tensor) -> Tensor:
    """The value, ``(E, H, C)``."""
    return value


attend = EdgeAttention(score, message, target=["query"], source=["key", "value"])


def dot_product_attention(
    blocks: Blocks, query: Tensor, key: Tensor, value: Tensor, dropout: float = 0.0
) -> Tensor:
    r"""Softmax attention of every query over the keys of its set.

    .. math::
        \mathrm{out}_i = \textstyle\sum_j \operatorname{softmax}_j(q_i \cdot k_j / \sqrt{C}) \, v_j

    Nothing of the size of all pairs is kept, in either direction. Sets of one size go together
    through PyTorch's ``scaled_dot_product_attention`` where they have many pairs, or where weights
    are dropped through matrix products of some queries at a time; all others go together through
    the compiled program, as does dropout on a GPU, on many threads, in types of 16 bits and in
    ``torch.compile``.
    Derivatives of derivatives keep the pairs of the former.

    Args:
        blocks: The sets.
        query: ``(N, H, C)``.
        key: ``(M, H, C)``.
        value: ``(M, H, D)``.
        dropout: Probability with which a weight is set to zero, to 16 bits.

    Returns:
        ``(N, H, D)``, of the type that the inputs promote to, autocast or not; zeros for a query of
        a set without keys.

    Raises:
        TypeError: If an input is no floating-point tensor.
        ValueError: If a shape does not fit the sets.
    """
    check_attention(query, key, value, blocks)
    dtype = torch.promote_types(torch.promote_types(query.dtype, key.dtype), value.dtype)
    query, key, value = (x.to(dtype) for x in (query, key, value))
    small = functools.partial(_of_small_sets, dropout)
    large = _of_large_sets(query, dropout)
    if large is not None:
        many_pairs = -(-_MANY_PAIRS // max(query.shape[1], 1))
        groups = size_groups(blocks, _LEAST_PAIRS, many_pairs)
        if groups.counts:
            return groups.attend(query, key, value, small, large)
    return small(blocks, query, key, value)


def _of_large_sets(query: Tensor, dropout: float) -> Callable[..., Tensor] | None:
    """What attends in a dense batch, if that is faster than a walk over the pairs."""
    if dropout == 0:
        return dense_attention
    is_special = torch.compiler.is_compiling() or is_transformed()
    is_wide = query.dtype in (torch.float32, torch.float64)
    is_of_few = query.device.type == "cpu" and torch.get_num_threads() <= _MOST_THREADS
    if is_special or not is_wide or not is_of_few or not DrawnDropout(dropout).draws:
        return None
    return functools.partial(dropped_attention, probability=dropout)


def _of_small_sets(
    dropout: float, blocks: Blocks, query: Tensor, key: Tensor, value: Tensor
) -> Tensor:
    out: Tensor = attend(blocks, query=query, key=key, value=value, dropout=dropout)
    return out
