"""The fewest bytes that a pass of an edge program can move for each edge and each row."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

from graphattn.kernels.edge_attention.rows import End
from graphattn.kernels.program import Program, needed

SECTOR = 32  # bytes that memory gives at the least (NVIDIA); rows of a gather are padded to it
_POSITION, _OFFSET = 4, 8  # bytes of an element of neighbor, order and twin, and of ptr


@dataclass(frozen=True)
class Minimum:
    """Bytes that a pass cannot but move, by name.

    Attributes:
        gathered: For each edge, of rows that lie anywhere in memory.
        streamed: For each edge, of what lies side by side with that of the next edge.
        per_row: For each row of the pass.
    """

    gathered: dict[str, int]
    streamed: dict[str, int]
    per_row: dict[str, int]

    @property
    def per_edge(self) -> int:
        """For each edge."""
        return sum(self.gathered.values()) + sum(self.streamed.values())

    @property
    def padding(self) -> int:
        """For each edge, what memory moves besides since it gives whole sectors."""
        return sum(-size % SECTOR for size in self.gathered.values())


def forward_minimum(program: Program) -> Minimum:
    """What the forward pass must move, if it returns nothing but output and edge output.

    Shared inputs are left out, here and below: all edges read the same.

    Args:
        program: What every edge computes.
    """
    used = _used(program, program.outputs.values())
    streamed = _rows(program, used, "edge") | _edge_output(program)
    row = _rows(program, used, "target") | {"ptr": _OFFSET}
    if "message" in program.outputs:
        row["output"] = _size_of_output(program)
    if program.reduction in ("softmax", "sum"):
        row["norm"] = _size_of_norm(program)
    return _with_positions(Minimum(_rows(program, used, "source"), streamed, row))


def backward_minimum(end: End, program: Program, slope: Program, *, is_left: bool) -> Minimum:
    """What a backward pass must move, without dropout, for gradients of output and edge output.

    Args:
        end: By whose rows it walks.
        program: What ran forward.
        slope: Its derivative by the inputs whose gradients this pass forms.
        is_left: Whether the pass by target leaves, for every edge and head, the weight and the
            gradient of the logit for the pass by source.
    """
    made = [name for name in slope.outputs if name.startswith("grad.")]
    by_target = end == "target"
    # The pass by source has the weights already, and computes only what its gradients need.
    values = slope.outputs if by_target else made
    used = _used(slope, [slope.outputs[name] for name in values])
    gathered = _rows(program, used, "source" if by_target else "target")
    streamed = _rows(program, used, "edge")
    row = _rows(program, used, end) | {"ptr": _OFFSET}
    for name in made:
        given = name.removeprefix("grad.")
        if program.inputs[given].role != "shared":
            place = streamed if program.inputs[given].role == "edge" else row
            place[f"gradient of {given}"] = _size(program, given)
    if "grad.edge_output" in used:
        streamed |= _edge_output(program)
    of_heads = program.num_heads * program.sum_dtype.itemsize
    if by_target:
        streamed |= {"state": 2 * of_heads} if is_left else {}
        if "message" in program.outputs:
            size = _size_of_output(program)
            row |= {"grad_output": size, "output": size, "norm": _size_of_norm(program)}
    else:
        read = {"grad.message", "grad.logits", "grad.weights"} & used
        if is_left and read:
            gathered["state"] = of_heads * len(read)
            streamed["twin"] = _POSITION
        if "grad.message" in used:
            gathered["grad_output"] = _size_of_output(program)
    return _with_positions(Minimum(gathered, streamed, row))


def _with_positions(found: Minimum) -> Minimum:
    """With the positions of the other end, and of the edge among the caller's."""
    streamed = dict(found.streamed)
    if any(name != "state" for name in found.gathered):
        streamed["neighbor"] = _POSITION
    if any(name not in ("state", "twin") for name in found.streamed):
        streamed["order"] = _POSITION
    return replace(found, streamed=streamed)


def _size_of_output(program: Program) -> int:
    return program.num_heads * program.channels * program.sum_dtype.itemsize


def _size_of_norm(program: Program) -> int:
    numbers = {"softmax": 2, "sum": 1}.get(program.reduction, 0)
    return numbers * program.num_heads * program.sum_dtype.itemsize


def _used(program: Program, values: Iterable[str]) -> set[str]:
    """The inputs on which some values depend."""
    wanted = set(values)
    for step in needed(program.steps, wanted):
        wanted.update(value for value in step.inputs if isinstance(value, str))
    return wanted & set(program.inputs)


def _rows(program: Program, used: set[str], role: str) -> dict[str, int]:
    return {
        name: _size(program, name)
        for name, spec in program.inputs.items()
        if name in used and spec.role == role
    }


def _size(program: Program, name: str) -> int:
    spec = program.inputs[name]
    return math.prod(spec.shape) * spec.dtype.itemsize


def _edge_output(program: Program) -> dict[str, int]:
    if "edge_output" not in program.outputs:
        return {}
    name = program.outputs["edge_output"]
    return {"edge_output": program.size(name) * program.dtype(name).itemsize}
