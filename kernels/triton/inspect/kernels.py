"""The kernels of an edge program as a training step launches them, and the bytes they must move."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from graphattn.kernels.edge_attention.plan import Plan
from graphattn.kernels.edge_attention.rows import PIECE, End
from graphattn.kernels.program import Program
from graphattn.kernels.triton.frame import Source
from graphattn.kernels.triton.inspect.compilation import Kernel
from graphattn.kernels.triton.inspect.minimum import Minimum, backward_minimum, forward_minimum
from graphattn.kernels.triton.passes import printed
from graphattn.kernels.triton.table import settings

# Of an instance that sums something over all edges, at the size of the benchmarks' reference graph.
_PIECES = 256


@dataclass(frozen=True)
class Task:
    """A kernel to look at.

    Attributes:
        kernel: The kernel.
        end: The end of the edges that its rows are.
        minimum: What it must move; ``None`` if it walks over no edges.
    """

    kernel: Kernel
    end: End
    minimum: Minimum | None


def tasks(program: Program, degree: float) -> list[Task]:
    """The kernels of a program, for the gradients of all its floating-point inputs.

    Args:
        program: What every edge computes.
        degree: Mean number of edges of a row, by which tiles are made.

    Raises:
        TypeError: If the program has an element type that Triton's backend does not know.
    """
    plan = Plan(program, "triton")
    wanted = tuple(n for n, spec in program.inputs.items() if spec.dtype.is_floating_point)
    slopes = {end: plan.derivative(end, wanted) for end in plan.ends(wanted)}
    is_left = "source" in slopes and program.reduction != "edges"
    minima = [forward_minimum(program)] + [
        backward_minimum(end, program, slope, is_left=is_left) for end, slope in slopes.items()
    ]
    ends: list[End] = ["target", *slopes]
    made = []
    for source, end, least in zip(printed(program, slopes), ends, minima, strict=True):
        made.append(Task(_walk(source, degree, is_left), end, least))
        if source.merge_parameters and f"def {source.name}_merge(" in source.text:
            made.append(Task(_merge(source), end, None))
    return made


def _walk(source: Source, degree: float, is_left: bool) -> Kernel:
    used = settings(source.widest, source.least_edges, degree)
    signature, absent = _without_absent(source.text, source.parameters, is_left)
    constants = {
        "SCALE": 1.0,
        "BLOCK": used.edges,
        "PIECE": PIECE,
        "PIECES": _PIECES if source.is_grouped else 1,
    }
    return Kernel(source.name, source.text, signature, absent | constants, used.warps)


def _merge(source: Source) -> Kernel:
    signature, absent = _without_absent(source.text, source.merge_parameters, is_left=True)
    return Kernel(f"{source.name}_merge", source.text, signature, absent)


def _without_absent(
    text: str, parameters: Sequence[tuple[str, str]], is_left: bool
) -> tuple[dict[str, str], dict[str, Any]]:
    """Kinds of parameters, of which those that a plain call does not give are None.

    A kernel asks of what may be absent whether it is None. Of these, a training step without
    dropout that returns neither weights nor logits gives nothing but the state.
    """
    optional = set(re.findall(r"if (\w+) is not None", text))
    if is_left:
        optional.discard("state")
    signature = {n: "constexpr" if n in optional else kind for n, kind in parameters}
    return signature, {n: None for n, _ in parameters if n in optional}
