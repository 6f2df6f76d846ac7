"""An edge program: what one edge computes, as a short list of plain steps."""

import math
from dataclasses import dataclass, field
from typing import Any

import torch

from graphattn.kernels.program.capture import InputSpec


@dataclass(frozen=True)
class Step:
    """One operation of a program.

    Attributes:
        name: The value it makes, unique in the program; starts with ``%``, as no input's does.
        operation: A name out of ``operations.OPERATIONS``.
        inputs: Names of values, or Python numbers.
        settings: What else the operation needs, such as ``axes``.
        shape: Shape for one edge. The axis along which edges lie is kept, with size one, so that
            axes count as in the user's function; ``shared`` values have no such axis.
        dtype: Element type.
        per_edge: Whether the value differs from edge to edge.
        place: File and line of the user's code.
    """

    name: str
    operation: str
    inputs: tuple[Any, ...]
    settings: dict[str, Any]
    shape: tuple[int, ...]
    dtype: torch.dtype
    per_edge: bool
    place: str = field(default="", compare=False)

    def __str__(self) -> str:
        words = [f"{value}" for value in self.inputs]
        words += [f"{key}={value}" for key, value in self.settings.items()]
        return f"{self.name} = {self.operation}({', '.join(words)})"


@dataclass(frozen=True)
class Program:
    """What every edge computes: inputs, steps and outputs.

    The text of a program (``str``) says all that matters of it: two programs with the same text
    compile to the same kernel. It holds no number of nodes or edges.

    Attributes:
        inputs: Input tensors by name.
        steps: Operations in an order in which they can run.
        outputs: Name of the value that is ``"logits"``, ``"message"`` and, if there is one,
            ``"edge_output"``.
    """

    inputs: dict[str, InputSpec]
    steps: tuple[Step, ...]
    outputs: dict[str, str]

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a value for one edge, the edge axis (size one) included."""
        if name in self.inputs:
            spec = self.inputs[name]
            return spec.shape if spec.role == "shared" else (1, *spec.shape)
        return self._steps_by_name()[name].shape

    def dtype(self, name: str) -> torch.dtype:
        """Element type of a value."""
        if name in self.inputs:
            return self.inputs[name].dtype
        return self._steps_by_name()[name].dtype

    def size(self, name: str) -> int:
        """Number of elements of a value for one edge."""
        return math.prod(self.shape(name))

    @property
    def num_heads(self) -> int:
        """``H``, as the logits have it."""
        return self.shape(self.outputs["logits"])[1]

    @property
    def sum_dtype(self) -> torch.dtype:
        """The type of the output: what logits and messages promote to."""
        return torch.promote_types(
            self.dtype(self.outputs["logits"]), self.dtype(self.outputs["message"])
        )

    @property
    def channels(self) -> int:
        """``C``, as the message has it."""
        return self.shape(self.outputs["message"])[2]

    def _steps_by_name(self) -> dict[str, Step]:
        return {step.name: step for step in self.steps}

    def __str__(self) -> str:
        lines = [
            f"{spec.role} {name}: {list(spec.shape)} {_short(spec.dtype)}"
            for name, spec in self.inputs.items()
        ]
        for step in self.steps:
            scope = "" if step.per_edge else "shared "
            lines.append(f"  {scope}{step}: {list(step.shape)} {_short(step.dtype)}")
        lines += [f"{output} <- {name}" for output, name in self.outputs.items()]
        return "\n".join(lines)


def _short(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
