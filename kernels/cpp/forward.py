"""The forward pass of an edge program in C++: one walk over the edges into each target."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from torch import Tensor

from graphattn.kernels.cpp.expressions import c_type
from graphattn.kernels.cpp.launch import Kernel
from graphattn.kernels.cpp.memory import empty
from graphattn.kernels.cpp.names import (
    parameters,
    prefetch,
    row_pointers,
    types_of_edges,
    uses_halves,
)
from graphattn.kernels.cpp.printer import print_stages
from graphattn.kernels.cpp.reductions import (
    clear_text,
    fields,
    finish_text,
    merge_text,
    weight_text,
)
from graphattn.kernels.cpp.stages import effect, local, of_row, product, shared, without
from graphattn.kernels.cpp.walk import Pass
from graphattn.kernels.edge_attention.rows import Rows
from graphattn.kernels.program import Program, Step, needed


@dataclass(frozen=True)
class ForwardResult:
    """What the forward pass leaves; ``None`` where the program has no such thing.

    Attributes:
        output: ``(N, H, C)``, of the type that sums have; zero for a target without weight.
        norm: By softmax, a number that is taken off each target's logits, and the sum of the
            exponentials of what is left, ``(N, 2, H)``; by a sum of weights, this sum, ``(N, H)``.
            The first is −inf, or the sum zero, for a target without weight.
        logits: ``(E, H)``, in the order of the structure, if they were asked for.
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
    """Attention, compiled for this processor.

    Args:
        kernel: The compiled ``forward_pass(program, ...)`` for the type of ``rows.neighbor``.
        program: What every edge computes.
        rows: The edges into each target.
        inputs: By name, on the CPU: rows for targets, sources and edges of the structure, or whole.
        keep: 1 where dropout keeps a weight, ``(E, H)``, uint8, in the order of the structure.
        scale: What a kept weight is multiplied by.
        sink: A logit that takes part in every target's softmax without a message, ``(H,)``.
        want_logits: Whether to return the logits, if the program has some.
        want_weights: Whether to return the program's weights, if it has some.
    """
    num_targets, num_edges = rows.ptr.shape[0] - 1, rows.order.shape[0]
    heads, outputs, dtype = program.num_heads, program.outputs, program.sum_dtype

    def of_edges(name: str, is_wanted: bool = True) -> Tensor | None:
        if name not in outputs or not is_wanted:
            return None
        value = outputs[name]
        return empty((num_edges, *program.shape(value)[1:]), program.dtype(value))

    output = norm = None
    if program.reduction != "edges":
        output = empty((num_targets, heads, program.channels), dtype)
    if program.reduction in ("softmax", "sum"):
        numbers = (2, heads) if program.reduction == "softmax" else (heads,)
        norm = empty((num_targets, *numbers), dtype)
    logits = of_edges("logits", want_logits)
    weights = of_edges("weights", want_weights)
    edge_output = of_edges("edge_output")
    given = [inputs[name].contiguous() for name in program.inputs]
    made = [output, norm, logits, weights, edge_output]
    kernel(rows, scale, [*given, keep, sink, *made])
    return ForwardResult(output, norm, logits, weights, edge_output)


def forward_pass(program: Program, index_type: str = "int32_t") -> Pass:
    """The C++ of the forward pass.

    Args:
        program: What every edge computes.
        index_type: C++ type of positions.

    Raises:
        TypeError: If the program has an element type that this backend does not know.
    """
    whole, stages = _stages(program)
    common, of_target, before, after = print_stages(whole, stages)
    return Pass(
        name="forward",
        comment="Forward by target row: logits, weights in one walk, weighted sum.",
        end="target",
        fields=fields(program),
        merge=merge_text(program),
        clear=clear_text(program),
        parameters=[
            *parameters(program),
            ("const uint8_t*", "keep"),
            ("const sum_t*", "sink"),
            ("sum_t*", "out"),
            ("sum_t*", "norm"),
            *((f"{kind}*", f"all_{name}") for name, kind in types_of_edges(program).items()),
        ],
        shared="\n".join([row_pointers(program, ("shared",)), common]),
        row="\n".join([row_pointers(program, ("target",)), of_target]),
        edge="\n".join(
            [
                "const int64_t source = neighbor[position], edge = order[position];",
                prefetch(program, "source", {}),
                row_pointers(program, ("source", "edge")),
                before,
                weight_text(program),
                after,
            ]
        ),
        finish=finish_text(program),
        types=f"using sum_t = {c_type(program.sum_dtype)};",
        index_type=index_type,
        uses_halves=uses_halves(program),
    )


def _stages(program: Program) -> tuple[Program, list[list[Step]]]:
    """The program with what the kernel does besides: for all, for a row, to the weights, then."""
    outputs, dtype = program.outputs, program.sum_dtype
    steps = list(program.steps)
    first, last = [], []
    for name in ("logits", "weights"):
        if name in outputs:
            shape = program.shape(outputs[name])
            first.append(Step(f"@{name}", "copy", (outputs[name],), {}, shape, dtype, True))
    if "edge_output" in outputs:
        size = program.size(outputs["edge_output"])
        first.append(
            effect("write", outputs["edge_output"], f"(all_edge_output + edge * {size})", program)
        )
    extra = {}
    if "message" in outputs:
        extra["@weight"] = local((program.num_heads,), dtype)
        shape = program.shape(outputs["message"])
        last = product("%weighted", "@weight", outputs["message"], shape, dtype)
        last.append(Step("%sum", "add_to", ("%weighted",), {"into": "row.sum"}, shape, dtype, True))
    whole = replace(
        program, inputs=program.inputs | extra, steps=(*steps, *first, *last), outputs={}
    )
    common = shared(steps)
    own = of_row(program, steps, "target")
    before = without(needed(whole.steps, [step.name for step in first]), [*common, *own])
    return whole, [common, own, before, without(whole.steps, [*common, *own, *before])]
