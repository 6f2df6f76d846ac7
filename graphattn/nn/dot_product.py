"""Scaled dot-product attention inside sets of unequal size, without padding."""

from collections.abc import Sequence

import torch
from torch import Tensor

from graphattn.attention import EdgeAttention
from graphattn.blocks import Blocks
from graphattn.nn.dense_attention import dense_attention
from graphattn.nn.elements import check_attention

# Sets with more pairs go through PyTorch's own attention, by their size: its blocked products are
# faster than a walk over the pairs from about 24 by 24 on, where a call no longer costs more than
# that walk (measured forward and backward, 4 and 8 heads of 8 to 32 channels).
_MANY_PAIRS = 600


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

    Nothing of the size of all pairs is kept, in either direction. Large sets go through PyTorch's
    ``scaled_dot_product_attention``, all of one size together, and small ones together through the
    compiled program; so do all of them with dropout, which is drawn there. Derivatives of
    derivatives keep the pairs of a large set.

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
    sizes = list(zip(blocks.target_sizes, blocks.source_sizes, strict=True))
    first = sizes[0] if sizes else (0, 0)
    is_large = [queries * keys > _MANY_PAIRS for queries, keys in sizes]
    if dropout > 0 or not any(is_large):
        out: Tensor = attend(blocks, query=query, key=key, value=value, dropout=dropout)
        return out
    if all(size == first for size in sizes):
        dense = (x.unflatten(0, (len(sizes), -1)).transpose(1, 2) for x in (query, key, value))
        return dense_attention(*dense).transpose(1, 2).flatten(0, 1)
    parts = [x.split(list(own)) for x, own in zip((query, key, value), _splits(sizes), strict=True)]
    small = [number for number, many in enumerate(is_large) if not many]
    found = dict(zip(small, _together(blocks, small, parts), strict=True))
    of_size: dict[tuple[int, int], list[int]] = {}
    for number, many in enumerate(is_large):
        if many:
            of_size.setdefault(sizes[number], []).append(number)
    for numbers in of_size.values():
        own = (torch.stack([part[number] for number in numbers]).transpose(1, 2) for part in parts)
        found.update(zip(numbers, dense_attention(*own).transpose(1, 2), strict=True))  # (n, H, D)
    return torch.cat([found[number] for number in range(len(sizes))])


def _splits(sizes: Sequence[tuple[int, int]]) -> tuple[list[int], list[int], list[int]]:
    queries, keys = ([size[end] for size in sizes] for end in (0, 1))
    return queries, keys, keys


def _together(
    blocks: Blocks, small: list[int], parts: list[tuple[Tensor, ...]]
) -> tuple[Tensor, ...]:
    """The small sets, in one call."""
    if not small:
        return ()
    query, key, value = (torch.cat([part[number] for number in small]) for part in parts)
    sizes = [
        [own[number] for number in small] for own in (blocks.target_sizes, blocks.source_sizes)
    ]
    borders = (torch.tensor([0, *own]).cumsum(0).to(blocks.device) for own in sizes)
    out: Tensor = attend(Blocks.from_ptr(*borders), query=query, key=key, value=value)
    return out.split(sizes[0])
