"""Checks of the operations on segments: softmax, reductions and entmax, with their derivatives."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from benchmarks.gpu.checks import Check, compare
from benchmarks.gpu.machine import Machine
from graphattn import segment_reduce, segment_softmax
from graphattn.kernels.entmax.op import entmax
from graphattn.kernels.triton.segments import PIECE

_HALVES = (torch.bfloat16, torch.float16)
_ALPHAS = (1.3, 1.5, 2.0)
_LONG = PIECE + 40  # rows that several instances of a kernel share

Backend = Literal["auto", "reference"]
Operation = Callable[..., Tensor]  # from rows, segment boundaries and a backend


def segment_checks(machine: Machine, *, is_quick: bool) -> Iterator[Check]:
    """The checks.

    Args:
        machine: Where.
        is_quick: Whether half precision is tried with a few operations only.
    """
    ptr = torch.tensor([0, 3, 3, 4, 10, 10 + _LONG, 10 + _LONG]).to(machine.device)
    order = torch.randperm(10 + _LONG, generator=torch.Generator().manual_seed(0))
    order = order.to(machine.device)

    def sparse(alpha: float, logits: Tensor, ptr: Tensor, backend: Backend) -> Tensor:
        return entmax(logits, ptr, order, alpha, backend=backend)

    operations: dict[str, Operation] = {"segment_softmax": segment_softmax}
    for name in ("sum", "mean", "min", "max"):
        operations[f"segment_reduce, {name}"] = partial(segment_reduce, reduce=name)
    for alpha in _ALPHAS:
        operations[f"entmax, alpha {alpha}"] = partial(sparse, alpha)
    few = ("segment_softmax", "segment_reduce, sum", "entmax, alpha 1.5")
    for name, operation in operations.items():
        for dtype in (torch.float32, *(() if is_quick and name not in few else _HALVES)):
            run = partial(_check, operation, ptr, dtype, machine)
            yield Check(f"{name}, {str(dtype).removeprefix('torch.')}", run)
    yield Check("entmax, gradient of alpha, float32", partial(_check_alpha, ptr, order, machine))


def _check(operation: Operation, ptr: Tensor, dtype: torch.dtype, machine: Machine) -> str:
    generator = torch.Generator().manual_seed(1)
    rows = torch.randn(int(ptr[-1]), 4, generator=generator).to(machine.device, dtype)

    def run(rows: Tensor, backend: Backend) -> dict[str, Tensor]:
        leaf = rows.detach().requires_grad_()
        result = operation(leaf, ptr, backend=backend)
        generator = torch.Generator().manual_seed(2)
        # Rounded for both.
        cotangent = torch.randn(result.shape, generator=generator).to(dtype).to(result)
        (gradient,) = torch.autograd.grad(result, leaf, cotangent)
        return {"result": result.detach(), "gradient": gradient}

    return compare(run(rows, "auto"), run(rows.double(), "reference"), dtype)


def _check_alpha(ptr: Tensor, order: Tensor, machine: Machine) -> str:
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(order.shape[0], len(_ALPHAS), generator=generator).to(machine.device)
    cotangent = torch.randn(logits.shape, generator=generator).to(machine.device)
    alpha = torch.tensor(_ALPHAS, device=machine.device)

    def run(dtype: torch.dtype, backend: Backend) -> dict[str, Tensor]:
        leaf = alpha.to(dtype).requires_grad_()
        weights = entmax(logits.to(dtype), ptr, order, leaf, backend=backend)
        (gradient,) = torch.autograd.grad(weights, leaf, cotangent.to(dtype))
        return {"gradient of alpha": gradient}

    actual, expected = run(torch.float32, "auto"), run(torch.float64, "reference")
    return compare(actual, expected, torch.float32)
