"""Runs a user's function once on stand-ins for edges and records what it computes."""

import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensor,
    FakeTensorMode,
)
from torch.fx import GraphModule
from torch.fx import traceback as fx_traceback
from torch.fx.experimental.proxy_tensor import make_fx
from torch.overrides import TorchFunctionMode

from graphattn.kernels.program.decompositions import decompositions
from graphattn.kernels.program.errors import CaptureError

# Two numbers of edges: whatever differs between the two recordings depends on the number of edges.
# Large primes, so that no other size of a program is a multiple of them by accident.
NUM_EDGES = (1_000_003, 1_000_033)

_TORCH = str(Path(torch.__file__).parent)
_HERE = str(Path(__file__).parent)


@dataclass(frozen=True)
class InputSpec:
    """What a program knows of one input: everything but the number of nodes and edges.

    Attributes:
        role: ``"target"``, ``"source"``, ``"edge"`` or ``"shared"``.
        shape: Shape of the whole tensor for ``shared``, of one row of it for the other roles.
        dtype: Element type.
    """

    role: str
    shape: tuple[int, ...]
    dtype: torch.dtype

    def stand_in(self, num_edges: int) -> Tensor:
        """A tensor of the shape that the function sees: rows already gathered to edges."""
        leading = () if self.role == "shared" else (num_edges,)
        return torch.empty(leading + self.shape, dtype=self.dtype)


@dataclass(frozen=True)
class UserFunction:
    """A score, message or edge output: the callable and the names of its parameters.

    Attributes:
        function: A plain function, a ``functools.partial`` of one, or an ``nn.Module``.
        required: Parameters without a default.
        optional: Parameters with a default; an input of that name may be left out.
    """

    function: Callable[..., Any]
    required: tuple[str, ...]
    optional: tuple[str, ...]

    @classmethod
    def of(cls, function: Callable[..., Any], name: str) -> "UserFunction":
        """Reads the parameters of ``function``; ``name`` is what an error calls it."""
        if not callable(function):
            raise TypeError(f"{name} must be a function or an nn.Module, got {function!r}")
        called = function.forward if isinstance(function, nn.Module) else function
        parameters = inspect.signature(called).parameters.values()
        for parameter in parameters:
            if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
                raise TypeError(
                    f"{name} must name each of its inputs, got the parameter {parameter}: write"
                    " one parameter for each input"
                )
        required = tuple(p.name for p in parameters if p.default is p.empty)
        optional = tuple(p.name for p in parameters if p.default is not p.empty)
        return cls(function, required, optional)

    @property
    def names(self) -> tuple[str, ...]:
        """All parameters, required ones first."""
        return self.required + self.optional

    def call(self, inputs: Mapping[str, Any]) -> Any:
        """Calls the function with those of ``inputs`` that it takes."""
        return self.function(**{name: inputs[name] for name in self.names if name in inputs})

    def state(self) -> dict[str, Tensor]:
        """Parameters and buffers, by name, if the function is a module."""
        if not isinstance(self.function, nn.Module):
            return {}
        return {**dict(self.function.named_parameters()), **dict(self.function.named_buffers())}

    def call_with_state(self, inputs: Mapping[str, Any], state: dict[str, Tensor]) -> Any:
        """As ``call``, with ``state`` in place of the module's own parameters and buffers."""
        if not isinstance(self.function, nn.Module):
            return self.call(inputs)
        own = {name: inputs[name] for name in self.names if name in inputs}
        return torch.func.functional_call(self.function, state, kwargs=own)


def record(
    functions: Mapping[str, UserFunction],
    specs: Mapping[str, InputSpec],
    constants: Mapping[str, Any],
    num_edges: int,
) -> GraphModule:
    """Records functions on tensors without data, as one flat graph without in-place operations.

    Args:
        functions: By what they compute: ``"logits"``, ``"message"``, ``"edge_output"``.
        specs: The tensors they are given, by name, in the order of the graph's placeholders. A
            module's parameter ``weight`` is the input ``"logits.weight"``.
        constants: Python values they are given besides; they become part of the program.
        num_edges: Leading size of all inputs that are not shared.

    Returns:
        A graph that returns one tensor for each function, in their order.

    Raises:
        CaptureError: If a function looks at values or uses a tensor that it was not given.
    """

    def positional(*tensors: Tensor) -> list[Any]:
        inputs = {**dict(zip(specs, tensors, strict=True)), **constants}
        results = []
        for name, function in functions.items():
            state = {key: inputs[f"{name}.{key}"] for key in function.state()}
            with _Watch(function.function):
                results.append(function.call_with_state(inputs, state))
        return results

    mode = FakeTensorMode(allow_non_fake_inputs=False)
    table = decompositions()
    with mode, fx_traceback.preserve_node_meta():
        stand_ins = [spec.stand_in(num_edges) for spec in specs.values()]
        # Functionalised after decomposing, and both twice: some decompositions write in place.
        flat = make_fx(positional, decomposition_table=table)(*stand_ins)
        functional = torch.func.functionalize(_interpreted(flat), remove="mutations")
        return make_fx(functional, decomposition_table=table)(*stand_ins)


def _interpreted(graph: GraphModule) -> Callable[..., Any]:
    # The interpreter hands each node's place in the user's code on to the nodes made from it.
    def run(*tensors: Tensor) -> Any:
        return torch.fx.Interpreter(graph).run(*tensors)

    return run


class _Watch(TorchFunctionMode):
    """Notes the user's line for every torch call, and refuses tensors that were not passed in."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def __torch_function__(
        self, call: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        place = _users_place(sys._getframe(1))
        with fx_traceback.annotate({"place": place}):
            for tensor in _tensors((args, kwargs or {})):
                if not _is_stand_in(tensor):
                    raise CaptureError(_closed_over(self.function, tensor, place))
            try:
                return call(*args, **(kwargs or {}))
            except (DataDependentOutputException, DynamicOutputShapeException) as error:
                raise CaptureError(
                    f"{place}: {_name_of(call)} looks at the values of a tensor. An edge program is"
                    " compiled for all edges at once: use torch.where or a mask instead of if,"
                    " while, .item() or boolean indexing"
                ) from error


def _is_stand_in(tensor: Tensor) -> bool:
    # Functionalisation wraps stand-ins once more; a real tensor is neither.
    return isinstance(tensor, FakeTensor) or torch._is_functional_tensor(tensor)


def _tensors(nested: Any) -> Iterator[Tensor]:
    leaves = torch.utils._pytree.tree_leaves(nested)
    return (leaf for leaf in leaves if isinstance(leaf, Tensor))


def _users_place(frame: FrameType | None) -> str:
    """File and line of the innermost frame that is neither torch's nor this package's."""
    while frame is not None:
        name = frame.f_code.co_filename
        if not name.startswith((_TORCH, _HERE, "<")):
            return f"{name}:{frame.f_lineno}"
        frame = frame.f_back
    return "unknown place"


def _name_of(call: Any) -> str:
    return f"{getattr(call, '__name__', call)}"


def _closed_over(function: Callable[..., Any], tensor: Tensor, place: str) -> str:
    name = _name_in_closure(function, tensor)
    what = f"the tensor {name!r}" if name else "a tensor"
    return (
        f"{place}: {what} of shape {tuple(tensor.shape)} is used but not passed in. As a constant"
        f" of the program it would get no gradient: make it an argument of the function and name"
        f" it in shared="
    )


def _name_in_closure(function: Callable[..., Any], tensor: Tensor) -> str | None:
    """The name under which the function reaches the tensor: a variable, or an attribute of one."""
    if isinstance(function, nn.Module):
        function = type(function).forward
    try:
        closure = inspect.getclosurevars(inspect.unwrap(function))
    except TypeError:  # callable objects and partials have no closure of their own
        return None
    for name, value in {**closure.globals, **closure.nonlocals}.items():
        if value is tensor:
            return name
        for attribute, member in getattr(value, "__dict__", {}).items():
            if member is tensor:
                return f"{name}.{attribute}"
    return None
