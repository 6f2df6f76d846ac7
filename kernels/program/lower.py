"""From two recordings of a function to a checked edge program."""

import operator
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor
from torch.fx import GraphModule, Node

from graphattn.kernels.program.call import Call, DependsOnEdges, Value
from graphattn.kernels.program.capture import NUM_EDGES, InputSpec, UserFunction, record
from graphattn.kernels.program.errors import CaptureError
from graphattn.kernels.program.operations import lower
from graphattn.kernels.program.program import Program, Reduction, Step, needed

# What each function is called in errors, and the shape it must return.
RETURNS = {
    "logits": ("score", "(E, H)", 2),
    "weights": ("normalizer", "(E, H)", 2),
    "message": ("message", "(E, H, C)", 3),
    "edge_output": ("edge_output", "(E, ...)", None),
}


def capture(
    functions: Mapping[str, UserFunction],
    specs: Mapping[str, InputSpec],
    constants: Mapping[str, Any],
    reduction: Reduction = "softmax",
    epsilon: float = 0.0,
) -> Program:
    """The edge program of a score, a message and, if there is one, an edge output.

    Args:
        functions: By what they compute: ``"logits"``, ``"weights"``, ``"message"``,
            ``"edge_output"``.
        specs: The input tensors by name; see ``capture.record``.
        constants: Python values given to the functions; they become part of the program.
        reduction: How the edges of a target come together; see ``Program``.
        epsilon: What is added to a sum of weights.

    Raises:
        CaptureError: If a function mixes edges, looks at values, draws random numbers, uses a
            tensor that it was not given, or returns anything but ``(E, H)`` logits, ``(E, H, C)``
            messages and an ``(E, ...)`` edge output.
    """
    first, second = (record(functions, specs, constants, edges) for edges in NUM_EDGES)
    program = Lowering(first, specs).run(second, tuple(functions))
    return replace(program, reduction=reduction, epsilon=epsilon)


class Lowering:
    """Walks both recordings side by side: what differs between them is the number of edges."""

    def __init__(self, recording: GraphModule, specs: Mapping[str, InputSpec]) -> None:
        self.recording = recording
        self.specs = dict(specs)
        self.values: dict[Node, Value | list[Value]] = {}
        self.steps: dict[str, Step] = {}

    def run(self, twin_recording: GraphModule, outputs: tuple[str, ...]) -> Program:
        nodes, twins = list(self.recording.graph.nodes), list(twin_recording.graph.nodes)
        if [str(node.target) for node in nodes] != [str(twin.target) for twin in twins]:
            changed = next((a for a, b in zip(nodes, twins, strict=False) if a.target != b.target))
            known = changed if "custom" in changed.meta else changed.prev
            raise _differs(_place(known))
        names = iter(self.specs)
        returned: dict[str, str] = {}
        for node, twin in zip(nodes, twins, strict=True):
            if node.op == "placeholder":
                self.values[node] = self._input(next(names))
            elif node.op == "get_attr":
                self.values[node] = self._constant(node, twin_recording)
            elif node.op == "output":
                returned = self._returned(outputs, node.args[0])
            elif node.target is operator.getitem:
                self.values[node] = self.values[node.args[0]][node.args[1]]  # type: ignore[index]
            else:
                self.values[node] = self._operation(node, twin)
        return Program(self.specs, steps_for(self.steps.values(), returned), returned)

    def _input(self, name: str) -> Value:
        spec = self.specs[name]
        if spec.role == "shared":
            return Value(name, spec.shape, spec.dtype, None)
        return Value(name, (1, *spec.shape), spec.dtype, 0)

    def _constant(self, node: Node, twin_recording: GraphModule) -> Value:
        tensor = getattr(self.recording, str(node.target))
        twin = getattr(twin_recording, str(node.target))
        if isinstance(tensor, FakeTensor):
            raise CaptureError(f"{_place(node)}: the values of a tensor made here are not known")
        if tensor.shape != twin.shape or not tensor.allclose(twin, 0, 0, equal_nan=True):
            raise CaptureError(f"{_place(node)}: a constant here depends on the number of edges")
        value = Value("", tuple(tensor.shape), tensor.dtype, None)
        return Call(
            node.target, [tensor.tolist()], {}, [value], _place(node), self.steps
        ).constant()

    def _operation(self, node: Node, twin: Node) -> Value | list[Value]:
        place = _place(node)
        if not (_same_form(node.args, twin.args) and _same_form(node.kwargs, twin.kwargs)):
            raise _differs(f"{place}: {_name(node)}")
        results = [
            _for_one_edge(one, other, f"{place}: {_name(node)}")
            for one, other in zip(_tensors(node), _tensors(twin), strict=True)
        ]
        arguments = [self._argument(a, b) for a, b in zip(node.args, twin.args, strict=True)]
        settings = {
            key: self._argument(value, twin.kwargs[key]) for key, value in node.kwargs.items()
        }
        return lower(Call(node.target, arguments, settings, results, place, self.steps))

    def _argument(self, argument: Any, twin: Any) -> Any:
        if isinstance(argument, Node):
            return self.values[argument]
        if isinstance(argument, list | tuple):
            return [self._argument(a, b) for a, b in zip(argument, twin, strict=True)]
        return argument if argument == twin else DependsOnEdges()

    def _returned(self, names: tuple[str, ...], nodes: Any) -> dict[str, str]:
        result: dict[str, str] = {}
        heads: int | None = None
        for name, node in zip(names, nodes, strict=True):
            function, expected, ndim = RETURNS[name]
            value = self.values.get(node) if isinstance(node, Node) else None
            if not isinstance(value, Value):
                got = (
                    "None"
                    if node is None
                    else f"a {type(node).__name__.removeprefix('immutable_')}"
                )
                raise CaptureError(f"{function} must return one tensor {expected}, got {got}")
            is_row = value.edge_axis == 0 and value.shape[0] == 1
            if not is_row or (ndim is not None and len(value.shape) != ndim):
                raise CaptureError(
                    f"{_place(node)}: {function} must return {expected}, got {value.describe()}"
                )
            if not value.dtype.is_floating_point:
                raise CaptureError(
                    f"{_place(node)}: {function} must return floating point, got {value.dtype}"
                )
            if name == "message" and heads not in (None, value.shape[1]):
                raise CaptureError(
                    f"{_place(node)}: message must have as many heads as the score, {heads}, got"
                    f" {value.describe()}"
                )
            heads = value.shape[1] if name in ("logits", "weights") else heads
            result[name] = value.name
        return result


def _tensors(node: Node) -> list[Tensor]:
    made = node.meta["val"]
    made = list(made) if isinstance(made, list | tuple) else [made]
    return [tensor for tensor in made if isinstance(tensor, Tensor)]


def _name(node: Node) -> str:
    return str(node.target).split(".")[1] if "." in str(node.target) else str(node.target)


def _same_form(one: Any, other: Any) -> bool:
    """Whether arguments differ in numbers at most."""
    if isinstance(one, dict):
        return isinstance(other, dict) and _same_form(list(one.items()), list(other.items()))
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(_same_form, one, other))
    return type(one) is type(other)


def _differs(where: str) -> CaptureError:
    return CaptureError(
        f"{where}: the function does something else when the number of edges changes; an edge"
        " program treats each edge alike, however many there are"
    )


def _place(node: Node) -> str:
    # What PyTorch adds after the function has returned stands where its input was made.
    for known in (node, *reversed(node.all_input_nodes)):
        if "place" in known.meta.get("custom", {}):
            return str(known.meta["custom"]["place"])
    return "unknown place"


def _for_one_edge(one: Tensor, other: Tensor, where: str) -> Value:
    """Divides the number of edges out of a shape; an axis may hold a multiple of it."""
    shape, edge_axes = [], []
    for axis, (size, twin) in enumerate(zip(one.shape, other.shape, strict=True)):
        if size == twin:
            shape.append(size)
            continue
        factor, rest = divmod(size, NUM_EDGES[0])
        if rest or factor * NUM_EDGES[1] != twin:
            raise CaptureError(
                f"{where} makes a tensor whose size is no multiple of the number of edges; an edge"
                " program computes each edge by itself"
            )
        shape.append(factor)
        edge_axes.append(axis)
    if len(edge_axes) > 1:
        raise CaptureError(
            f"{where} makes a tensor of edges by edges; an edge program computes each edge by"
            " itself, and edges meet only in the normalizer and the sum"
        )
    return Value("", tuple(shape), one.dtype, edge_axes[0] if edge_axes else None)


def steps_for(steps: Iterable[Step], outputs: dict[str, str]) -> tuple[Step, ...]:
    """The steps that the outputs depend on, renumbered, so that equal programs have equal text.

    Args:
        steps: In an order in which they can run.
        outputs: Names of values; the new ones are put in their place.
    """
    kept = needed(tuple(steps), outputs.values())
    names = {step.name: f"%{step.operation}_{number}" for number, step in enumerate(kept)}
    outputs.update({output: names.get(name, name) for output, name in outputs.items()})
    return tuple(
        replace(
            step,
            name=names[step.name],
            inputs=tuple(names.get(v, v) if isinstance(v, str) else v for v in step.inputs),
        )
        for step in kept
    )
