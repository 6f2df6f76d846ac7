"""Prints the steps of an edge program as C++ for one edge.

Every value is a small array in row-major order; a view of it is the same array. The C++ is meant to
be read: arrays carry the names of the program, and one loop nest stands for one step.
"""

import math
from collections.abc import Callable, Iterable

import torch

from graphattn.kernels.cpp.expressions import TYPES, expression, literal
from graphattn.kernels.program import Program, Step
from graphattn.kernels.program.operations import POINTWISE, REDUCTIONS


def print_steps(program: Program, steps: Iterable[Step]) -> str:
    """C++ statements for steps of a program.

    Raises:
        TypeError: If a value has an element type that this printer does not know.
    """
    return "\n".join(_Printer(program).print(step) for step in steps)


def row_pointers(program: Program, roles: tuple[str, ...]) -> str:
    """Pointers to the rows of inputs of some roles that belong to this target, source and edge."""
    lines = []
    for name, spec in program.inputs.items():
        if spec.role in roles:
            row = "" if spec.role == "shared" else f" + {spec.role} * {program.size(name)}"
            pointer = f"const {c_type(spec.dtype)}* {c_name(name)}"
            lines.append(f"{pointer} = {spec.role}_{c_name(name)}{row};")
    return "\n".join(lines)


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
        self.special: dict[str, Callable[[Step], str]] = {
            "view": self._view,
            "constant": self._constant,
            "cat": self._cat,
            "matmul": self._matmul,
        }

    def print(self, step: Step) -> str:
        if step.operation in self.special:
            body = self.special[step.operation](step)
        elif step.operation in REDUCTIONS:
            body = self._reduction(step)
        else:
            body = self._elementwise(step)
        # Not the user's line: the text is the key of the cache, and a line may move.
        return f"// {step}\n{body}"

    def _declare(self, step: Step) -> str:
        return f"{c_type(step.dtype)} {c_name(step.name)}[{math.prod(step.shape)}];"

    def _elementwise(self, step: Step) -> str:
        """One value for each element of the result, read from the inputs by position."""
        indices = _indices(step.shape)
        if step.operation in POINTWISE:
            operands = [self._operand(value, step, indices) for value in step.inputs]
            value = expression(step.operation, operands)
        elif step.operation == "fill":
            value = literal(step.settings["value"], step.dtype)
        else:
            source = step.inputs[0]
            shape = self.program.shape(source)
            value = f"{c_name(source)}[{_position(shape, self._moved(step, shape, indices))}]"
        target = f"{c_name(step.name)}[{_position(step.shape, indices)}]"
        loops = _loops(step.shape, indices, f"{target} = {c_type(step.dtype)}({value});")
        return f"{self._declare(step)}\n{loops}"

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
        shape = self.program.shape(value)
        return f"{c_name(value)}[{_position(shape, indices[len(indices) - len(shape) :])}]"

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
        element = f"{c_name(source)}[{_position(shape, indices)}]"
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
