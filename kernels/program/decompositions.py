"""The rewriting of PyTorch's operations into the few that an edge program has."""

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch._decomp import core_aten_decompositions, get_decompositions
from torch._ops import OpOverload

aten = torch.ops.aten
prims = torch.ops.prims

# Beyond PyTorch's own core set: each of these is a handful of pointwise steps and reductions.
_FURTHER = [
    aten._log_softmax,
    aten._softmax,
    aten.addmm,
    aten.baddbmm,
    aten.celu,
    aten.clamp,
    aten.clamp_max,
    aten.clamp_min,
    aten.elu,
    aten.gelu,
    aten.glu,
    aten.hardsigmoid,
    aten.hardswish,
    aten.hardtanh,
    aten.leaky_relu,
    aten.log_sigmoid_forward,
    aten.masked_fill,
    aten.mean,
    aten.native_group_norm,
    aten.native_layer_norm,
    aten.silu,
    aten.softplus,
    aten.square,
    aten.stack,
    aten.unbind,
]


@cache
def decompositions() -> dict[OpOverload, Callable[..., Any]]:
    """Decompositions by operator, for ``make_fx``."""
    table = dict(core_aten_decompositions())
    table.update(get_decompositions(_FURTHER))
    # PyTorch's own rewriting of these ends in operations that cannot be functionalised.
    table[aten.var.correction] = _var
    table[aten.var_mean.correction] = _var_mean
    table[aten.std.correction] = _std
    table[aten.linalg_vector_norm.default] = _vector_norm
    table[prims.broadcast_in_dim.default] = _broadcast_in_dim
    table[aten.copy.default] = _copy
    table[aten.slice_scatter.default] = _slice_scatter
    del table[aten.detach.default]  # it matters to the derivative, so the program keeps it
    return table


def _var_mean(
    x: Tensor,
    dim: list[int] | None = None,
    *,
    correction: float | None = None,
    keepdim: bool = False,
) -> tuple[Tensor, Tensor]:
    axes = list(range(x.ndim)) if dim is None else dim
    count = math.prod(x.shape[axis] for axis in axes)
    mean = x.sum(axes, keepdim=True) / count
    divisor = max(0, count - (1 if correction is None else correction))
    var = (x - mean).square().sum(axes, keepdim=keepdim) / divisor
    return var, mean if keepdim else x.sum(axes) / count


def _var(x: Tensor, dim: list[int] | None = None, **settings: Any) -> Tensor:
    return _var_mean(x, dim, **settings)[0]


def _std(x: Tensor, dim: list[int] | None = None, **settings: Any) -> Tensor:
    return _var_mean(x, dim, **settings)[0].sqrt()


def _copy(x: Tensor, values: Tensor, non_blocking: bool = False) -> Tensor:
    return values.to(x.dtype).expand(x.shape)


def _slice_scatter(
    x: Tensor,
    values: Tensor,
    dim: int = 0,
    start: int | None = None,
    end: int | None = None,
    step: int = 1,
) -> Tensor:
    size = x.shape[dim]
    if values.shape[dim] == size:
        return values.expand(x.shape)
    positions = list(range(size))
    places = slice(start, end, step)
    positions[places] = range(size, size + len(positions[places]))
    return torch.cat([x, values.to(x.dtype)], dim).transpose(0, dim)[positions].transpose(0, dim)


def _broadcast_in_dim(x: Tensor, shape: list[int], broadcast_dimensions: list[int]) -> Tensor:
    for axis in range(len(shape)):
        if axis not in broadcast_dimensions:
            x = x.unsqueeze(axis)
    return x.expand(shape)


def _vector_norm(
    x: Tensor,
    ord: float = 2,
    dim: list[int] | None = None,
    keepdim: bool = False,
    *,
    dtype: torch.dtype | None = None,
) -> Tensor:
    x = x if dtype is None else x.to(dtype)
    axes = list(range(x.ndim)) if dim is None else dim
    if math.isinf(ord):
        return x.abs().amax(axes, keepdim) if ord > 0 else x.abs().amin(axes, keepdim)
    if ord == 0:
        return (x != 0).to(x.dtype).sum(axes, keepdim)
    if ord == 1:
        return x.abs().sum(axes, keepdim)
    total = x.square() if ord == 2 else x.abs().pow(ord)
    total = total.sum(axes, keepdim)
    # The root is infinitely steep at zero, where PyTorch's own derivative is zero.
    is_zero = total == 0
    root = total.masked_fill(is_zero, 1)
    return (root.sqrt() if ord == 2 else root.pow(1 / ord)).masked_fill(is_zero, 0)
