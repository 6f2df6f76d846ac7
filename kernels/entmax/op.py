"""Entmax over segments as a PyTorch operator: schema, dispatch, derivative, public function."""

import math
from typing import Any, Literal

import torch
from torch import Tensor

from graphattn.kernels.cpp.compiler import is_available
from graphattn.kernels.cpp.fallback import (
    must_be_plain,
    or_by_definition,
    refuse_forward_mode,
)
from graphattn.kernels.entmax import cpu, reference
from graphattn.kernels.segment_reduce.op import check_ptr
from graphattn.kernels.triton.available import require_triton


def entmax(
    logits: Tensor,
    ptr: Tensor,
    order: Tensor,
    alpha: float | Tensor,
    *,
    backend: Literal["auto", "reference"] = "auto",
) -> Tensor:
    r"""Weights that sum to one over each segment, and of which many are exactly zero.

    .. math::
        w_i = \bigl[(\alpha - 1) z_i - \tau\bigr]_+^{1 / (\alpha - 1)}, \qquad
        \tau: \textstyle\sum_i w_i = 1

    Alpha 2 is sparsemax, 1.5 entmax-1.5; towards one the weights become those of softmax, and the
    larger alpha is, the fewer are not zero. A segment without rows, or with logits of −inf alone,
    has weights of zero. Logits of +inf share the weight equally, the limit of large ones. NaN gives
    NaN in its own segment and head. An alpha that is not above one, or not finite, gives NaN.

    Args:
        logits: ``(E, H)``, floating point. Half precisions are computed in float32.
        ptr: Segment ``s`` has the rows ``order[ptr[s]:ptr[s + 1]]``; ``(S + 1,)``, int64, rising
            from 0 to ``E``.
        order: Each row of ``logits`` once, ``(E,)``, int32 or int64.
        alpha: A number above one, or a tensor with one for each head, ``(H,)``, or for all, ``()``;
            gradients reach it.
        backend: ``"auto"`` takes the C++ kernel on the CPU, Triton's on a GPU, plain PyTorch
            elsewhere, inside ``torch.func`` and, with a warning, without a compiler;
            ``"reference"`` is plain PyTorch.

    Returns:
        Weights, ``(E, H)``, of the dtype of ``logits``; differentiable any number of times, in
        forward mode once.

    Raises:
        TypeError: If a tensor has another dtype than these, or ``alpha`` is neither number nor
            tensor.
        ValueError: If a shape does not fit, ``ptr`` does not rise from 0 to ``E``, or the number
            ``alpha`` is not above one.
        IndexError: If ``order`` does not hold each row once. On a GPU it and ``ptr`` are checked
            there, see ``segment_reduce.op.check_ptr``.
        ModuleNotFoundError: If Triton, which the GPU needs, is not installed.
        NotImplementedError: Inside two forward-mode derivatives.

    Source: Martins and Astudillo, "From Softmax to Sparsemax", ICML 2016; Peters, Niculae and
        Martins, "Sparse Sequence-to-Sequence Models", ACL 2019; gradient of alpha: Correia, Niculae
        and Martins, "Adaptively Sparse Transformers", EMNLP 2019. The threshold is found by
        Newton's method, by bisection for alpha above 2.
    """
    if not isinstance(logits, Tensor) or not logits.is_floating_point():
        got = logits.dtype if isinstance(logits, Tensor) else type(logits).__name__
        raise TypeError(f"logits must be a floating-point tensor, got {got}")
    wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
    alphas = _one_for_each_head(alpha, wide)
    _check(wide, ptr, order, alphas)
    run = reference.entmax if backend == "reference" else _weights
    weights: Tensor = run(wide, ptr, order, alphas)
    return weights.to(logits.dtype)


def _one_for_each_head(alpha: float | Tensor, logits: Tensor) -> Tensor:
    if isinstance(alpha, Tensor):
        if not alpha.is_floating_point():
            raise TypeError(f"alpha must be floating point, got {alpha.dtype}")
        alphas = alpha.to(torch.float64)
        return alphas.expand(logits.shape[1]) if alpha.ndim == 0 and logits.ndim == 2 else alphas
    if isinstance(alpha, bool) or not isinstance(alpha, int | float):
        raise TypeError(f"alpha must be a number or a tensor, got {type(alpha).__name__}")
    if not 1 < alpha < math.inf:
        raise ValueError(f"alpha must be a finite number above 1, got {alpha}")
    return torch.full(logits.shape[1:], alpha, dtype=torch.float64, device=logits.device)


def _check(logits: Tensor, ptr: Tensor, order: Tensor, alpha: Tensor) -> None:
    if logits.ndim != 2 or logits.dtype not in (torch.float32, torch.float64):
        raise ValueError(f"logits must be (E, H), got {tuple(logits.shape)} {logits.dtype}")
    if not isinstance(ptr, Tensor) or ptr.dtype != torch.int64:
        got = ptr.dtype if isinstance(ptr, Tensor) else type(ptr).__name__
        raise TypeError(f"ptr must be an int64 tensor, got {got}")
    if ptr.ndim != 1 or ptr.shape[0] == 0:
        raise ValueError(f"ptr must be (S + 1,), got {tuple(ptr.shape)}")
    if not isinstance(order, Tensor) or order.dtype not in (torch.int32, torch.int64):
        got = order.dtype if isinstance(order, Tensor) else type(order).__name__
        raise TypeError(f"order must be an int32 or int64 tensor, got {got}")
    if order.shape != logits.shape[:1]:
        raise ValueError(f"order must be (E,) with E = {logits.shape[0]}, got {tuple(order.shape)}")
    if alpha.shape != logits.shape[1:] or alpha.dtype != torch.float64:
        raise ValueError(f"alpha must be (H,) with H = {logits.shape[1]}, got {tuple(alpha.shape)}")
    devices = {str(t.device) for t in (logits, ptr, order, alpha)}
    if len(devices) > 1:
        raise ValueError(f"logits, ptr, order and alpha must be on one device, got {devices}")


def _check_rows_on_device(ptr: Tensor, order: Tensor) -> None:
    check_ptr(ptr, order.shape[0])
    is_there = torch.zeros_like(order, dtype=torch.bool)
    # An index out of range fails the scatter itself.
    is_there.scatter_(0, order.long(), True)
    torch._assert_async(is_there.all(), "order must hold each row once")


def _check_gradient(grad: Tensor, weights: Tensor) -> None:
    if grad.shape != weights.shape or grad.dtype != weights.dtype:
        raise ValueError(
            f"grad must be as the weights are, {tuple(weights.shape)} {weights.dtype}, got"
            f" {tuple(grad.shape)} {grad.dtype}"
        )


def _gradients(
    grad: Tensor, weights: Tensor, ptr: Tensor, order: Tensor, alpha: Tensor, want_alpha: bool
) -> tuple[Tensor, Tensor]:
    segment = reference.segments(ptr, order)
    of_logits, of_alpha = reference.gradients(grad, weights, segment, ptr.shape[0] - 1, alpha)
    return of_logits, of_alpha if want_alpha else of_alpha.new_empty(0)


@torch.library.custom_op("graphattn::entmax", mutates_args=())
def _entmax(logits: Tensor, ptr: Tensor, order: Tensor, alpha: Tensor) -> Tensor:
    refuse_forward_mode()
    return reference.entmax(logits, ptr, order, alpha)


@_entmax.register_kernel("cpu")
def _(logits: Tensor, ptr: Tensor, order: Tensor, alpha: Tensor) -> Tensor:
    refuse_forward_mode()
    _check(logits, ptr, order, alpha)
    run = cpu.entmax if is_available() else reference.entmax
    return run(logits, ptr, order, alpha)


@_entmax.register_kernel("cuda")
def _(logits: Tensor, ptr: Tensor, order: Tensor, alpha: Tensor) -> Tensor:
    refuse_forward_mode()
    _check(logits, ptr, order, alpha)
    _check_rows_on_device(ptr, order)
    require_triton()
    from graphattn.kernels.entmax import triton

    return triton.entmax(logits, ptr, order, alpha)


@_entmax.register_fake
def _(logits: Tensor, ptr: Tensor, order: Tensor, alpha: Tensor) -> Tensor:
    return torch.empty_like(logits, memory_format=torch.contiguous_format)


@torch.library.custom_op("graphattn::entmax_backward", mutates_args=())
def _entmax_backward(
    grad: Tensor, weights: Tensor, ptr: Tensor, order: Tensor, alpha: Tensor, want_alpha: bool
) -> tuple[Tensor, Tensor]:
    return _gradients(grad, weights, ptr, order, alpha, want_alpha)


@_entmax_backward.register_kernel("cpu")
def _(
    grad: Tensor, weights: Tensor, ptr: Tensor, order: Tensor, alpha: Tensor, want_alpha: bool
) -> tuple[Tensor, Tensor]:
    _check(weights, ptr, order, alpha)
    _check_gradient(grad, weights)
    run = cpu.entmax_backward if is_available() else _gradients
    return run(grad, weights, ptr, order, alpha, want_alpha)


@_entmax_backward.register_kernel("cuda")
def _(
    grad: Tensor, weights: Tensor, ptr: Tensor, order: Tensor, alpha: Tensor, want_alpha: bool
) -> tuple[Tensor, Tensor]:
    _check(weights, ptr, order, alpha)
    _check_gradient(grad, weights)
    _check_rows_on_device(ptr, order)
    require_triton()
    from graphattn.kernels.entmax import triton

    return triton.entmax_backward(grad, weights, ptr, order, alpha, want_alpha)


@_entmax_backward.register_fake
def _(
    grad: Tensor, weights: Tensor, ptr: Tensor, order: Tensor, alpha: Tensor, want_alpha: bool
) -> tuple[Tensor, Tensor]:
    of_logits = torch.empty_like(weights, memory_format=torch.contiguous_format)
    return of_logits, alpha.new_empty(alpha.shape[0] if want_alpha else 0)


def _save(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor, Tensor], output: Tensor) -> None:
    ctx.save_for_backward(output, *inputs[1:])


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, None, None, Tensor | None]:
    weights, ptr, order, alpha = ctx.saved_tensors
    want_alpha = ctx.needs_input_grad[3]
    run = _gradients if must_be_plain() else _entmax_backward
    of_logits, of_alpha = run(grad, weights, ptr, order, alpha, want_alpha)
    return of_logits, None, None, of_alpha if want_alpha else None


_entmax.register_autograd(_backward, setup_context=_save)
_weights = or_by_definition(_entmax, reference.entmax)
