"""Segment softmax as a PyTorch operator: schema, dispatch, derivative, public function."""

from typing import Any, Literal

import torch
from torch import Tensor

from graphattn.kernels.cpp.fallback import (
    can_compile,
    or_by_definition,
    refuse_forward_mode,
)
from graphattn.kernels.segment_reduce.op import (
    check_ptr,
    check_segments,
    segment_expand,
    segment_reduce,
)
from graphattn.kernels.segment_softmax import cpu, reference
from graphattn.kernels.triton.available import require_triton


def segment_softmax(
    logits: Tensor, ptr: Tensor, *, backend: Literal["auto", "reference"] = "auto"
) -> Tensor:
    r"""Softmax over each run of consecutive rows.

    .. math::
        w_i = \exp(z_i) / \textstyle\sum_{j \in \mathrm{segment}(i)} \exp(z_j)

    NaN, infinities and rows of nothing but −inf behave as in ``torch.softmax``, in their own
    segment and column. Half precisions are computed in float32. The bits are the same for any
    number of threads, and in every run on a GPU.

    Args:
        logits: Scores, ``(E, ...)``, floating point.
        ptr: Segment boundaries, ``(S + 1,)``, int64, rising from 0 to ``E``; segments may be empty.
        backend: ``"auto"`` takes the C++ kernel on the CPU, Triton's on a GPU and plain PyTorch
            elsewhere and inside ``torch.func``, ``"reference"`` is plain PyTorch.

    Returns:
        Weights, ``(E, ...)``: each non-empty segment sums to one in every column. Without rows,
        there are none. Differentiable any number of times.

    Raises:
        TypeError: If ``logits`` are not float32, float64, bfloat16 or float16, or ``ptr`` is not
            int64.
        ValueError: If a shape does not fit, devices differ, ``ptr`` does not rise from 0 to ``E``,
            or ``backend`` is unknown. For boundaries on a GPU see ``check_ptr``.
        ModuleNotFoundError: If Triton, which the GPU needs, is not installed.
    """
    check_segments("logits", logits, ptr, backend)
    run = _by_definition if backend == "reference" else _weights
    return run(logits, ptr)


def _by_definition(logits: Tensor, ptr: Tensor) -> Tensor:
    check_ptr(ptr, logits.shape[0])
    return reference.segment_softmax(logits, ptr)


@torch.library.custom_op("graphattn::segment_softmax", mutates_args=())
def _segment_softmax(logits: Tensor, ptr: Tensor) -> Tensor:
    refuse_forward_mode()
    run = cpu.segment_softmax if can_compile(logits, ptr) else _by_definition
    return run(logits, ptr)


@_segment_softmax.register_kernel("cuda")
def _(logits: Tensor, ptr: Tensor) -> Tensor:
    refuse_forward_mode()
    check_ptr(ptr, logits.shape[0])
    require_triton()
    from graphattn.kernels.segment_softmax import triton

    return triton.segment_softmax(logits, ptr)


@_segment_softmax.register_fake
def _(logits: Tensor, ptr: Tensor) -> Tensor:
    return torch.empty_like(logits, memory_format=torch.contiguous_format)


def _save(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
    ctx.save_for_backward(output, inputs[1])


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
    weights, ptr = ctx.saved_tensors
    return _pulls(weights, grad, ptr), None


_segment_softmax.register_autograd(_backward, setup_context=_save)
_weights = or_by_definition(_segment_softmax, _by_definition)


def _backward_by_definition(weights: Tensor, grad: Tensor, ptr: Tensor) -> Tensor:
    check_ptr(ptr, weights.shape[0])
    return reference.segment_softmax_backward(weights, grad, ptr)


@torch.library.custom_op("graphattn::segment_softmax_backward", mutates_args=())
def _segment_softmax_backward(weights: Tensor, grad: Tensor, ptr: Tensor) -> Tensor:
    """Each weight times what its gradient exceeds their mean by, under the weights."""
    tensors = (weights, grad, ptr)
    run = cpu.segment_softmax_backward if can_compile(*tensors) else _backward_by_definition
    return run(*tensors)


@_segment_softmax_backward.register_kernel("cuda")
def _(weights: Tensor, grad: Tensor, ptr: Tensor) -> Tensor:
    check_ptr(ptr, weights.shape[0])
    require_triton()
    from graphattn.kernels.segment_softmax import triton

    return triton.segment_softmax_backward(weights, grad, ptr)


@_segment_softmax_backward.register_fake
def _(weights: Tensor, grad: Tensor, ptr: Tensor) -> Tensor:
    return torch.empty_like(weights, memory_format=torch.contiguous_format)


def _save_backward(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _backward_backward(ctx: Any, pull: Tensor) -> tuple[Tensor, Tensor, None]:
    weights, grad, ptr = ctx.saved_tensors
    num_rows = weights.shape[0]
    of_weights = pull * grad
    mean_grad = segment_reduce(weights * grad, ptr)  # (S, ...)
    mean_pull = segment_reduce(weights * pull, ptr)
    of_weights = of_weights - pull * segment_expand(mean_grad, ptr, num_rows)
    of_weights = of_weights - grad * segment_expand(mean_pull, ptr, num_rows)
    return of_weights, _pulls(weights, pull, ptr), None


_segment_softmax_backward.register_autograd(_backward_backward, setup_context=_save_backward)
_pulls = or_by_definition(_segment_softmax_backward, _backward_by_definition)
