"""Splits the steps of a program into what a pass does first and what it does later."""

from collections.abc import Iterable

import torch

from graphattn.kernels.program import InputSpec, Program, Step


def without(steps: Iterable[Step], others: Iterable[Step]) -> list[Step]:
    """The steps that are not among the others."""
    names = {step.name for step in others}
    return [step for step in steps if step.name not in names]


def shared(steps: Iterable[Step]) -> list[Step]:
    """The steps that are the same for all edges."""
    return [step for step in steps if not step.per_edge]


def of_row(program: Program, steps: Iterable[Step], end: str) -> list[Step]:
    """The steps that are the same for all edges of a row: those of its own node and shared inputs.

    A step that only moves elements, or compares, stays where it is read; it costs nothing there.
    """
    known = {name for name, spec in program.inputs.items() if spec.role in (end, "shared")}
    found = []
    for step in steps:
        if all(value in known for value in step.inputs if isinstance(value, str)):
            known.add(step.name)
            if step.per_edge:
                found.append(step)
    return found


def local(shape: tuple[int, ...], dtype: torch.dtype) -> InputSpec:
    """An array of a kernel's own, of this shape for one edge."""
    return InputSpec("local", shape, dtype)


def product(
    name: str, weights: str, values: str, shape: tuple[int, ...], dtype: torch.dtype
) -> list[Step]:
    """Values of every head times the head's weight; ``weights`` is ``(1, H)``."""
    column = Step(f"{name}_column", "view", (weights,), {}, (*shape[:2], 1), dtype, True)
    return [column, Step(name, "mul", (column.name, values), {}, shape, dtype, True)]


def effect(operation: str, value: str, into: str, program: Program) -> Step:
    """A step that adds a value to the kernel's memory, or writes it there."""
    name = f"%{operation}_{into.replace('.', '_').replace(' ', '_')}"
    shape, dtype = program.shape(value), program.dtype(value)
    return Step(name, operation, (value,), {"into": into}, shape, dtype, True)
