"""Scaled dot-product attention inside sets of unequal size, without padding."""

import torch
from torch import Tensor

from graphattn.attention import EdgeAttention
from graphattn.blocks import Blocks
from graphattn.dropout import dropout_draw
from graphattn.dynamo import constant
from graphattn.kernels.block_attention import block_attention
from graphattn.kernels.cpp.fallback import can_compile, is_transformed
from graphattn.nn.elements import check_attention
from graphattn.nn.sets.dense_attention import dense_attention
from graphattn.nn.sets.size_groups import size_groups
from graphattn.traced import can_trace

# Sets of one size go together through PyTorch's own attention, whose blocked products take a third
# to a sixth of the time of a walk over the pairs from 16 by 16 elements on; below 12 by 12 the walk
# is as fast. A call costs as much as the walk gains between so many pairs of all heads. (Measured
# forward and backward, one thread, 4 and 8 heads of 8 to 32 channels.)
_LEAST_PAIRS = 144
_MANY_PAIRS = 5000
# A kernel of its own takes half the time of either for sets of 10 to 40 elements, and no more for
# larger ones, but copies the keys of every set and head, which few queries do not repay. Where
# weights are dropped, which PyTorch's attention does not do on a CPU, it repays sooner. (Sets of 30
# to 6,000 elements, 1 to 8 heads of 8 to 128 channels, one and two threads.)
_QUERIES, _QUERIES_WITH_DROPOUT = 8, 4


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

    Nothing of the size of all pairs is kept, in either direction; derivatives of derivatives keep
    them. On the CPU sets go through a kernel that attends some queries of a set at a time
    (``graphattn.kernels.block_attention``). Elsewhere, and where there are few queries for each
    key, sets of one size go together through PyTorch's ``scaled_dot_product_attention`` where they
    have many pairs; all others go together through the compiled program, as does dropout.

    Args:
        blocks: The sets.
        query: ``(N, H, C)``.
        key: ``(M, H, C)``.
        value: ``(M, H, D)``.
        dropout: Probability with which a weight is set to zero.

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
    if _is_for_kernel(blocks, query, key, value, dropout):
        draw, _ = dropout_draw(dropout, query.device)
        return block_attention(query, key, value, blocks.target_ptr, blocks.source_ptr, draw)
    is_in_graph = torch.compiler.is_compiling() and _can_run(query, key, value)
    if dropout == 0 and not is_in_graph:  # groups are read from the sets, which breaks a graph
        many_pairs = -(-_MANY_PAIRS // max(query.shape[1], 1))
        groups = size_groups(blocks, _LEAST_PAIRS, many_pairs)
        if groups.counts:
            return groups.attend(query, key, value, _of_small_sets, dense_attention)
    out: Tensor = attend(blocks, query=query, key=key, value=value, dropout=dropout)
    return out


def _is_for_kernel(
    blocks: Blocks, query: Tensor, key: Tensor, value: Tensor, dropout: float
) -> bool:
    """Whether there is a kernel for these, and nothing that is faster or that it cannot do."""
    is_wide = query.dtype in (torch.float32, torch.float64)
    is_probability = dropout >= 0 and round(dropout * 2**32) < 2**32
    if not is_wide or not is_probability or is_transformed() or not _can_run(query, key, value):
        return False
    least = _QUERIES_WITH_DROPOUT if dropout else _QUERIES
    return blocks.num_edges >= least * blocks.num_sources and _is_shared(blocks, query.shape[1])


def _can_run(*inputs: Tensor) -> bool:
    if torch.compiler.is_compiling():
        return inputs[0].device.type == "cpu" and can_trace(inputs[0].device, inputs)
    return can_compile(*inputs)


def _is_shared(blocks: Blocks, heads: int) -> bool:
    """Whether all threads have something to do, when one takes all of a head of a set."""
    threads = _num_threads()
    return heads >= threads or blocks.most_pairs * threads <= blocks.num_edges * heads


@constant
def _num_threads() -> int:
    return torch.get_num_threads()


def _of_small_sets(blocks: Blocks, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    out: Tensor = attend(blocks, query=query, key=key, value=value)
    return out
