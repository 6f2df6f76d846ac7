"""Attention over edges by compiled kernels, with its derivatives of any order."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from graphattn.kernels.cpp.backward import ROLES, Cotangents, backward, backward_kernel
from graphattn.kernels.cpp.forward import ForwardResult, forward, forward_kernel
from graphattn.kernels.cpp.launch import Kernel
from graphattn.kernels.cpp.memory import empty
from graphattn.kernels.cpp.walk import End
from graphattn.kernels.edge_attention.rows import Rows
from graphattn.kernels.program import Program, derivative, narrowed

# What a call returns, in this order; ``None`` where it was not asked for.
OUTPUTS = ("output", "weights", "logits", "edge_output")
SINK = "normalizer.sink"  # the one input that no program has: it belongs to the softmax
_POSITIONS = {torch.int32: "int32_t", torch.int64: "int64_t"}
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
    kernels: dict[Any, Kernel] = field(default_factory=dict)

    def derivative(self, wanted: tuple[str, ...], inputs: tuple[str, ...]) -> Program:
        """The derivative by these inputs, of all that are wanted in one call.

        It is recorded once for all of them, since that takes most of the time of a first call.
        """
        if wanted not in self.derivatives:
            self.derivatives[wanted] = derivative(self.program, wanted)
        if inputs not in self.derivatives:
            self.derivatives[inputs] = narrowed(self.derivatives[wanted], inputs)
        return self.derivatives[inputs]

    def forward_kernel(self, index: torch.dtype) -> Kernel:
        """The forward pass.

        Raises:
            TypeError: If the program has an element type that the C++ backend does not know.
            CompilerNotFoundError: If there is no C++ compiler.
            CompilationError: If the compiler fails.
        """
        key = ("forward", index)
        if key not in self.kernels:
            self.kernels[key] = forward_kernel(self.program, _POSITIONS[index])
        return self.kernels[key]

    def backward_kernel(self, end: End, derivative: Program, index: torch.dtype) -> Kernel:
        """The backward pass by rows of one end, for the gradients that ``derivative`` has."""
        key = (end, tuple(derivative.outputs), index)
        if key not in self.kernels:
            self.kernels[key] = backward_kernel(end, derivative, _POSITIONS[index])
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
    """Attention over edges, differentiable in all inputs.

    Args:
        plan: The program.
        call: Structure, dropout, and what is wanted.
        inputs: By name, on the CPU, as the program has them, and the ``SINK`` if there is one.

    Returns:
        By the names of ``OUTPUTS``; see ``reference`` for what they mean.
    """
    names = tuple(plan.program.inputs) + ((SINK,) if SINK in inputs else ())
    results = _EdgeAttention.apply(plan, call, names, *(inputs[name] for name in names))
    return dict(zip(OUTPUTS, results, strict=True))


class _EdgeAttention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, plan: Plan, call: Call, names: tuple[str, ...], *tensors: Tensor
    ) -> tuple[Tensor | None, ...]:
        inputs = dict(zip(names, tensors, strict=True))
        program = plan.program
        is_softmax = program.reduction == "softmax"
        sink = inputs.get(SINK)
        result = forward(
            plan.forward_kernel(call.by_target.neighbor.dtype),
            program,
            call.by_target,
            inputs,
            keep=call.keep,
            scale=call.scale,
            sink=None if sink is None else sink.to(program.sum_dtype).contiguous(),
            want_logits=call.want_logits or (is_softmax and call.want_weights),
            want_weights=call.want_weights and not is_softmax,
        )
        weights = _weights(program, result, call.target) if call.want_weights else None
        ctx.plan, ctx.call, ctx.names = plan, call, names
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(result.output, result.norm, weights, *tensors)
        logits = result.logits if call.want_logits else None
        # A copy where the types differ: the backward pass needs all digits.
        output = None if result.output is None else result.output.to(program.output_dtype)
        return output, weights, logits, result.edge_output

    @staticmethod
    def backward(ctx: Any, *arriving: Tensor | None) -> tuple[Tensor | None, ...]:
        output, norm, weights, *tensors = ctx.saved_tensors
        plan, call, names = ctx.plan, ctx.call, ctx.names
        inputs = dict(zip(names, tensors, strict=True))
        wanted = [
            name for name, needs in zip(names, ctx.needs_input_grad[3:], strict=True) if needs
        ]
        if torch.is_grad_enabled():  # this pass is itself to be differentiated
            gradients = _by_definition(call, inputs, wanted, arriving)
        else:
            left = (output, norm, weights)
            cotangents = _cotangents(plan.program, call, arriving, left)
            gradients = _by_kernels(plan, call, inputs, wanted, cotangents)
        return None, None, None, *(gradients.get(name) for name in names)


def _weights(program: Program, result: ForwardResult, target: Tensor) -> Tensor | None:
    """The weights before dropout, from what the forward pass leaves."""
    if program.reduction == "softmax" and result.logits is not None and result.norm is not None:
        largest, total = result.norm.unbind(1)
        shift = largest.masked_fill(largest == -torch.inf, 0).index_select(0, target)
        total = total.masked_fill(total == 0, 1).index_select(0, target)
        return ((result.logits - shift).exp() / total).to(result.logits.dtype)
    if result.weights is None or result.norm is None:
        return result.weights
    divided = result.weights / result.norm.masked_fill(result.norm == 0, 1).index_select(0, target)
    return divided.to(result.weights.dtype)


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
    program: Program,
    call: Call,
    arriving: tuple[Tensor | None, ...],
    left: tuple[Tensor | None, Tensor | None, Tensor | None],
) -> Cotangents:
    of_output, of_weights, of_logits, of_edge_output = (
        None if gradient is None else gradient.contiguous() for gradient in arriving
    )
    output, norm, weights = left
    if output is not None:
        of_output = torch.zeros_like(output) if of_output is None else of_output.to(output.dtype)
    delta = None
    if of_weights is not None and weights is not None and norm is not None:
        delta = norm.new_zeros(norm.shape[0], program.num_heads)
        delta = delta.index_add(0, call.target, (weights * of_weights).to(delta.dtype))
    if "edge_output" in program.outputs and of_edge_output is None:
        name = program.outputs["edge_output"]
        shape = (call.target.shape[0], *program.shape(name)[1:])
        of_edge_output = torch.zeros(shape, dtype=program.dtype(name))
    return Cotangents(
        grad_output=of_output,
        output=output,
        norm=norm,
        delta=delta,
        keep=call.keep,
        scale=call.scale,
        weights=of_weights,
        logits=of_logits,
        edge_output=of_edge_output,
    )


def _by_kernels(
    plan: Plan,
    call: Call,
    inputs: dict[str, Tensor],
    wanted: list[str],
    cotangents: Cotangents,
) -> dict[str, Tensor]:
    program = plan.program
    roles = {name: spec.role for name, spec in program.inputs.items()}
    own = {name: inputs[name].contiguous() for name in roles}
    by_end = {end: tuple(name for name in wanted if roles.get(name) in ROLES[end]) for end in ROLES}
    gradients: dict[str, Tensor] = {}
    state = None
    if by_end["source"] and program.reduction != "edges":
        shape = (call.target.shape[0], 2, program.num_heads)
        state = empty(shape, program.sum_dtype)
    walks: list[tuple[End, Callable[[], Rows]]]
    walks = [("target", lambda: call.by_target), ("source", call.by_source)]
    for end, rows in walks:
        names = by_end[end]
        if names or (end == "target" and state is not None):
            slope = plan.derivative(tuple(name for name in wanted if name != SINK), names)
            kernel = plan.backward_kernel(end, slope, rows().neighbor.dtype)
            gradients |= backward(kernel, slope, rows(), own, cotangents, state)
    if SINK in wanted:
        gradients[SINK] = _grad_sink(inputs[SINK], cotangents)
    return gradients


def _grad_sink(sink: Tensor, cotangents: Cotangents) -> Tensor:
    """Gradient of the sink's logit, ``(H,)``: what the softmax takes off it at every target."""
    grad_output, output, norm = cotangents.grad_output, cotangents.output, cotangents.norm
    if grad_output is None or output is None or norm is None:
        raise ValueError("a sink is for softmax alone")
    delta = (grad_output * output).sum(-1)
    delta = delta if cotangents.delta is None else delta + cotangents.delta
    largest, total = norm.unbind(1)
    # A target without weight, at a sink of -inf: its own logit less itself would be NaN.
    weight = (sink - largest.masked_fill(largest == -torch.inf, 0)).exp()
    weight = weight / total.masked_fill(total == 0, 1)
    return -(weight * delta).sum(0).to(sink.dtype)
