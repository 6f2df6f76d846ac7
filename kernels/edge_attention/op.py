"""Attention over edges by compiled kernels, with its derivatives of any order."""

from typing import Any

import torch
from torch import Tensor

from graphattn.kernels.cpp.fallback import must_be_plain
from graphattn.kernels.edge_attention.passes import (
    differentiate_definition,
    run_backward,
    run_forward,
)
from graphattn.kernels.edge_attention.plan import LEFT, OUTPUTS, SINK, Call, Plan


def edge_attention(plan: Plan, call: Call, inputs: dict[str, Tensor]) -> dict[str, Tensor | None]:
    """Attention over edges, differentiable in all inputs.

    Args:
        plan: The program.
        call: Structure, dropout, and what is wanted.
        inputs: By name, on the CPU, as the program has them, and the ``SINK`` if there is one.

    Returns:
        By the names of ``OUTPUTS``; see ``reference`` for what they mean.
    """
    names = tuple(plan.program.inputs) + ((SINK,) if SINK in inputs else ())
    wanted = [name for name in names if inputs[name].requires_grad and torch.is_grad_enabled()]
    tensors = (inputs[name] for name in names)
    results = _EdgeAttention.apply(plan, call, names, wanted, *tensors)
    return dict(zip(OUTPUTS, results, strict=True))


class _EdgeAttention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        plan: Plan,
        call: Call,
        names: tuple[str, ...],
        wanted: list[str],
        *tensors: Tensor,
    ) -> tuple[Tensor | None, ...]:
        results = run_forward(plan, call, dict(zip(names, tensors, strict=True)), wanted)
        ctx.plan, ctx.call, ctx.names = plan, call, names
        ctx.set_materialize_grads(False)
        left = (results[name] for name in LEFT)
        ctx.save_for_backward(*left, *tensors)
        # A copy where the types differ: the backward pass needs all digits.
        output = results["output"]
        results["output"] = None if output is None else output.to(plan.program.output_dtype)
        return tuple(results[name] for name in OUTPUTS)

    @staticmethod
    def backward(ctx: Any, *arriving: Tensor | None) -> tuple[Tensor | None, ...]:
        saved = ctx.saved_tensors  # read once: with checkpointing, that makes them anew
        left, tensors = dict(zip(LEFT, saved, strict=False)), saved[len(LEFT) :]
        plan, call, names = ctx.plan, ctx.call, ctx.names
        inputs = dict(zip(names, tensors, strict=True))
        needs = ctx.needs_input_grad[4:]
        wanted = [name for name, is_needed in zip(names, needs, strict=True) if is_needed]
        if must_be_plain(*arriving):
            gradients = differentiate_definition(call, inputs, wanted, arriving)
        else:
            gradients = run_backward(plan, call, inputs, wanted, left, arriving)
        return None, None, None, None, *(gradients.get(name) for name in names)
