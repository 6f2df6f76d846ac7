"""Prints the steps of an edge program as C++ for one edge.

Every value is a small array in row-major order; a view of it is the same array. The C++ is meant to
be read: arrays carry the names of the program, and one loop nest stands for one step.
"""

import math
from collections.abc import Callable, Iterable

import torch

from graphattn.kernels.cpp.expressions import TYPES, expression, literal
from graphattn.kernels.cpp.fusion import steps_inlined
from graphattn.kernels.program import Program, Step
from graphattn.kernels.program.operations import POINTWISE, REDUCTIONS

_AHEAD = 4  # edges between a prefetch and the use of it


def print_steps(program: Program, steps: Iterable[Step]) -> str:
    """C++ statements for steps of a program.

    A step that one loop alone reads has no loop of its own: its formula stands in that loop.

    Raises:
        TypeError: If a value has an element type that this printer does not know.
    """
    printer = _Printer(program)
    return "\n".join(printer.print(step) for step in steps)


def row_pointers(program: Program, roles: tuple[str, ...]) -> str:
    """Pointers to the rows of inputs of some roles that belong to this target, source and edge."""
    lines = []
    for name, spec in program.inputs.items():
        if spec.role in roles:
            row = "" if spec.role == "shared" else f" + {spec.role} * {program.size(name)}"
            pointer = f"const {c_type(spec.dtype)}* {c_name(name)}"
            lines.append(f"{pointer} = {spec.role}_{c_name(name)}{row};")
    return "\n".join(lines)


def prefetch(program: Program, end: str, stop: str) -> str:
    """Asks for the rows of a later edge's other end, which lie anywhere in memory.

    Args:
        program: Whose inputs are read.
        end: ``"source"`` or ``"target"``, what ``neighbor`` holds.
        stop: C++ of the position after the row's last edge.
    """
    lines = []
    for name, spec in program.inputs.items():
        if spec.role == end:
            row = f"{end}_{c_name(name)} + ahead * {program.size(name)}"
            size = program.size(name)
            step = max(1, 64 // spec.dtype.itemsize)  # a cache line
            lines.append(f"for (int i = 0; i < {size}; i += {step}) __builtin_prefetch({row} + i);")
    if not lines:
        return ""
    body = "\n  ".join([f"const int64_t ahead = neighbor[position + {_AHEAD}];", *lines])
    return f"if (position + {_AHEAD} < {stop}) {{\n  {body}\n}}"


def indented(text: str, spaces: int) -> str:
    """The text with all lines but the first indented."""
    return text.replace("\n", "\n" + " " * spaces)


def c_type(dtype: torch.dtype) -> str:
    """The C++ name of an element type."""
    if dtype not in TYPES:
        known = ", ".join(str(known).removeprefix("torch.") for known in TYPES)
        raise TypeError(
            f'backend "cpp" knows {known}, got {dtype}: cast the inputs, or use backend="reference"'
        )
    return TYPES[dtype]


class _Printer:
    def __init__(self, program: Program) -> None:
        self.program = program
        self.steps = {step.name: step for step in program.steps}
        self.inlined = steps_inlined(program)
        self.special: dict[str, Callable[[Step], str]] = {
            "view": self._view,
            "constant": self._constant,
            "cat": self._cat,
            "matmul": self._matmul,
        }

    def print(self, step: Step) -> str:
        # Not the user's line: the text is the key of the cache, and a line may move.
        comment = f"// {step}"
        if step.name in self.inlined:
            return f"{comment}, where it is read"
        if step.operation in self.special:
            body = self.special[step.operation](step)
        elif step.operation in REDUCTIONS:
            body = self._reduction(step)
        else:
            body = self._elementwise(step)
        return f"{comment}\n{body}"

    def _declare(self, step: Step) -> str:
        return f"{c_type(step.dtype)} {c_name(step.name)}[{math.prod(step.shape)}];"

    def _elementwise(self, step: Step) -> str:
        """One value for each element of the result, read from the inputs by position."""
        indices = _indices(step.shape)
        target = f"{c_name(step.name)}[{_position(step.shape, indices)}]"
        loops = _loops(step.shape, indices, f"{target} = {self._formula(step, indices)};")
        return f"{self._declare(step)}\n{loops}"

    def _element(self, name: str, indices: list[str]) -> str:
        """One element of a value, at the position that the last of ``indices`` say."""
        shape = self.program.shape(name)
        last = indices[len(indices) - len(shape) :]
        own = ["0" if size == 1 else index for size, index in zip(shape, last, strict=True)]
        if name in self.inlined:
            return self._formula(self.steps[name], own)
        return f"{c_name(name)}[{_position(shape, own)}]"

    def _formula(self, step: Step, indices: list[str]) -> str:
        """One element of a step, computed from its inputs."""
        if step.operation == "fill":
            return literal(step.settings["value"], step.dtype)
        if step.operation in POINTWISE:
            operands = [self._operand(value, step, indices) for value in step.inputs]
            value = expression(step.operation, operands)
        else:
            source = step.inputs[0]
            value = self._element(source, self._moved(step, self.program.shape(source), indices))
        return f"{c_type(step.dtype)}({value})"

    def _moved(self, step: Step, shape: tuple[int, ...], indices: list[str]) -> list[str]:
        """Where in its input an operation that only moves elements finds each of them."""
        axis = step.settings.get("axis", 0)
        if step.operation == "permute":
            moved = [""] * len(shape)
            for position, own in enumerate(step.settings["axes"]):
                moved[own] = indices[position]
            return moved
        if step.operation == "slice":
            start, stride = step.settings["start"], step.settings["step"]
            at_axis = f"{start} + {stride} * {indices[axis]}"
        elif step.operation == "take":
            positions = ", ".join(map(str, step.settings["positions"]))
            # A constant table, written where it is used.
            at_axis = f"std::array<int, {len(step.settings['positions'])}>{{{positions}}}"
            at_axis += f"[{indices[axis]}]"
        else:  # expand, cast: the same position, counted from the last axis
            return indices[len(indices) - len(shape) :]
        return [*indices[:axis], f"({at_axis})", *indices[axis + 1 :]]

    def _operand(self, value: str | float, step: Step, indices: list[str]) -> str:
        if not isinstance(value, str):
            dtype = step.dtype
            if dtype == torch.bool:  # a comparison: the number is compared in the other's type
                tensors = [v for v in step.inputs if isinstance(v, str)]
                dtype = self.program.dtype(tensors[0])
            return literal(value, dtype)
        return self._element(value, indices)

    def _view(self, step: Step) -> str:
        return f"const {c_type(step.dtype)}* {c_name(step.name)} = {c_name(step.inputs[0])};"

    def _constant(self, step: Step) -> str:
        values = ", ".join(literal(value, step.dtype) for value in step.settings["values"])
        count = math.prod(step.shape)
        return f"const {c_type(step.dtype)} {c_name(step.name)}[{count}] = {{{values}}};"

    def _cat(self, step: Step) -> str:
        lines, start, axis = [self._declare(step)], 0, step.settings["axis"]
        for source in step.inputs:
            shape = self.program.shape(source)
            indices = _indices(shape)
            moved = [*indices[:axis], f"({start} + {indices[axis]})", *indices[axis + 1 :]]
            assign = f"{c_name(step.name)}[{_position(step.shape, moved)}] = "
            assign += f"{c_name(source)}[{_position(shape, indices)}];"
            lines.append(_loops(shape, indices, assign))
            start += shape[axis]
        return "\n".join(lines)

    def _reduction(self, step: Step) -> str:
        """One accumulator for each element of the result, so that the loop over rows vectorises."""
        source, axes = step.inputs[0], step.settings["axes"]
        shape = self.program.shape(source)
        indices = _indices(shape)
        kept = [axis for axis in range(len(shape)) if axis not in axes]
        kind = c_type(step.dtype)
        element = self._element(source, indices)
        first = {"sum": "0", "prod": "1"}.get(step.operation)
        if first is None:
            sign = "-" if step.operation == "amax" else ""
            first = f"{sign}std::numeric_limits<{kind}>::infinity()"
        combine = {
            "sum": f"total + {element}",
            "prod": f"total * {element}",
            "amax": expression("maximum", [element, "total"]),
            "amin": expression("minimum", [element, "total"]),
        }[step.operation]
        # NaN must win in a maximum; only a sum and a product may be reordered.
        order = {"sum": "+", "prod": "*"}.get(step.operation)
        pragma = f"#pragma omp simd reduction({order}:total)\n" if order else ""
        inner = _loops([shape[a] for a in axes], [indices[a] for a in axes], f"total = {combine};")
        if "for" not in inner:
            pragma = ""
        kept_shape = tuple(shape[axis] for axis in kept)
        kept_indices = [indices[axis] for axis in kept]
        position = _position(kept_shape, kept_indices)
        body = f"{kind} total = {first};\n{pragma}{inner}\n{c_name(step.name)}[{position}] = total;"
        block = "{\n" + f"  {indented(body, 2)}" + "\n}"
        return f"{self._declare(step)}\n{_loops(kept_shape, kept_indices, block)}"

    def _matmul(self, step: Step) -> str:
        left, right = step.inputs
        left_shape, right_shape = self.program.shape(left), self.program.shape(right)
        *batch, rows, columns = _indices(step.shape)
        *batch_shape, num_rows, num_columns = step.shape
        inner = left_shape[-1]
        target = f"{c_name(step.name)}[{_position(step.shape, [*batch, rows, columns])}]"
        a = f"{c_name(left)}[{_position(left_shape, [*batch, rows, 'k'])}]"
        b = f"{c_name(right)}[{_position(right_shape, [*batch, 'k', columns])}]"
        shape = (*batch_shape, num_rows, inner, num_columns)
        order = [*batch, rows, "k", columns]
        count = math.prod(step.shape)
        return "\n".join(
            [
                self._declare(step),
                f"for (int i = 0; i < {count}; ++i) {c_name(step.name)}[i] = 0;",
                _loops(shape, order, f"{target} += {a} * {b};"),
            ]
        )


def c_name(name: str) -> str:
    """A value's name as a C++ identifier: ``%add_0`` is ``add_0``, an input ``q`` is ``in_q``."""
    if name.startswith("%"):
        return name[1:]
    # Python allows more letters than C++ does, and a module's parameters have dots.
    letters = (c if c.isascii() and c.isalnum() else f"_{ord(c):x}_" for c in name)
    return f"in_{''.join(letters)}"


def _indices(shape: Iterable[int]) -> list[str]:
    # An axis of size one has no loop, and so its index is a plain zero.
    return ["0" if size == 1 else f"i{axis}" for axis, size in enumerate(shape)]


def _position(shape: tuple[int, ...], indices: list[str]) -> str:
    """The row-major position of an element; axes of size one are always at zero."""
    terms, stride = [], 1
    for size, index in zip(reversed(shape), reversed(indices), strict=True):
        if size != 1:
            terms.append(index if stride == 1 else f"{stride} * {index}")
        stride *= size
    return " + ".join(reversed(terms)) or "0"


def _loops(shape: Iterable[int], indices: list[str], body: str) -> str:
    lines, depth = [], 0
    for size, index in zip(shape, indices, strict=True):
        if size == 1:
            continue
        lines.append(f"{'  ' * depth}for (int {index} = 0; {index} < {size}; ++{index})")
        depth += 1
    return "\n".join([*lines, f"{'  ' * depth}{body}"])
