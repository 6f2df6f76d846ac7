"""The backward passes of an edge program in C++: one by target row, one by source row.

The pass by target leaves, for each edge and head, the weight after dropout and the gradient of the
logit (of the program's weight, where there is no softmax); the pass by source reads them.
"""

from dataclasses import replace

from graphattn.kernels.cpp.expressions import c_type
from graphattn.kernels.cpp.gradients import Gradients
from graphattn.kernels.cpp.layout import ends_text, keep_parameter
from graphattn.kernels.cpp.names import (
    parameters,
    prefetch,
    row_pointers,
    types_of_edges,
    uses_halves,
)
from graphattn.kernels.cpp.printer import print_stages
from graphattn.kernels.cpp.pulls import pull_text, row_text
from graphattn.kernels.cpp.stages import local, of_row, product, shared, without
from graphattn.kernels.cpp.walk import Pass
from graphattn.kernels.edge_attention.rows import INT32_EDGES, End, Kind
from graphattn.kernels.program import Program, Step, needed


def backward_pass(end: End, derivative: Program, kind: Kind = INT32_EDGES) -> Pass:
    """The C++ of a backward pass.

    Args:
        end: ``"target"`` or ``"source"``: by whose rows it walks.
        derivative: Of what ran forward, by those inputs whose gradients this pass forms.
        kind: Of the rows that are walked.
    """
    whole, gradients, stages = _stages(end, derivative, kind)
    common, of_own, before, after = print_stages(whole, stages)
    other: End = "source" if end == "target" else "target"
    heads, dtype = derivative.num_heads, derivative.sum_dtype
    channels = derivative.channels if "message" in derivative.outputs else 0
    further = {}
    if end == "source" and derivative.reduction != "edges":
        further = {
            "all_grad_output": (heads * channels, dtype.itemsize, "ahead"),
            "state": (2 * heads, dtype.itemsize, "twin[later]"),
        }
    # Pairs of blocks have no memory: the pass by source makes their weights again.
    is_left = end == "source" and kind.layout == "edges"
    of_target = "" if is_left else row_text(derivative)
    return Pass(
        name=f"backward_by_{end}",
        comment=_COMMENTS[end],
        end=end,
        fields=gradients.fields(),
        merge=gradients.merge(),
        parameters=[
            *parameters(derivative),
            *_arriving(derivative, kind),
            *gradients.parameters(),
        ],
        shared="\n".join([row_pointers(derivative, ("shared",)), common]),
        chunk=gradients.chunk(),
        row="\n".join(
            [
                row_pointers(derivative, (end,)),
                of_target if end == "target" else "",
                of_own,
            ]
        ),
        edge="\n".join(
            [
                ends_text(end, kind),
                prefetch(derivative, other, further) if kind.layout == "edges" else "",
                row_pointers(derivative, (other, "edge")),
                of_target if end == "source" else "",
                _EDGE_OUTPUT.format(size=_edge_size(derivative)),
                before,
                pull_text(derivative, is_left=is_left),
                after,
            ]
        ),
        finish=gradients.finish(),
        finale=gradients.finale(),
        types=f"using sum_t = {c_type(dtype)};",
        kind=kind,
        uses_halves=uses_halves(whole),
    )


_COMMENTS = {
    "target": "Backward by target row: the weights again, then gradients of target, edge, shared.",
    "source": "Backward by source row, from the weights and gradients that the other pass left.",
}
_EDGE_OUTPUT = """\
const auto* grad_of_edge_5f_output = all_grad_edge_output + edge * {size};"""


def _edge_size(program: Program) -> int:
    value = program.outputs.get("edge_output")
    return 0 if value is None else program.size(value)


def _arriving(program: Program, kind: Kind) -> list[tuple[str, str]]:
    types = types_of_edges(program)
    # Weights are returned in the type of the logits where they are made from them.
    weights = types["weights" if "weights" in program.outputs else "logits"]
    of_targets = ("all_grad_output", "all_output", "norm", "delta")
    return [
        *(("const sum_t*", name) for name in of_targets),
        keep_parameter(kind),
        (f"const {weights}*", "all_grad_weights"),
        (f"const {types['logits']}*", "all_grad_logits"),
        (f"const {types['edge_output']}*", "all_grad_edge_output"),
        ("sum_t*", "state"),
    ]


def _stages(
    end: End, derivative: Program, kind: Kind
) -> tuple[Program, Gradients, list[list[Step]]]:
    """Steps for all edges, for a row, from which the weights' gradients are made, and after."""
    dtype, outputs = derivative.sum_dtype, derivative.outputs
    inputs, steps, first = dict(derivative.inputs), list(derivative.steps), []
    for name in ("logits", "weights"):
        if name in outputs:
            inputs[f"grad.{name}"] = local((derivative.num_heads,), dtype)
            shape = derivative.shape(outputs[name])
            first.append(Step(f"@{name}", "copy", (outputs[name],), {}, shape, dtype, True))
    if "message" in outputs:
        shape = derivative.shape(outputs["message"])
        inputs |= {"@grad_output": local(shape[1:], dtype), "@kept": local(shape[1:2], dtype)}
        # The gradient of a message is that of the output times the weight.
        own = product("%grad_message", "@kept", "@grad_output", shape, dtype)
        steps = [*own, *(_renamed(step, "grad.message", own[-1].name) for step in steps)]
        outputs = {
            name: own[-1].name if value == "grad.message" else value
            for name, value in outputs.items()
        }
        pull = ("@grad_output", outputs["message"])
        first.append(Step("%pulled", "mul", pull, {}, shape, dtype, True))
        total = (
            ("sum", ("%pulled",), {"axes": (2,)}) if shape[2] > 1 else ("view", ("%pulled",), {})
        )
        first.append(Step("%pulled_head", *total, shape[:2], dtype, True))
        first.append(Step("@pull", "copy", ("%pulled_head",), {}, shape[:2], dtype, True))
    whole = replace(derivative, inputs=inputs, steps=tuple(steps), outputs=outputs)
    gradients = Gradients(whole, end)
    first = [] if end == "source" and kind.layout == "edges" else first
    last = gradients.effects()
    whole = replace(whole, steps=(*steps, *first, *last))
    common = shared(steps)
    early, late = (needed(whole.steps, [step.name for step in part]) for part in (first, last))
    own = of_row(derivative, [step for step in steps if step in early or step in late], end)
    before = without(early, [*common, *own])
    after = without(late, [*common, *own, *before])
    return whole, gradients, [common, own, before, after]


def _renamed(step: Step, old: str, new: str) -> Step:
    inputs = tuple(new if value == old else value for value in step.inputs)
    return replace(step, inputs=inputs)
