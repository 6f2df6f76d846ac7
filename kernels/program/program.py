"""An edge program: what one edge computes, as a short list of plain steps."""

import functools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch

from graphattn.kernels.program.capture import InputSpec

Reduction = Literal["softmax", "sum", "none", "edges"]


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
        outputs: Name of the value that is ``"logits"``, ``"weights"``, ``"message"``,
            ``"edge_output"``, as far as the program has them.
        reduction: How the edges of a target come together: messages weighted by the softmax of
            their logits, by their weights over the sum of these, or by the weights themselves
            (``"none"``); or not at all (``"edges"``).
        epsilon: What is added to a sum of weights before it divides.
    """

    inputs: dict[str, InputSpec]
    steps: tuple[Step, ...]
    outputs: dict[str, str]
    reduction: Reduction = "softmax"
    epsilon: float = 0.0

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of a value for one edge, the edge axis (size one) included."""
        if name in self.inputs:
            spec = self.inputs[name]
            return spec.shape if spec.role == "shared" else (1, *spec.shape)
        return self._steps_by_name[name].shape

    def dtype(self, name: str) -> torch.dtype:
        """Element type of a value."""
        if name in self.inputs:
            return self.inputs[name].dtype
        return self._steps_by_name[name].dtype

    def size(self, name: str) -> int:
        """Number of elements of a value for one edge."""
        return math.prod(self.shape(name))

    @property
    def num_heads(self) -> int:
        """``H``, as the weights or logits have it; 0 without either."""
        names = [self.outputs[name] for name in ("weights", "logits") if name in self.outputs]
        return self.shape(names[0])[1] if names else 0

    @property
    def output_dtype(self) -> torch.dtype:
        """The type of the output: what weights and messages promote to."""
        names = [name for name in self.outputs if name in ("weights", "message", "edge_output")]
        if "weights" not in self.outputs and "logits" in self.outputs:
            names.append("logits")
        return functools.reduce(
            torch.promote_types, [self.dtype(self.outputs[name]) for name in names]
        )

    @property
    def sum_dtype(self) -> torch.dtype:
        """The type that sums have: that of the output, and float32 at least."""
        return torch.promote_types(self.output_dtype, torch.float32)

    @property
    def channels(self) -> int:
        """``C``, as the message has it."""
        return self.shape(self.outputs["message"])[2]

    @functools.cached_property
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
        lines.append(f"reduction: {self.reduction}, epsilon {self.epsilon}")
        return "\n".join(lines)


def _short(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def needed(steps: Sequence[Step], values: Iterable[str]) -> list[Step]:
    """The steps that some values depend on, in order."""
    wanted = set(values)
    for step in reversed(steps):
        if step.name in wanted:
            wanted.update(value for value in step.inputs if isinstance(value, str))
    return [step for step in steps if step.name in wanted]
