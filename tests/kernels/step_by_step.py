"""Runs an edge program on one edge with PyTorch, and checks the shape and type of each step."""

import operator
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from graphattn.kernels.program import Program, Step

_OPERATORS = {
    "add": operator.add,
    "sub": operator.sub,
    "mul": operator.mul,
    "div": operator.truediv,
    "pow": operator.pow,
    "detach": lambda x: x,
}


def interpret(program: Program, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Runs a program on one edge, step by step, and checks the shape and type of each."""
    values = dict(inputs)
    for name, x in inputs.items():
        assert tuple(x.shape) == program.shape(name)
    for step in program.steps:
        operands = [values[x] if isinstance(x, str) else x for x in step.inputs]
        result = _run(step, operands)
        assert tuple(result.shape) == step.shape, f"{step}: {tuple(result.shape)}"
        assert result.dtype == step.dtype, f"{step}: {result.dtype}, not {step.dtype}"
        values[step.name] = result
    return {output: values[name] for output, name in program.outputs.items()}


def _run(step: Step, operands: list[Any]) -> Tensor:
    settings = step.settings
    match step.operation:
        case "constant":
            return torch.tensor(settings["values"], dtype=step.dtype).reshape(step.shape)
        case "fill":
            return torch.full(step.shape, settings["value"], dtype=step.dtype)
        case "cast":
            return operands[0].to(step.dtype)
        case "view":
            return operands[0].reshape(step.shape)
        case "expand":
            return operands[0].expand(step.shape)
        case "permute":
            return operands[0].permute(settings["axes"])
        case "slice":
            places = torch.arange(step.shape[settings["axis"]]) * settings["step"]
            return operands[0].index_select(settings["axis"], places + settings["start"])
        case "take":
            return operands[0].index_select(settings["axis"], torch.tensor(settings["positions"]))
        case "cat":
            return torch.cat(operands, settings["axis"])
        case "sum":
            return operands[0].sum(settings["axes"], dtype=step.dtype).reshape(step.shape)
        case "prod":
            x = operands[0]
            for axis in sorted(settings["axes"], reverse=True):
                x = x.prod(axis, dtype=step.dtype)
            return x.reshape(step.shape)
        case "amax" | "amin":
            return getattr(operands[0], step.operation)(settings["axes"]).reshape(step.shape)
    function = _OPERATORS.get(step.operation) or getattr(torch, step.operation)
    return function(*operands)
