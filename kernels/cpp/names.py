"""C++ identifiers for the values of a program, and pointers to the rows of its inputs."""

from graphattn.kernels.cpp.expressions import HALVES, stored_type
from graphattn.kernels.program import Program

_FAR = 256  # bytes of a row from which a few edges ahead are far enough
_AHEAD, _FURTHER_AHEAD = 4, 12  # edges between a prefetch and the use of it


def c_name(name: str) -> str:
    """A value's name as a C++ identifier.

    ``%add_0`` is ``add_0``, an input ``q`` is ``in_q``, what a kernel names ``@weight`` is
    ``weight``, and ``grad.logits`` is ``grad_of_logits``.
    """
    if name[0] in "%@":
        return name[1:]
    is_gradient = name.startswith("grad.")
    # Python allows more letters than C++ does, and a module's parameters have dots.
    letters = (
        c if c.isascii() and c.isalnum() else f"_{ord(c):x}_" for c in name.removeprefix("grad.")
    )
    return f"{'grad_of' if is_gradient else 'in'}_{''.join(letters)}"


def parameters(program: Program) -> list[tuple[str, str]]:
    """Types and names of a kernel's parameters for the inputs of a program, in their order."""
    return [
        (f"const {stored_type(spec.dtype)}*", f"{spec.role}_{c_name(name)}")
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
            pointer = f"const {stored_type(spec.dtype)}* {c_name(name)}"
            lines.append(f"{pointer} = {spec.role}_{c_name(name)}{row};")
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
        f"{end}_{c_name(name)}": (program.size(name), spec.dtype.itemsize, "ahead")
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
