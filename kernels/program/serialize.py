"""Edge programs as text that says all of them, and back: what a graph keeps of a program."""

import json
from typing import Any

import torch

from graphattn.kernels.program.capture import InputSpec
from graphattn.kernels.program.program import Program, Step


def to_text(program: Program) -> str:
    """A program as JSON, from which another process can rebuild it.

    Equal programs have equal text. The places in the user's code are left out: they say nothing of
    what is computed, and what is saved with a model should hold nobody's paths.

    Args:
        program: Any program.
    """
    inputs = [
        [name, spec.role, list(spec.shape), _name(spec.dtype)]
        for name, spec in program.inputs.items()
    ]
    steps = [
        [
            *(step.name, step.operation, list(step.inputs), step.settings),
            *(list(step.shape), _name(step.dtype), step.per_edge),
        ]
        for step in program.steps
    ]
    whole = {
        "inputs": inputs,
        "steps": steps,
        "outputs": program.outputs,
        "reduction": program.reduction,
        "epsilon": program.epsilon,
    }
    return json.dumps(whole, separators=(",", ":"))


def from_text(text: str) -> Program:
    """The program that ``to_text`` made a text of.

    Raises:
        ValueError: If the text is no such program.
    """
    try:
        whole = json.loads(text)
        inputs = {
            name: InputSpec(role, tuple(shape), _dtype(dtype))
            for name, role, shape, dtype in whole["inputs"]
        }
        steps = tuple(
            Step(
                name,
                operation,
                tuple(values),
                {key: _tuples(value) for key, value in settings.items()},
                tuple(shape),
                _dtype(dtype),
                per_edge,
            )
            for name, operation, values, settings, shape, dtype, per_edge in whole["steps"]
        )
        return Program(inputs, steps, whole["outputs"], whole["reduction"], whole["epsilon"])
    except (TypeError, KeyError, AttributeError, ValueError) as error:
        raise ValueError(
            f"text must be an edge program as to_text writes it, got {text[:60]!r}"
        ) from error


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _dtype(name: str) -> torch.dtype:
    dtype = getattr(torch, name)
    if not isinstance(dtype, torch.dtype):
        raise TypeError(f"{name} is no element type")
    return dtype


def _tuples(value: Any) -> Any:
    """Lists as tuples, which JSON does not tell apart and programs alone have."""
    return tuple(map(_tuples, value)) if isinstance(value, list) else value
