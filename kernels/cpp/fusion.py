"""Which steps of a program need no loop of their own."""

import math

from graphattn.kernels.program import Program, Step
from graphattn.kernels.program.operations import POINTWISE, REDUCTIONS

# Their C++ names an operand twice, so that a formula in its place would be computed twice.
_READ_TWICE = ("amax", "amin", "maximum", "minimum", "pow", "relu", "sign")
# To read an element of them costs nothing, or less than to keep it: a comparison's booleans.
_FREE = ("fill", "expand", "eq", "ge", "gt", "le", "lt", "ne", "isnan", "isinf")


def steps_inlined(program: Program) -> set[str]:
    """Names of the steps whose formula stands in the one loop that reads them.

    That is a pointwise step with one reader, itself pointwise or a reduction, that runs over as
    many elements; and a number, a broadcast or a comparison, however many such readers it has.
    """
    readers: dict[str, list[Step]] = {step.name: [] for step in program.steps}
    for step in program.steps:
        for value in step.inputs:
            if isinstance(value, str) and value in readers:
                readers[value].append(step)
    kept = set(program.outputs.values())
    inlined: set[str] = set()
    for step in program.steps:
        own = readers[step.name]
        if step.name in kept or not own or not all(_reads_elements(reader) for reader in own):
            continue
        if step.operation in _FREE:
            # If it reads a formula, that would be computed again for each of its own readers.
            formulas = [value for value in step.inputs if value in inlined]
            if all(_operation(program, value) == "fill" for value in formulas):
                inlined.add(step.name)
        elif step.operation in POINTWISE and len(own) == 1 and _fits(step, own[0]):
            inlined.add(step.name)
    return inlined


def _operation(program: Program, name: str) -> str:
    return next(step.operation for step in program.steps if step.name == name)


def _reads_elements(reader: Step) -> bool:
    return reader.operation in POINTWISE or reader.operation in REDUCTIONS


def _fits(step: Step, reader: Step) -> bool:
    same_size = reader.operation in REDUCTIONS or math.prod(step.shape) == math.prod(reader.shape)
    return same_size and reader.operation not in _READ_TWICE and step.per_edge == reader.per_edge
