"""Prints the steps of an edge program as C++ for one edge.

Every value is an array in row-major order, or a scalar within the loops that make it where nobody
else reads it. The C++ is meant to be read: values carry the names of the program.
"""

import math
from collections.abc import Callable, Sequence

import torch

from graphattn.kernels.cpp.expressions import HALVES, c_type, expression, literal
from graphattn.kernels.cpp.nests import Nest, schedule, squeezed, steps_inlined
from graphattn.kernels.program import Program, Step
from graphattn.kernels.program.names import identifier
from graphattn.kernels.program.operations import POINTWISE, REDUCTIONS

# Steps that only a kernel has. ``add_to`` and ``write`` put a value into the memory that
# ``settings["into"]`` names, a C++ pointer; ``copy`` keeps one in an array of its own.
EFFECTS = {"add_to": "+=", "write": "="}


def print_stages(program: Program, stages: Sequence[Sequence[Step]]) -> list[str]:
    """C++ statements for parts of a program that run one after another in one scope.

    Args:
        program: Inputs, all steps of all stages, and their shapes.
        stages: Steps, each stage after what it reads.

    Returns:
        The text of each stage.

    Raises:
        TypeError: If a value has an element type that this printer does not know.
    """
    printer = _Printer(program)
    nests = [schedule(program, steps, printer.inlined) for steps in stages]
    for nest in [nest for stage in nests for nest in stage]:
        printer.print(nest)  # to learn which values are read out of their loops
    return ["\n".join(printer.print(nest) for nest in stage) for stage in nests]


class _Printer:
    def __init__(self, program: Program) -> None:
        self.program = program
        self.steps = {step.name: step for step in program.steps}
        self.inlined = steps_inlined(program)
        # Values that are read out of the loops which make them; copies are made to be read so.
        self.arrays = {step.name for step in program.steps if step.operation == "copy"}
        # Of the nest that is being printed: what it makes, and its loops' indices.
        self.scalars: set[str] = set()
        self.indices: list[str] = []
        self.alone: dict[str, Callable[[Step], str]] = {
            "view": self._view,
            "constant": self._constant,
            "cat": self._cat,
            "matmul": self._matmul,
        }

    def print(self, nest: Nest) -> str:
        # Not the user's line: the text is the key of the cache, and a line may move.
        comments = "\n".join(f"// {step}" for step in nest.steps)
        self.scalars, self.indices = set(), []
        if nest.is_alone:
            step = nest.steps[0]
            body = self.alone.get(step.operation, self._reduction)(step)
        else:
            self.indices = [f"i{axis}" for axis in range(len(nest.shape))]
            self.scalars = {step.name for step in nest.steps}
            loops = self._loops(nest, 0)
            body = "\n".join([*self._declarations(nest), loops])
        return f"{comments}\n{body}"

    def _declarations(self, nest: Nest) -> list[str]:
        kept = [s for s in nest.steps if s.name in self.arrays or s.operation in REDUCTIONS]
        return [self._declare(step) for step in kept]

    def _declare(self, step: Step) -> str:
        return f"{c_type(step.dtype)} {identifier(step.name)}[{math.prod(step.shape)}];"

    def _loops(self, nest: Nest, depth: int) -> str:
        """The loops from this depth inwards, with the sums that are complete after them."""
        sums = [s for s in nest.steps if s.operation in REDUCTIONS]
        own = [s for s in sums if len(squeezed(s.shape)) == depth]
        starts = {"sum": "0", "prod": "1"}
        lines = [f"{c_type(s.dtype)} {_scalar(s)} = {starts[s.operation]};" for s in own]
        if depth == len(nest.shape):
            lines += [self._statement(step) for step in nest.steps]
        else:
            if depth == len(nest.shape) - 1:
                lines.append(_simd(sums))
            index, size = self.indices[depth], nest.shape[depth]
            body = self._loops(nest, depth + 1)
            block = f"for (int {index} = 0; {index} < {size}; ++{index}) {{"
            lines.append(f"{block}\n  {indented(body, 2)}\n}}")
        for step in own:
            position = _position(step.shape, self._spread(step.shape, self.indices[:depth]))
            lines.append(f"{identifier(step.name)}[{position}] = {_scalar(step)};")
        return "\n".join(lines)

    def _statement(self, step: Step) -> str:
        """What one round of the innermost loop does for a step."""
        if step.operation in REDUCTIONS:
            shape = self.program.shape(step.inputs[0])
            element = self._element(step.inputs[0], self._spread(shape, self.indices))
            sign = {"sum": "+", "prod": "*"}[step.operation]
            return f"{_scalar(step)} = {_scalar(step)} {sign} {c_type(step.dtype)}({element});"
        indices = self._spread(step.shape, self.indices)
        position = _position(step.shape, indices)
        if step.operation in EFFECTS:
            into, sign = step.settings["into"], EFFECTS[step.operation]
            return f"{into}[{position}] {sign} {self._element(step.inputs[0], indices)};"
        lines = [f"const {c_type(step.dtype)} {_scalar(step)} = {self._formula(step, indices)};"]
        if step.name in self.arrays:
            lines.append(f"{identifier(step.name)}[{position}] = {_scalar(step)};")
        return "\n".join(lines)

    @staticmethod
    def _spread(shape: Sequence[int], indices: Sequence[str]) -> list[str]:
        # An axis of size one has no loop, and so its index is a plain zero.
        rest = iter(indices)
        return ["0" if size == 1 else next(rest) for size in shape]

    def _element(self, name: str, indices: list[str]) -> str:
        """One element of a value, at the position that the last of ``indices`` say."""
        shape = self.program.shape(name)
        last = indices[len(indices) - len(shape) :]
        own = ["0" if size == 1 else index for size, index in zip(shape, last, strict=True)]
        if name in self.inlined:
            return self._formula(self.steps[name], own)
        if name in self.scalars and [i for i in own if i != "0"] == self.indices:
            return _scalar(self.steps[name])
        element = f"{self._array(name)}[{_position(shape, own)}]"
        is_half = name in self.program.inputs and self.program.dtype(name) in HALVES
        return f"float({element})" if is_half else element

    def _array(self, name: str) -> str:
        """The C++ pointer to a value."""
        if name in self.inlined:  # a view that only adds or drops axes of size one
            return self._array(self.steps[name].inputs[0])
        self.arrays.add(name)
        return identifier(name)

    def _formula(self, step: Step, indices: list[str]) -> str:
        """One element of a step, computed from its inputs."""
        if step.operation == "fill":
            return literal(step.settings["value"], step.dtype)
        if step.operation in POINTWISE or step.operation == "copy":
            operands = [self._operand(value, step, indices) for value in step.inputs]
            value = expression(step.operation, operands)
        else:
            source = step.inputs[0]
            value = self._element(source, self._moved(step, self.program.shape(source), indices))
        return f"{c_type(step.dtype)}({value})"

    def _moved(self, step: Step, shape: tuple[int, ...], indices: list[str]) -> list[str]:
        """Where in its input an operation that only moves elements finds each of them."""
        axis = step.settings.get("axis", 0)
        if step.operation == "view":
            loops = [i for i, size in zip(indices, step.shape, strict=True) if size != 1]
            return self._spread(shape, loops)
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
        dtype = step.dtype
        if isinstance(value, str):
            element, own = self._element(value, indices), self.program.dtype(value)
            # C++ divides whole numbers without rest, and its maximum takes two of one type.
            is_condition = step.operation == "where" and own == torch.bool
            is_mixed = c_type(own) != c_type(dtype) and dtype != torch.bool and not is_condition
            return f"{c_type(dtype)}({element})" if is_mixed else element
        if dtype == torch.bool:  # a comparison: the number is compared in the other's type
            tensors = [v for v in step.inputs if isinstance(v, str)]
            dtype = self.program.dtype(tensors[0])
        return literal(value, dtype)

    def _view(self, step: Step) -> str:
        return f"const auto* {identifier(step.name)} = {self._array(step.inputs[0])};"

    def _constant(self, step: Step) -> str:
        values = ", ".join(literal(value, step.dtype) for value in step.settings["values"])
        count = math.prod(step.shape)
        return f"const {c_type(step.dtype)} {identifier(step.name)}[{count}] = {{{values}}};"

    def _cat(self, step: Step) -> str:
        lines, start, axis = [self._declare(step)], 0, step.settings["axis"]
        for source in step.inputs:
            shape = self.program.shape(source)
            indices = _indices(shape)
            moved = [*indices[:axis], f"({start} + {indices[axis]})", *indices[axis + 1 :]]
            assign = f"{identifier(step.name)}[{_position(step.shape, moved)}] = "
            lines.append(_nested(shape, indices, f"{assign}{self._element(source, indices)};"))
            start += shape[axis]
        return "\n".join(lines)

    def _reduction(self, step: Step) -> str:
        """A maximum, or a sum whose axes are not the last: one loop nest of its own."""
        source, axes = step.inputs[0], step.settings["axes"]
        shape = self.program.shape(source)
        indices = _indices(shape)
        kept = [axis for axis in range(len(shape)) if axis not in axes]
        kind, element = c_type(step.dtype), self._element(source, indices)
        first = {"sum": "0", "prod": "1"}.get(step.operation)
        if first is None:
            limit = "lowest" if step.operation == "amax" else "max"
            if step.dtype.is_floating_point:
                limit = "infinity"
            sign = "-" if step.operation == "amax" and limit == "infinity" else ""
            first = f"{sign}std::numeric_limits<{kind}>::{limit}()"
        combine = {
            "sum": f"total + {element}",
            "prod": f"total * {element}",
            "amax": f"larger(total, {kind}({element}))",
            "amin": f"smaller(total, {kind}({element}))",
        }[step.operation]
        inner = _nested([shape[a] for a in axes], [indices[a] for a in axes], f"total = {combine};")
        kept_shape = tuple(shape[axis] for axis in kept)
        kept_indices = [indices[axis] for axis in kept]
        position = _position(kept_shape, kept_indices)
        body = f"{kind} total = {first};\n{inner}\n{identifier(step.name)}[{position}] = total;"
        block = "{\n" + f"  {indented(body, 2)}" + "\n}"
        return f"{self._declare(step)}\n{_nested(kept_shape, kept_indices, block)}"

    def _matmul(self, step: Step) -> str:
        left, right = step.inputs
        inner = self.program.shape(left)[-1]
        *batch, rows, columns = _indices(step.shape)
        *batch_shape, num_rows, num_columns = step.shape
        k = "0" if inner == 1 else "k"
        target = f"{identifier(step.name)}[{_position(step.shape, [*batch, rows, columns])}]"
        product = f"{self._element(left, [*batch, rows, k])} * "
        product += self._element(right, [*batch, k, columns])
        shape = (*batch_shape, num_rows, inner, num_columns)
        zero = f"for (int i = 0; i < {math.prod(step.shape)}; ++i) {identifier(step.name)}[i] = 0;"
        sums = _nested(shape, [*batch, rows, k, columns], f"{target} += {product};")
        return f"{self._declare(step)}\n{zero}\n{sums}"


def indented(text: str, spaces: int) -> str:
    """The text with all lines but the first indented."""
    return text.replace("\n", "\n" + " " * spaces)


def _scalar(step: Step) -> str:
    return f"{identifier(step.name)}_at"


def _simd(sums: list[Step]) -> str:
    clauses = [
        f" reduction({sign}:{', '.join(_scalar(s) for s in sums if s.operation == operation)})"
        for operation, sign in (("sum", "+"), ("prod", "*"))
        if any(s.operation == operation for s in sums)
    ]
    return "#pragma omp simd" + "".join(clauses)


def _indices(shape: Sequence[int]) -> list[str]:
    return ["0" if size == 1 else f"i{axis}" for axis, size in enumerate(shape)]


def _position(shape: Sequence[int], indices: Sequence[str]) -> str:
    """The row-major position of an element; axes of size one are always at zero."""
    terms, stride = [], 1
    for size, index in zip(reversed(shape), reversed(indices), strict=True):
        if size != 1:
            terms.append(index if stride == 1 else f"{stride} * {index}")
        stride *= size
    return " + ".join(reversed(terms)) or "0"


def _nested(shape: Sequence[int], indices: Sequence[str], body: str) -> str:
    lines, depth = [], 0
    for size, index in zip(shape, indices, strict=True):
        if size == 1:
            continue
        lines.append(f"{'  ' * depth}for (int {index} = 0; {index} < {size}; ++{index})")
        depth += 1
    return "\n".join([*lines, f"{'  ' * depth}{body}"])
