"""PyTorch's dot-product attention of sets of one size, differentiable any number of times."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from graphattn.kernels.cpp.fallback import is_transformed


def dense_attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Softmax of the dot products over the square root of the width, times the values.

    It is ``scaled_dot_product_attention``, whose blocked kernels keep no pairs but cannot be
    differentiated twice: a derivative of the derivative, and transforms of ``torch.func``, take
    products of whole matrices. Autocast does not change the element type.

    Args:
        query: ``(B, H, N, C)``.
        key: ``(B, H, M, C)``, of the type of ``query``.
        value: ``(B, H, M, D)``, of the type of ``query``.

    Returns:
        ``(B, H, N, D)``.
    """
    with torch.autocast(query.device.type, enabled=False):
        if is_transformed():
            return _by_matrices(query, key, value)
        is_differentiated = any(x.requires_grad for x in (query, key, value))
        if torch.compiler.is_compiling() or not (torch.is_grad_enabled() and is_differentiated):
            return _by_pytorch(query, key, value)
        arriving = _Arriving()
        out = _by_pytorch(*_Inputs.apply(arriving, query, key, value))
        out.register_hook(arriving.keep)
        return out


class _Arriving:
    """What arrives at the output in a backward pass that is itself to be differentiated."""

    def __init__(self) -> None:
        self.gradient: Tensor | None = None

    def keep(self, gradient: Tensor) -> None:
        if torch.is_grad_enabled():
            self.gradient = gradient


class _Inputs(torch.autograd.Function):
    """The inputs as they are; where PyTorch's derivative could not go on, a derivative that can."""

    @staticmethod
    def forward(ctx: Any, arriving: _Arriving, *inputs: Tensor) -> tuple[Tensor, ...]:
        ctx.arriving = arriving
        ctx.save_for_backward(*inputs)
        return tuple(x.view_as(x) for x in inputs)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        arrived, ctx.arriving.gradient = ctx.arriving.gradient, None
        if arrived is None:
            return None, *gradients
        needs, inputs = ctx.needs_input_grad[1:], ctx.saved_tensors
        needed = [x for x, is_needed in zip(inputs, needs, strict=True) if is_needed]
        out = _by_matrices(*inputs)
        found = iter(torch.autograd.grad(out, needed, arrived, create_graph=True))
        return None, *(next(found) if is_needed else None for is_needed in needs)


def _by_matrices(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    logits = query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5  # (B, H, N, M)
    return logits.softmax(-1) @ value


def _by_pytorch(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """PyTorch's kernels keep all pairs if values are not as wide as keys."""
    if query.shape[-1] == value.shape[-1]:
        return F.scaled_dot_product_attention(query, key, value)
    width = max(query.shape[-1], value.shape[-1])
    # Zeros beside a query and a key change no product.
    scale = query.shape[-1] ** -0.5
    query, key, wide = (F.pad(x, (0, width - x.shape[-1])) for x in (query, key, value))
    out = F.scaled_dot_product_attention(query, key, wide, scale=scale)
    return out[..., : value.shape[-1]]
