"""What the passes of edge attention write, made and handed to a backend's kernels."""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from graphattn.kernels.cpp import memory
from graphattn.kernels.edge_attention.rows import Rows
from graphattn.kernels.program import Program


class Kernel(Protocol):
    """A compiled pass, of any backend."""

    source: str

    def num_parts(self, rows: Rows) -> int:
        """How many parts of a sum over all edges it leaves room for."""
        ...

    def __call__(self, rows: Rows, scale: float, tensors: Sequence[Tensor | None]) -> None:
        """Runs the pass over rows; the tensors are its other parameters, contiguous."""
        ...


def empty(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """A tensor whose values are not set."""
    if device.type == "cpu":
        return memory.empty(shape, dtype)
    return torch.empty(shape, dtype=dtype, device=device)


@dataclass(frozen=True)
class ForwardResult:
    """What the forward pass leaves; ``None`` where the program has no such thing.

    Attributes:
        output: ``(N, H, C)``, of the type that sums have; zero for a target without weight.
        norm: By softmax, a number that is taken off each target's logits, and the sum of the
            exponentials of what is left, ``(N, 2, H)``; by a sum of weights, this sum, ``(N, H)``.
            The first is −inf, or the sum zero, for a target without weight.
        logits: ``(E, H)``, in the order of the structure, of the type that sums have, if they were
            asked for: weights are made of them, and rounded once.
        weights: As the program has them, before they are divided; likewise.
        edge_output: ``(E, ...)``, in the order of the structure, if the program has one.
    """

    output: Tensor | None
    norm: Tensor | None
    logits: Tensor | None
    weights: Tensor | None
    edge_output: Tensor | None


def forward(
    kernel: Kernel,
    program: Program,
    rows: Rows,
    inputs: Mapping[str, Tensor],
    *,
    keep: Tensor | None = None,
    scale: float = 1.0,
    sink: Tensor | None = None,
    want_logits: bool = False,
    want_weights: bool = False,
) -> ForwardResult:
    """Attention by a compiled kernel.

    Args:
        kernel: The compiled forward pass of the program.
        program: What every edge computes.
        rows: The edges into each target.
        inputs: By name, on the device of ``rows``: rows for targets, sources and edges of the
            structure, or whole.
        keep: 1 where dropout keeps a weight, ``(E, H)``, uint8, in the order of the structure.
        scale: What a kept weight is multiplied by.
        sink: A logit that takes part in every target's softmax without a message, ``(H,)``.
        want_logits: Whether to return the logits, if the program has some.
        want_weights: Whether to return the program's weights, if it has some.
    """
    num_targets, num_edges = rows.ptr.shape[0] - 1, rows.num_edges
    heads, outputs, dtype = program.num_heads, program.outputs, program.sum_dtype

    make = functools.partial(empty, device=rows.ptr.device)

    def of_edges(name: str, kind: torch.dtype, is_wanted: bool = True) -> Tensor | None:
        if name not in outputs or not is_wanted:
            return None
        return make((num_edges, *program.shape(outputs[name])[1:]), kind)

    output = norm = None
    if program.reduction != "edges":
        output = make((num_targets, heads, program.channels), dtype)
    if program.reduction in ("softmax", "sum"):
        numbers = (2, heads) if program.reduction == "softmax" else (heads,)
        norm = make((num_targets, *numbers), dtype)
    logits = of_edges("logits", dtype, want_logits)
    weights = of_edges("weights", dtype, want_weights)
    edge_output = None
    if "edge_output" in outputs:
        edge_output = of_edges("edge_output", program.dtype(outputs["edge_output"]))
    given = [inputs[name].contiguous() for name in program.inputs]
    made = [output, norm, logits, weights, edge_output]
    kernel(rows, scale, [*given, keep, sink, *made])
    return ForwardResult(output, norm, logits, weights, edge_output)


@dataclass(frozen=True)
class Cotangents:
    """What arrives from the layers above, and what the forward pass left for here.

    Attributes:
        grad_output: Gradient of the output, ``(N, H, C)``, of the type that sums have.
        output: The output, likewise.
        norm: From the forward pass.
        delta: Sum over each target's edges of weight times the gradient of the returned weight,
            ``(N, H)``, if weights were returned.
        keep: 1 where dropout kept the weight, ``(E, H)``, uint8; ``None`` without dropout.
        scale: What a kept weight is multiplied by.
        weights: Gradient of the weights before dropout, ``(E, H)``, if they were returned.
        logits: Gradient of the logits, ``(E, H)``, if they were returned.
        edge_output: Gradient of the edge output, ``(E, ...)``, if there is one.
    """

    grad_output: Tensor | None
    output: Tensor | None
    norm: Tensor | None
    delta: Tensor | None
    keep: Tensor | None
    scale: float
    weights: Tensor | None
    logits: Tensor | None
    edge_output: Tensor | None

    def tensors(self) -> list[Tensor | None]:
        """In the order in which the kernels take them."""
        of_targets = [self.grad_output, self.output, self.norm, self.delta]
        return [*of_targets, self.keep, self.weights, self.logits, self.edge_output]


def backward(
    kernel: Kernel,
    program: Program,
    rows: Rows,
    inputs: Mapping[str, Tensor],
    cotangents: Cotangents,
    state: Tensor | None,
) -> dict[str, Tensor]:
    """Gradients of those inputs that ``program`` computes them for.

    Args:
        kernel: The compiled pass for ``program``.
        program: A derivative of the program that ran forward; see ``derivative``.
        rows: The edges, by target or by source.
        inputs: As in the forward pass, contiguous.
        cotangents: What arrives.
        state: Two numbers for each edge and head, ``(E, 2, H)``, from one pass to the other.

    Returns:
        Gradients by input, of the inputs' shapes; zeros where no edge adds anything.
    """
    gradients, partial, device = {}, [], rows.ptr.device
    for output in program.outputs:
        if not output.startswith("grad."):
            continue
        name = output.removeprefix("grad.")
        gradients[name] = empty(tuple(inputs[name].shape), inputs[name].dtype, device)
        if program.inputs[name].role == "shared":
            shape = (kernel.num_parts(rows), inputs[name].numel())
            partial.append(empty(shape, program.sum_dtype, device))
    given = [inputs[name] for name in program.inputs if name in inputs]
    made = [*gradients.values(), *partial]
    kernel(rows, cotangents.scale, [*given, *cotangents.tensors(), state, *made])
    return gradients
