"""Runs an edge program step by step in plain PyTorch: what its operations mean."""

import functools
import operator
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from graphattn.kernels.program.program import Program, Step

_Run = Callable[[Step, list[Any]], Tensor]


def interpret(program: Program, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The outputs of a program for one edge.

    Args:
        program: What to run.
        inputs: Tensors by name, of the shapes that ``program.shape`` gives: those of an edge have a
            first axis of size one.

    Returns:
        Tensors by the names of ``program.outputs``; differentiable.
    """
    values: dict[str, Tensor] = dict(inputs)
    for step in program.steps:
        operands = [values[value] if isinstance(value, str) else value for value in step.inputs]
        run = _RUN.get(step.operation, _pointwise)
        values[step.name] = run(step, operands)
    return {output: values[name] for output, name in program.outputs.items()}


def _pointwise(step: Step, operands: list[Any]) -> Tensor:
    # Python's operators take a number on either side, PyTorch's functions need a tensor first.
    function = getattr(operator, _OPERATORS.get(step.operation, ""), None)
    return (function or getattr(torch, step.operation))(*operands)


def _slice(step: Step, operands: list[Any]) -> Tensor:
    axis, start, stride = (step.settings[key] for key in ("axis", "start", "step"))
    stop = start + stride * (step.shape[axis] - 1) + 1
    index = [slice(None)] * axis + [slice(start, stop, stride)]
    return operands[0][tuple(index)]


def _take(step: Step, operands: list[Any]) -> Tensor:
    # Slices, whose derivative is made of slices again, as that of an index is not.
    axis = step.settings["axis"]
    parts = [operands[0].narrow(axis, position, 1) for position in step.settings["positions"]]
    return torch.cat(parts, axis)


def _prod(step: Step, operands: list[Any]) -> Tensor:
    product = operands[0].to(step.dtype)
    for axis in step.settings["axes"]:
        product = functools.reduce(operator.mul, product.split(1, axis))
    return product.reshape(step.shape)


_OPERATORS = {"add": "add", "sub": "sub", "mul": "mul", "div": "truediv", "pow": "pow"}
_RUN: dict[str, _Run] = {
    "constant": lambda step, _: torch.tensor(step.settings["values"], dtype=step.dtype).reshape(
        step.shape
    ),
    "fill": lambda step, _: torch.full(step.shape, step.settings["value"], dtype=step.dtype),
    "cast": lambda step, operands: operands[0].to(step.dtype),
    "view": lambda step, operands: operands[0].reshape(step.shape),
    "expand": lambda step, operands: operands[0].expand(step.shape),
    "permute": lambda step, operands: operands[0].permute(step.settings["axes"]),
    "slice": _slice,
    "take": _take,
    "cat": lambda step, operands: torch.cat(operands, step.settings["axis"]),
    "sum": lambda step, operands: (
        operands[0].sum(step.settings["axes"], dtype=step.dtype).reshape(step.shape)
    ),
    "amax": lambda step, operands: operands[0].amax(step.settings["axes"]).reshape(step.shape),
    "amin": lambda step, operands: operands[0].amin(step.settings["axes"]).reshape(step.shape),
    "prod": _prod,
}
