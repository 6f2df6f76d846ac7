"""Reductions of segments as PyTorch operators: schemas, derivatives, the public function."""

from typing import Any, Literal, get_args

import torch
from torch import Tensor

from graphattn.kernels.cpp.fallback import (
    can_compile,
    or_by_definition,
    refuse_forward_mode,
)
from graphattn.kernels.segment_reduce import cpu, reference
from graphattn.kernels.triton.available import require_triton

Reduction = Literal["sum", "mean", "min", "max"]
_DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)


def segment_reduce(
    x: Tensor,
    ptr: Tensor,
    reduce: Reduction = "sum",
    *,
    backend: Literal["auto", "reference"] = "auto",
) -> Tensor:
    """Sum, mean, least or largest value of each run of consecutive rows.

    A NaN makes the result of its segment and column NaN. Rows that hold the least or largest value
    together share its gradient equally, as in ``torch.amax``. Sums of half precision are held in
    float32. The bits are the same for any number of threads, and in every run on a GPU.

    Args:
        x: Rows, ``(E, ...)``, floating point.
        ptr: Segment boundaries, ``(S + 1,)``, int64, rising from 0 to ``E``; segments may be empty.
        reduce: ``"sum"``, ``"mean"``, ``"min"`` or ``"max"``.
        backend: ``"auto"`` takes the C++ kernel on the CPU, Triton's on a GPU and plain PyTorch
            elsewhere and inside ``torch.func``, ``"reference"`` is plain PyTorch.

    Returns:
        ``(S, ...)``; zero for an empty segment. Differentiable any number of times.

    Raises:
        TypeError: If ``x`` is not float32, float64, bfloat16 or float16, or ``ptr`` not int64.
        ValueError: If a shape does not fit, devices differ, ``ptr`` does not rise from 0 to ``E``,
            or ``reduce`` or ``backend`` is unknown. For boundaries on a GPU see ``check_ptr``.
        ModuleNotFoundError: If Triton, which the GPU needs, is not installed.
    """
    check_segments("x", x, ptr, backend)
    if reduce not in get_args(Reduction):
        raise ValueError(f"reduce must be one of {get_args(Reduction)}, got {reduce!r}")
    run = _reduce_by_definition if backend == "reference" else _reduced
    return run(x, ptr, reduce)


def check_segments(name: str, x: Tensor, ptr: Tensor, backend: str) -> None:
    """Refuses what no segments can be made of; looks at shapes and types alone.

    Args:
        name: How an error names ``x``.
        x: Rows, ``(E, ...)``.
        ptr: Segment boundaries, ``(S + 1,)``.
        backend: ``"auto"`` or ``"reference"``.

    Raises:
        TypeError: See ``segment_reduce``.
        ValueError: See ``segment_reduce``.
    """
    for what, value in ((name, x), ("ptr", ptr)):
        if not isinstance(value, Tensor):
            raise TypeError(f"{what} must be a tensor, got {type(value).__name__}")
    if x.dtype not in _DTYPES:
        raise TypeError(f"{name} must be float32, float64, bfloat16 or float16, got {x.dtype}")
    if ptr.dtype != torch.int64:
        raise TypeError(f"ptr must be (S + 1,) int64, got {tuple(ptr.shape)} {ptr.dtype}")
    if ptr.ndim != 1 or ptr.shape[0] == 0:
        raise ValueError(f"ptr must be (S + 1,) int64, got {tuple(ptr.shape)} {ptr.dtype}")
    if x.ndim == 0:
        raise ValueError(f"{name} must be (E, ...), got a single number")
    if x.device != ptr.device:
        raise ValueError(f"{name} and ptr must be on one device, got {x.device}, {ptr.device}")
    if backend not in ("auto", "reference"):
        raise ValueError(f"backend must be 'auto' or 'reference', got {backend!r}")


def check_ptr(ptr: Tensor, num_rows: int) -> None:
    """Refuses boundaries that do not cut the rows into segments.

    On a GPU the check runs there, since reading the values would have the host wait for it. Where
    it fails, it traps: nothing that was launched after it runs, so that no kernel goes by these
    boundaries, and the next call that waits for the device raises.

    Raises:
        ValueError: If ``ptr`` lies on the CPU and does not rise from 0 to ``num_rows``.
    """
    is_sound = (ptr[0] == 0) & (ptr[-1] == num_rows) & (ptr.diff() >= 0).all()
    message = f"ptr must rise from 0 to the number of rows, {num_rows}, and does not"
    if ptr.device.type != "cpu":
        torch._assert_async(is_sound, message)
    elif not is_sound:
        raise ValueError(message)


def _reduce_by_definition(x: Tensor, ptr: Tensor, reduce: str) -> Tensor:
    check_ptr(ptr, x.shape[0])
    return reference.segment_reduce(x, ptr, reduce)


@torch.library.custom_op("graphattn::segment_reduce", mutates_args=())
def _segment_reduce(x: Tensor, ptr: Tensor, reduce: str) -> Tensor:
    refuse_forward_mode()
    run = cpu.segment_reduce if can_compile(x, ptr) else _reduce_by_definition
    return run(x, ptr, reduce)


@_segment_reduce.register_kernel("cuda")
def _(x: Tensor, ptr: Tensor, reduce: str) -> Tensor:
    refuse_forward_mode()
    check_ptr(ptr, x.shape[0])
    require_triton()
    from graphattn.kernels.segment_reduce import triton

    return triton.segment_reduce(x, ptr, reduce)


@_segment_reduce.register_fake
def _(x: Tensor, ptr: Tensor, reduce: str) -> Tensor:
    return x.new_empty(ptr.shape[0] - 1, *x.shape[1:])


def _save_reduce(ctx: Any, inputs: tuple[Tensor, Tensor, str], output: Tensor) -> None:
    x, ptr, ctx.reduce = inputs
    ctx.num_rows = x.shape[0]
    ctx.save_for_backward(ptr, *((x, output) if ctx.reduce in ("min", "max") else ()))


def _reduce_backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
    ptr, *extremes = ctx.saved_tensors
    if extremes:
        return _of_extremes(grad, *extremes, ptr), None, None
    return _expanded(grad, ptr, ctx.num_rows, ctx.reduce), None, None


_segment_reduce.register_autograd(_reduce_backward, setup_context=_save_reduce)
_reduced = or_by_definition(_segment_reduce, _reduce_by_definition)


def _expand_by_definition(x: Tensor, ptr: Tensor, num_rows: int, reduce: str) -> Tensor:
    check_ptr(ptr, num_rows)
    return reference.segment_expand(x, ptr, num_rows, reduce)


@torch.library.custom_op("graphattn::segment_expand", mutates_args=())
def _segment_expand(x: Tensor, ptr: Tensor, num_rows: int, reduce: str) -> Tensor:
    """Every row gets what its segment has; divided by their number if ``reduce`` is "mean"."""
    refuse_forward_mode()
    run = cpu.segment_expand if can_compile(x, ptr) else _expand_by_definition
    return run(x, ptr, num_rows, reduce)


@_segment_expand.register_kernel("cuda")
def _(x: Tensor, ptr: Tensor, num_rows: int, reduce: str) -> Tensor:
    refuse_forward_mode()
    check_ptr(ptr, num_rows)
    require_triton()
    from graphattn.kernels.segment_reduce import triton

    return triton.segment_expand(x, ptr, num_rows, reduce)


@_segment_expand.register_fake
def _(x: Tensor, ptr: Tensor, num_rows: int, reduce: str) -> Tensor:
    return x.new_empty(num_rows, *x.shape[1:])


def _save_expand(ctx: Any, inputs: tuple[Tensor, Tensor, int, str], output: Tensor) -> None:
    _, ptr, _, ctx.reduce = inputs
    ctx.save_for_backward(ptr)


def _expand_backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
    (ptr,) = ctx.saved_tensors
    return _reduced(grad, ptr, ctx.reduce), None, None, None


_segment_expand.register_autograd(_expand_backward, setup_context=_save_expand)
_expanded = or_by_definition(_segment_expand, _expand_by_definition)


def _of_extremes_by_definition(grad: Tensor, x: Tensor, extreme: Tensor, ptr: Tensor) -> Tensor:
    check_ptr(ptr, x.shape[0])
    return reference.segment_extreme_backward(grad, x, extreme, ptr)


@torch.library.custom_op("graphattn::segment_extreme_backward", mutates_args=())
def _segment_extreme_backward(grad: Tensor, x: Tensor, extreme: Tensor, ptr: Tensor) -> Tensor:
    """The rows that hold the extreme value of their segment share its gradient equally."""
    tensors = (grad, x, extreme, ptr)
    run = cpu.segment_extreme_backward if can_compile(*tensors) else _of_extremes_by_definition
    return run(*tensors)


@_segment_extreme_backward.register_kernel("cuda")
def _(grad: Tensor, x: Tensor, extreme: Tensor, ptr: Tensor) -> Tensor:
    check_ptr(ptr, x.shape[0])
    require_triton()
    from graphattn.kernels.segment_reduce import triton

    return triton.segment_extreme_backward(grad, x, extreme, ptr)


@_segment_extreme_backward.register_fake
def _(grad: Tensor, x: Tensor, extreme: Tensor, ptr: Tensor) -> Tensor:
    return torch.empty_like(x, memory_format=torch.contiguous_format)


def _save_extreme(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor, Tensor], output: Tensor) -> None:
    ctx.save_for_backward(*inputs[1:])


def _extreme_backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
    # Linear in the gradient, and constant in the rows wherever it can be differentiated.
    x, extreme, ptr = ctx.saved_tensors
    holds = (x == _expanded(extreme, ptr, x.shape[0], "sum")).to(x.dtype)
    count = _reduced(holds, ptr, "sum").clamp(min=1)
    return _reduced(grad * holds, ptr, "sum") / count, None, None, None


_segment_extreme_backward.register_autograd(_extreme_backward, setup_context=_save_extreme)
_of_extremes = or_by_definition(_segment_extreme_backward, _of_extremes_by_definition)


def segment_expand(x: Tensor, ptr: Tensor, num_rows: int) -> Tensor:
    """Gives every row what its segment has; the adjoint of a segment's sum.

    Args:
        x: A value for each segment, ``(S, ...)``, floating point.
        ptr: Segment boundaries, ``(S + 1,)``, int64, rising from 0 to ``num_rows``.
        num_rows: ``E``.

    Returns:
        ``(E, ...)``. Differentiable any number of times.

    Raises:
        TypeError: See ``segment_reduce``.
        ValueError: See ``segment_reduce``.
    """
    check_segments("x", x, ptr, "auto")
    if x.shape[0] != ptr.shape[0] - 1:
        raise ValueError(
            f"x must have a row for each of {ptr.shape[0] - 1} segments, got {tuple(x.shape)}"
        )
    return _expanded(x, ptr, num_rows, "sum")
