"""Parameters of a kernel, and pointers to the rows of a program's inputs, in C++."""

from graphattn.kernels.cpp.expressions import HALVES, stored_type
from graphattn.kernels.program import Program
from graphattn.kernels.program.names import identifier

_FAR = 256  # bytes of a row from which a few edges ahead are far enough
_AHEAD, _FURTHER_AHEAD = 8, 12  # edges between a prefetch and the use of it


def parameters(program: Program) -> list[tuple[str, str]]:
    """Types and names of a kernel's parameters for the inputs of a program, in their order."""
    return [
        (f"const {stored_type(spec.dtype)}*", f"{spec.role}_{identifier(name)}")
        for name, spec in program.inputs.items()
        if spec.role in ("target", "source", "edge", "shared")
    ]


def types_of_edges(program: Program) -> dict[str, str]:
    """The C++ type of memory for each result that edges have; some type where there is none."""
    return {
        name: stored_type(program.dtype(program.outputs[name]))
        if name in program.outputs
        else "float"
        for name in ("logits", "weights", "edge_output")
    }


def uses_halves(program: Program) -> bool:
    """Whether an input or a step is of half precision."""
    dtypes = [spec.dtype for spec in program.inputs.values()]
    return any(dtype in HALVES for dtype in (*dtypes, *(step.dtype for step in program.steps)))


def row_pointers(program: Program, roles: tuple[str, ...]) -> str:
    """Pointers to the rows of inputs of some roles that belong to this target, source and edge."""
    lines = []
    for name, spec in program.inputs.items():
        if spec.role in roles:
            row = "" if spec.role == "shared" else f" + {spec.role} * {program.size(name)}"
            pointer = f"const {stored_type(spec.dtype)}* {identifier(name)}"
            lines.append(f"{pointer} = {spec.role}_{identifier(name)}{row};")
    return "\n".join(lines)


def prefetch(program: Program, end: str, others: dict[str, tuple[int, int, str]]) -> str:
    """Asks for the rows of a later edge's other end, which lie anywhere in memory.

    Args:
        program: Whose inputs are read.
        end: ``"source"`` or ``"target"``, what ``neighbor`` holds.
        others: Further memory of that row: pointer to elements per row, their size in bytes, and
            the C++ of the row's number.
    """
    rows = {
        f"{end}_{identifier(name)}": (program.size(name), spec.dtype.itemsize, "ahead")
        for name, spec in program.inputs.items()
        if spec.role == end
    } | others
    if not rows:
        return ""
    size = sum(count * width for count, width, _ in rows.values())
    distance = _AHEAD if size >= _FAR else _FURTHER_AHEAD
    lines = [f"const int64_t later = position + {distance}, ahead = neighbor[later];"]
    for pointer, (count, width, row) in rows.items():
        start = f"{pointer} + {row} * {count}"
        step = max(1, 64 // width)  # a cache line
        if count <= step:
            lines.append(f"__builtin_prefetch({start});")
        else:
            loop = f"for (int i = 0; i < {count}; i += {step})"
            lines.append(f"{loop} __builtin_prefetch({start} + i);")
    body = "\n  ".join(lines)
    return f"if (position + {distance} < stop) {{\n  {body}\n}}"
