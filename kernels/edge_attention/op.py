"""Softmax attention over edges by compiled kernels, with its derivatives of any order."""

from collections.abc import Callable
from ctypes import CDLL
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from graphattn.kernels.cpp.backward import ROLES, Cotangents, End, backward
from graphattn.kernels.cpp.backward import source as backward_source
from graphattn.kernels.cpp.build import load
from graphattn.kernels.cpp.expressions import TYPES
from graphattn.kernels.cpp.forward import forward
from graphattn.kernels.cpp.forward import source as forward_source
from graphattn.kernels.edge_attention.rows import Rows
from graphattn.kernels.program import Program, derivative

# What a call returns besides the output, in this order; ``None`` where it was not asked for.
OUTPUTS = ("output", "weights", "logits", "edge_output")
Definition = Callable[[dict[str, Tensor], Tensor | None, float], dict[str, Tensor]]


@dataclass(frozen=True)
class Plan:
    """A program with the derivatives that its backward passes need; made once, called many times.

    Attributes:
        program: What every edge computes.
        derivatives: Derivatives of the program, by the inputs whose gradients they form.
        kernels: Compiled passes, by pass, inputs whose gradients it forms, and type of positions.
    """

    program: Program
    derivatives: dict[tuple[str, ...], Program] = field(default_factory=dict)
    kernels: dict[Any, CDLL] = field(default_factory=dict)

    def derivative(self, inputs: tuple[str, ...]) -> Program:
        """The derivative by these inputs."""
        if inputs not in self.derivatives:
            self.derivatives[inputs] = derivative(self.program, inputs)
        return self.derivatives[inputs]

    def forward_kernel(self, index: torch.dtype) -> CDLL:
        """The forward pass.

        Raises:
            TypeError: If the program has an element type that the C++ backend does not know.
            CompilerNotFoundError: If there is no C++ compiler.
            CompilationError: If the compiler fails.
        """
        key = ("forward", index)
        if key not in self.kernels:
            self.kernels[key] = load(forward_source(self.program, TYPES[index]))
        return self.kernels[key]

    def backward_kernel(self, end: End, inputs: tuple[str, ...], index: torch.dtype) -> CDLL:
        """The backward pass by rows of one end, for these gradients."""
        key = (end, inputs, index)
        if key not in self.kernels:
            text = backward_source(end, self.derivative(inputs), TYPES[index])
            self.kernels[key] = load(text)
        return self.kernels[key]


@dataclass(frozen=True)
class Call:
    """One call: where the edges are, what dropout keeps, what is wanted.

    Attributes:
        target: Target of each edge, ``(E,)``, int64.
        by_target: The edges into each target.
        by_source: Gives the edges out of each source; asked for in the backward pass only.
        keep: 1 where dropout keeps a weight, ``(E, H)``, uint8; ``None`` without dropout.
        scale: What a kept weight is multiplied by.
        want_weights: Whether the weights are returned.
        want_logits: Whether the logits are returned.
        definition: The same attention in plain PyTorch, from inputs, ``keep`` and ``scale`` to
            results by name; differentiated where a derivative is differentiated again.
    """

    target: Tensor
    by_target: Rows
    by_source: Callable[[], Rows]
    keep: Tensor | None
    scale: float
    want_weights: bool
    want_logits: bool
    definition: Definition


def edge_attention(plan: Plan, call: Call, inputs: dict[str, Tensor]) -> dict[str, Tensor | None]:
    """Softmax attention over edges, differentiable in all inputs.

    Args:
        plan: The program.
        call: Structure, dropout, and what is wanted.
        inputs: By name, on the CPU, as the program has them.

    Returns:
        By the names of ``OUTPUTS``; see ``reference`` for what they mean.
    """
    tensors = [inputs[name] for name in plan.program.inputs]
    results = _EdgeAttention.apply(plan, call, *tensors)
    return dict(zip(OUTPUTS, results, strict=True))


class _EdgeAttention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, plan: Plan, call: Call, *tensors: Tensor) -> tuple[Tensor | None, ...]:
        inputs = dict(zip(plan.program.inputs, tensors, strict=True))
        result = forward(
            plan.forward_kernel(call.by_target.neighbor.dtype),
            plan.program,
            call.by_target,
            inputs,
            keep=call.keep,
            scale=call.scale,
            want_logits=call.want_logits or call.want_weights,
        )
        weights = None
        if call.want_weights and result.logits is not None:
            shift = result.log_sum_exp.index_select(0, call.target)
            weights = (result.logits - shift.masked_fill(shift == -torch.inf, 0)).exp()
            weights = weights.to(result.logits.dtype)
        ctx.plan, ctx.call = plan, call
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(result.output, result.log_sum_exp, weights, *tensors)
        logits = result.logits if call.want_logits else None
        return result.output, weights, logits, result.edge_output

    @staticmethod
    def backward(ctx: Any, *arriving: Tensor | None) -> tuple[Tensor | None, ...]:
        output, log_sum_exp, weights, *tensors = ctx.saved_tensors
        plan, call = ctx.plan, ctx.call
        names = list(plan.program.inputs)
        inputs = dict(zip(names, tensors, strict=True))
        wanted = [
            name for name, needs in zip(names, ctx.needs_input_grad[2:], strict=True) if needs
        ]
        if torch.is_grad_enabled():  # this pass is itself to be differentiated
            gradients = _by_definition(call, inputs, wanted, arriving)
        else:
            cotangents = _cotangents(plan, call, arriving, output, log_sum_exp, weights)
            gradients = _by_kernels(plan, call, inputs, wanted, cotangents)
        return None, None, *(gradients.get(name) for name in names)


def _by_definition(
    call: Call,
    inputs: dict[str, Tensor],
    wanted: list[str],
    arriving: tuple[Tensor | None, ...],
) -> dict[str, Tensor]:
    # Inputs may depend on one another, such as a logit on the features that it was made from; an
    # alias of each cuts that path, which is not this operation's to differentiate.
    inputs = {name: tensor.view_as(tensor) for name, tensor in inputs.items()}
    results = call.definition(inputs, call.keep, call.scale)
    pairs = [
        (results[name], gradient)
        for name, gradient in zip(OUTPUTS, arriving, strict=True)
        if gradient is not None and results[name].requires_grad
    ]
    outputs, gradients = zip(*pairs, strict=True) if pairs else ((), ())
    found = torch.autograd.grad(
        outputs, [inputs[name] for name in wanted], gradients, create_graph=True, allow_unused=True
    )
    return {name: grad for name, grad in zip(wanted, found, strict=True) if grad is not None}


def _cotangents(
    plan: Plan,
    call: Call,
    arriving: tuple[Tensor | None, ...],
    output: Tensor,
    log_sum_exp: Tensor,
    weights: Tensor | None,
) -> Cotangents:
    of_output, of_weights, of_logits, of_edge_output = arriving
    of_output = torch.zeros_like(output) if of_output is None else of_output
    # Sum over the edges of weight times its gradient: what the softmax takes off each logit's.
    delta = (of_output * output).sum(-1)
    if of_weights is not None and weights is not None:
        delta = delta.index_add(0, call.target, (weights * of_weights).to(delta.dtype))
    if "edge_output" in plan.program.outputs and of_edge_output is None:
        name = plan.program.outputs["edge_output"]
        shape = (call.target.shape[0], *plan.program.shape(name)[1:])
        of_edge_output = torch.zeros(shape, dtype=plan.program.dtype(name))
    return Cotangents(
        of_output, log_sum_exp, delta, call.keep, call.scale, of_weights, of_logits, of_edge_output
    )


def _by_kernels(
    plan: Plan,
    call: Call,
    inputs: dict[str, Tensor],
    wanted: list[str],
    cotangents: Cotangents,
) -> dict[str, Tensor]:
    gradients: dict[str, Tensor] = {}
    roles = {name: spec.role for name, spec in plan.program.inputs.items()}
    ends: tuple[End, End] = ("target", "source")
    for end in ends:
        names = tuple(name for name in wanted if roles[name] in ROLES[end])
        if names:
            rows = call.by_target if end == "target" else call.by_source()
            kernel = plan.backward_kernel(end, names, rows.neighbor.dtype)
            gradients |= backward(kernel, plan.derivative(names), rows, inputs, cotangents)
    return gradients
