"""Dot-product attention inside sets as a PyTorch operator, with its public function."""

from typing import Any

import torch
from torch import Tensor

from graphattn.kernels.block_attention import cpu, reference
from graphattn.kernels.cpp.fallback import (
    can_compile,
    must_be_plain,
    or_by_definition,
    refuse_forward_mode,
)
from graphattn.kernels.segment_reduce.op import check_ptr


def block_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    target_ptr: Tensor,
    source_ptr: Tensor,
    draw: Tensor | None = None,
) -> Tensor:
    r"""Softmax attention of every query over the keys of its set, of any sizes, on the CPU.

    .. math::
        \mathrm{out}_i = \textstyle\sum_j m_{ij}
        \operatorname{softmax}_j(q_i \cdot k_j / \sqrt{C}) \, v_j

    Nothing of the size of all pairs is kept, in either direction: the weights are computed and what
    is dropped of them is drawn again for the derivative. Derivatives of derivatives keep the pairs,
    as does ``torch.func``.
    The bits are the same for any number of threads, and for a set alone and beside others; a
    thread takes at least all queries of one head of a set.

    Args:
        query: ``(N, H, C)``, float32 or float64.
        key: ``(M, H, C)``, of the type of ``query``.
        value: ``(M, H, D)``, of the type of ``query``.
        target_ptr: Queries of set ``s`` stand at ``target_ptr[s]:target_ptr[s + 1]``, ``(S + 1,)``,
            int64, rising from 0 to ``N``; sets may be empty.
        source_ptr: Likewise for keys, to ``M``.
        draw: What is dropped, ``(2,)``, int64: a seed from 0 to 2⁶³ − 1, and a threshold from 0,
            which keeps all, to 2³² − 1. A weight is dropped, :math:`m_{ij} = 0`, if the first
            number of Philox for the seed and its own number, pair by pair in the order of
            ``Blocks`` and head by head, lies below the threshold. The others grow: the mean stays.

    Returns:
        ``(N, H, D)``; zeros for a query of a set without keys. Differentiable any number of times.

    Raises:
        TypeError: If a tensor is of another type.
        ValueError: If a shape does not fit, borders do not rise from 0 to the number of rows, or
            the seed or the threshold is out of range.
    """
    out, _ = _attended(query, key, value, target_ptr, source_ptr, draw)
    return out


def _check(
    query: Tensor, key: Tensor, value: Tensor, target_ptr: Tensor, source_ptr: Tensor
) -> None:  # fmt: skip
    for name, x in (("query", query), ("key", key), ("value", value)):
        if x.dtype not in (torch.float32, torch.float64) or x.dtype != query.dtype:
            raise TypeError(f"{name} must be float32 or float64, as query is, got {x.dtype}")
        if x.ndim != 3:
            raise ValueError(f"{name} must be (rows, H, C), got {tuple(x.shape)}")
    same_heads = query.shape[1:] == key.shape[1:] and key.shape[1] == value.shape[1]
    if not same_heads or key.shape[0] != value.shape[0]:
        shapes = ", ".join(str(tuple(x.shape)) for x in (query, key, value))
        raise ValueError(
            f"query, key and value must be (N, H, C), (M, H, C), (M, H, D), got {shapes}"
        )
    for name, ptr, rows in (("target_ptr", target_ptr, query), ("source_ptr", source_ptr, key)):
        if ptr.dtype != torch.int64:
            raise TypeError(f"{name} must be int64, got {ptr.dtype}")
        if ptr.ndim != 1 or ptr.shape != target_ptr.shape or len(ptr) == 0:
            raise ValueError(
                "target_ptr and source_ptr must be (S + 1,), one border more than sets, got"
                f" {tuple(target_ptr.shape)} and {tuple(source_ptr.shape)}"
            )
        check_ptr(ptr, rows.shape[0])


def _numbers(draw: Tensor | None) -> tuple[int, int]:
    """The seed and the threshold of a draw, checked; none drops nothing."""
    if draw is None:
        return 0, 0
    if draw.dtype != torch.int64 or draw.shape != (2,):
        raise ValueError(
            f"draw must be int64 (2,), a seed and a threshold, got {draw.dtype} {tuple(draw.shape)}"
        )
    seed, threshold = draw.tolist()
    if not (seed >= 0 and 0 <= threshold < 1 << 32):
        raise ValueError(
            "draw must be a seed in [0, 2**63) and a threshold in [0, 2**32), got"
            f" {seed} and {threshold}"
        )
    return seed, threshold


def _by_definition(
    query: Tensor, key: Tensor, value: Tensor, target_ptr: Tensor, source_ptr: Tensor,
    draw: Tensor | None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    given = (query, key, value, target_ptr, source_ptr)
    _check(*given)
    return reference.block_attention(*given, *_numbers(draw))


@torch.library.custom_op("graphattn::block_attention", mutates_args=())
def _block_attention(
    query: Tensor, key: Tensor, value: Tensor, target_ptr: Tensor, source_ptr: Tensor,
    draw: Tensor | None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """The output, and of each query and head the shift and sum of its exponentials, (N, H, 2)."""
    refuse_forward_mode()
    given = (query, key, value, target_ptr, source_ptr)
    if not can_compile(*given):
        return _by_definition(*given, draw)
    _check(*given)
    return cpu.block_attention(*given, *_numbers(draw))


@_block_attention.register_fake
def _(query: Tensor, key: Tensor, value: Tensor, *_: Any) -> tuple[Tensor, Tensor]:
    shape = query.shape[:2]
    return query.new_empty(*shape, value.shape[2]), query.new_empty(*shape, 2)


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    ctx.save_for_backward(*inputs, *output)


def _backward(ctx: Any, grad: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
    query, key, value, target_ptr, source_ptr, draw, out, norm = ctx.saved_tensors
    given = (query, key, value, target_ptr, source_ptr)
    if must_be_plain(grad):
        found = reference.gradients(grad, *given, *_numbers(draw))
    else:
        found = _block_attention_backward(grad, *given, draw, out, norm)
    return *found, None, None, None


_block_attention.register_autograd(_backward, setup_context=_save)
_attended = or_by_definition(_block_attention, _by_definition)


@torch.library.custom_op("graphattn::block_attention_backward", mutates_args=())
def _block_attention_backward(
    grad: Tensor, query: Tensor, key: Tensor, value: Tensor, target_ptr: Tensor,
    source_ptr: Tensor, draw: Tensor | None, out: Tensor, norm: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    given = (query, key, value, target_ptr, source_ptr)
    _check(*given)
    shapes = ((*query.shape[:2], value.shape[2]), (*query.shape[:2], 2))
    for x, shape in ((grad, shapes[0]), (out, shapes[0]), (norm, shapes[1])):
        if x.shape != shape or x.dtype != query.dtype:
            raise ValueError(
                f"a result and its gradient must be {shape} {query.dtype}, got"
                f" {tuple(x.shape)} {x.dtype}"
            )
    if can_compile(grad, *given, out, norm):
        return cpu.block_attention_backward(grad, *given, out, norm, *_numbers(draw))
    return reference.gradients(grad, *given, *_numbers(draw))


@_block_attention_backward.register_fake
def _(_: Tensor, query: Tensor, key: Tensor, value: Tensor, *__: Any) -> tuple[Tensor, ...]:
    return tuple(x.new_empty(x.shape) for x in (query, key, value))
