"""The forward pass of an edge program in C++: one walk over the edges into each target."""

from dataclasses import replace

from graphattn.kernels.cpp.expressions import c_type
from graphattn.kernels.cpp.layout import ends_text, keep_parameter
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
from graphattn.kernels.edge_attention.rows import INT32_EDGES, Kind
from graphattn.kernels.program import Program, Step, needed


def forward_pass(program: Program, kind: Kind = INT32_EDGES) -> Pass:
    """The C++ of the forward pass.

    Args:
        program: What every edge computes.
        kind: Of the rows that are walked.

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
            keep_parameter(kind),
            ("const sum_t*", "sink"),
            ("sum_t*", "out"),
            ("sum_t*", "norm"),
            ("sum_t*", "all_logits"),
            ("sum_t*", "all_weights"),
            (f"{types_of_edges(program)['edge_output']}*", "all_edge_output"),
        ],
        shared="\n".join([row_pointers(program, ("shared",)), common]),
        row="\n".join([row_pointers(program, ("target",)), of_target]),
        edge="\n".join(
            [
                ends_text("target", kind),
                prefetch(program, "source", {}) if kind.layout == "edges" else "",
                row_pointers(program, ("source", "edge")),
                before,
                weight_text(program),
                after,
            ]
        ),
        finish=finish_text(program),
        types=f"using sum_t = {c_type(program.sum_dtype)};",
        kind=kind,
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
