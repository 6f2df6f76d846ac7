"""One call of PyTorch in a recording, on its way to become steps of a program."""

from dataclasses import dataclass, replace
from typing import Any

import torch

from graphattn.kernels.program.errors import CaptureError
from graphattn.kernels.program.program import Step

_MAX_CONSTANT = 4096  # elements; more is data, and data is passed in


class DependsOnEdges:
    """Stands for a Python number that changes with the number of edges."""


@dataclass(frozen=True)
class Value:
    """A tensor of the program, with its shape for one edge.

    Attributes:
        name: The step or input that it is.
        shape: Sizes for one edge; along the edge axis the multiple of the number of edges.
        dtype: Element type.
        edge_axis: The axis along which edges lie, slowest within it; ``None`` for shared values.
    """

    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype
    edge_axis: int | None

    def describe(self) -> str:
        """The shape as a user would write it."""
        sizes = [str(size) for size in self.shape]
        if self.edge_axis is not None:
            size = self.shape[self.edge_axis]
            sizes[self.edge_axis] = "E" if size == 1 else f"{size} * E"
        return f"({', '.join(sizes)}{',' if len(sizes) == 1 else ''})"


@dataclass(frozen=True)
class Call:
    """One call of a PyTorch operator in a recording, about to become steps."""

    target: Any
    arguments: list[Any]
    settings: dict[str, Any]
    results: list[Value]
    place: str
    steps: dict[str, Step]

    @property
    def operator(self) -> str:
        """The operator's plain name, such as ``add``."""
        return str(self.target).split(".")[1] if "." in str(self.target) else str(self.target)

    @property
    def result(self) -> Value:
        return self.results[0]

    def emit(self, operation: str, inputs: list[Any], result: Value, **settings: Any) -> Value:
        """Appends a step unless the same one is there already."""
        names = tuple(value.name if isinstance(value, Value) else value for value in inputs)
        key = f"{operation}{names}{settings}{result.shape}{result.dtype}{result.edge_axis}"
        if key not in self.steps:
            self.steps[key] = Step(
                f"%{len(self.steps)}",
                operation,
                names,
                settings,
                result.shape,
                result.dtype,
                result.edge_axis is not None,
                self.place,
            )
        return replace(result, name=self.steps[key].name)

    def constant(self) -> Value:
        """A tensor whose values are known now."""
        values = torch.tensor(self.arguments[0], dtype=self.result.dtype).flatten().tolist()
        if len(values) > _MAX_CONSTANT:
            raise self.error(
                f"makes a constant of {len(values)} elements: pass it in and name it in shared="
            )
        return self.emit("constant", [], self.result, values=tuple(values))

    def argument(self, position: int, name: str, default: Any = None) -> Any:
        if position < len(self.arguments):
            return self.arguments[position]
        return self.settings.get(name, default)

    def error(self, what: str) -> CaptureError:
        return CaptureError(f"{self.place}: {self.operator} {what}")

    def mixes(self) -> CaptureError:
        return self.error(
            "mixes edges. A score or message computes each edge by itself: the first axis of every"
            " input is the edges, and edges meet only in the normalizer and the sum"
        )
