"""The passes of edge attention: forward, backward by kernels, backward by the definition."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

from graphattn.kernels.edge_attention.buffers import (
    Cotangents,
    ForwardResult,
    backward,
    empty,
    forward,
)
from graphattn.kernels.edge_attention.plan import LEFT, OUTPUTS, SINK, Call, Plan
from graphattn.kernels.program import Program
from graphattn.kernels.segment_reduce import segment_reduce


def run_forward(
    plan: Plan, call: Call, inputs: dict[str, Tensor], wanted: Sequence[str] = ()
) -> dict[str, Tensor | None]:
    """The forward pass.

    Args:
        plan: The program.
        call: Structure, dropout, and what is wanted.
        inputs: By name, as the program has them, and the ``SINK`` if there is one.
        wanted: Inputs whose gradients will be asked for, as far as that is known.

    Returns:
        ``OUTPUTS``, the output in the type of sums, and the ``"norm"`` of ``ForwardResult``.
    """
    program, sink = plan.program, inputs.get(SINK)
    is_softmax = program.reduction == "softmax"
    result = forward(
        plan.forward(_of_program(wanted), call.by_target.kind),
        program,
        call.by_target,
        inputs,
        keep=call.keep,
        scale=call.scale,
        sink=None if sink is None else sink.to(program.sum_dtype).contiguous(),
        want_logits=call.want_logits or (is_softmax and call.want_weights),
        want_weights=call.want_weights and not is_softmax,
    )
    return {
        "output": result.output,
        "weights": _weights(program, result, call) if call.want_weights else None,
        "logits": _rounded(program, "logits", result.logits) if call.want_logits else None,
        "edge_output": result.edge_output,
        "norm": result.norm,
    }


def run_backward(
    plan: Plan,
    call: Call,
    inputs: dict[str, Tensor],
    wanted: Sequence[str],
    left: Mapping[str, Tensor | None],
    arriving: Sequence[Tensor | None],
) -> dict[str, Tensor]:
    """The backward passes by kernels.

    Args:
        plan: As in the forward pass, as are ``call`` and ``inputs``.
        call: See there.
        inputs: See there.
        wanted: Names of the inputs whose gradients are formed.
        left: ``"output"``, ``"norm"`` and ``"weights"`` of the forward pass.
        arriving: Gradients of the ``OUTPUTS``; ``None`` for zeros.
    """
    cotangents = _cotangents(plan.program, call, left, arriving)
    if not _is_inside_mode():
        return _by_kernels(plan, call, inputs, wanted, cotangents)
    with ThreadPoolExecutor(1) as apart:
        return apart.submit(_by_kernels, plan, call, inputs, wanted, cotangents).result()


def differentiate_definition(
    call: Call,
    inputs: dict[str, Tensor],
    wanted: Sequence[str],
    arriving: Sequence[Tensor | None],
) -> dict[str, Tensor]:
    """As ``run_backward``, in plain PyTorch, which can be differentiated again and transformed."""
    is_recorded = torch.is_grad_enabled()
    with torch.enable_grad():
        # Inputs may depend on one another, such as a logit on the features that it was made from;
        # an alias of each cuts that path, which is not this operation's to differentiate.
        inputs = {name: tensor.view_as(tensor) for name, tensor in inputs.items()}
        results = call.definition(inputs, call.keep, call.scale)
    pairs = [
        (results[name], gradient)
        for name, gradient in zip(OUTPUTS, arriving, strict=True)
        if gradient is not None and results[name].requires_grad
    ]
    outputs, gradients = zip(*pairs, strict=True) if pairs else ((), ())
    wanted_inputs = [inputs[name] for name in wanted]
    found = torch.autograd.grad(
        outputs, wanted_inputs, gradients, create_graph=is_recorded, allow_unused=True
    )
    return {name: grad for name, grad in zip(wanted, found, strict=True) if grad is not None}


def _is_inside_mode() -> bool:
    """Whether a mode, such as one that counts operations, has called the operator that runs.

    PyTorch then has functorch switched off for this thread, and no derivative can be recorded.
    """
    key = torch._C.DispatchKey.FuncTorchDynamicLayerFrontMode
    return torch._C._dispatch_tls_is_dispatch_key_excluded(key)


def _weights(program: Program, result: ForwardResult, call: Call) -> Tensor | None:
    """The weights before dropout, from what the forward pass leaves."""
    if program.reduction == "softmax" and result.logits is not None and result.norm is not None:
        largest, total = result.norm.unbind(1)
        target = call.target()
        shift = largest.masked_fill(largest == -torch.inf, 0).index_select(0, target)
        total = total.masked_fill(total == 0, 1).index_select(0, target)
        return _rounded(program, "logits", (result.logits - shift).exp() / total)
    if result.weights is None or result.norm is None:
        return _rounded(program, "weights", result.weights)
    total = result.norm.masked_fill(result.norm == 0, 1)
    divided = result.weights / total.index_select(0, call.target())
    return _rounded(program, "weights", divided)


def _rounded(program: Program, name: str, x: Tensor | None) -> Tensor | None:
    """A result in the type that the program has it in."""
    return None if x is None else x.to(program.dtype(program.outputs[name]))


def _cotangents(
    program: Program,
    call: Call,
    left: Mapping[str, Tensor | None],
    arriving: Sequence[Tensor | None],
) -> Cotangents:
    of_output, of_weights, of_logits, of_edge_output = (
        None if gradient is None else gradient.contiguous() for gradient in arriving
    )
    output, norm, weights = (left[name] for name in LEFT)
    rows = call.by_target
    if output is not None:
        of_output = torch.zeros_like(output) if of_output is None else of_output.to(output.dtype)
    delta = None
    if of_weights is not None and weights is not None and norm is not None:
        # Row by row: on a GPU, index_add would add in another order each time.
        product = weights.to(norm.dtype) * of_weights
        if rows.layout == "edges":  # pairs of blocks stand row by row already
            product = product.index_select(0, rows.order)
        delta = segment_reduce(product, rows.ptr)
    if rows.layout == "blocks" and output is not None and of_output is not None:
        # The pass by source has no row of the output at hand, so that this is formed for both.
        own = (of_output * output).sum(-1)
        delta, output = own if delta is None else own + delta, None
    if "edge_output" in program.outputs and of_edge_output is None:
        name = program.outputs["edge_output"]
        shape = (rows.num_edges, *program.shape(name)[1:])
        of_edge_output = torch.zeros(shape, dtype=program.dtype(name), device=rows.ptr.device)
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
    wanted: Sequence[str],
    cotangents: Cotangents,
) -> dict[str, Tensor]:
    program, of_program = plan.program, _of_program(wanted)
    own = {name: inputs[name].contiguous() for name in program.inputs}
    gradients: dict[str, Tensor] = {}
    state = None
    own_rows = call.by_target
    if plan.leaves_state(of_program, own_rows.layout):
        shape = (own_rows.num_edges, 2, program.num_heads)
        state = empty(shape, program.sum_dtype, own_rows.ptr.device)
    for end in plan.ends(of_program, own_rows.layout):
        rows = call.by_target if end == "target" else call.by_source()
        kernel = plan.backward(end, of_program, rows.kind)
        slope = plan.derivative(end, of_program)
        gradients |= backward(kernel, slope, rows, own, cotangents, state)
    if SINK in wanted:
        gradients[SINK] = _grad_sink(inputs[SINK], cotangents)
    return gradients


def _of_program(wanted: Sequence[str]) -> tuple[str, ...]:
    return tuple(name for name in wanted if name != SINK)


def _grad_sink(sink: Tensor, cotangents: Cotangents) -> Tensor:
    """Gradient of the sink's logit, ``(H,)``: what the softmax takes off it at every target."""
    delta, norm = cotangents.delta, cotangents.norm
    if cotangents.grad_output is not None and cotangents.output is not None:
        own = (cotangents.grad_output * cotangents.output).sum(-1)
        delta = own if delta is None else own + delta
    if delta is None or norm is None:
        raise ValueError("a sink is for softmax alone")
    largest, total = norm.unbind(1)
    # A target without weight, at a sink of -inf: its own logit less itself would be NaN.
    weight = (sink - largest.masked_fill(largest == -torch.inf, 0)).exp()
    weight = weight / total.masked_fill(total == 0, 1)
    return -(weight * delta).sum(0).to(sink.dtype)
