"""Runs a user's function once on stand-ins for edges and records what it computes."""

import inspect
import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch._functorch.pyfunctorch import temporarily_clear_interpreter_stack
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx import GraphModule
from torch.fx import traceback as fx_traceback
from torch.fx.experimental.proxy_tensor import make_fx

from graphattn.kernels.program.decompositions import decompositions
from graphattn.kernels.program.watch import Watch

# Two numbers of edges: whatever differs between the two recordings depends on the number of edges.
# The first is a large prime, so that no other size of a program is a multiple of it by accident;
# divided by any number up to 30, the second leaves another remainder than the first.
NUM_EDGES = (1_000_003, 1_000_034)

_one_at_a_time = threading.RLock()  # what make_fx notes of the user's lines is global


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
        prefix: What the names of its inputs begin with, outside of the function.
    """

    function: Callable[..., Any]
    required: tuple[str, ...]
    optional: tuple[str, ...]
    prefix: str = ""

    @classmethod
    def of(cls, function: Callable[..., Any], name: str, prefix: str = "") -> "UserFunction":
        """Reads the parameters of ``function``; ``name`` is what an error calls it."""
        if not callable(function):
            raise TypeError(f"{name} must be a function or an nn.Module, got {function!r}")
        called = function.forward if isinstance(function, nn.Module) else function
        try:
            parameters = inspect.signature(called).parameters.values()
        except ValueError as error:  # some functions of PyTorch itself
            raise TypeError(
                f"{name} must name its inputs, and {called!r} names none: wrap it in a function"
                " with one parameter for each input"
            ) from error
        for parameter in parameters:
            if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
                raise TypeError(
                    f"{name} must name each of its inputs, got the parameter {parameter}: write"
                    " one parameter for each input"
                )
        required = tuple(p.name for p in parameters if p.default is p.empty)
        optional = tuple(p.name for p in parameters if p.default is not p.empty)
        return cls(function, required, optional, prefix)

    @property
    def names(self) -> tuple[str, ...]:
        """All parameters, required ones first."""
        return self.required + self.optional

    def call(self, inputs: Mapping[str, Any]) -> Any:
        """Calls the function with those of ``inputs`` that it takes."""
        return self.function(**self._own(inputs))

    def _own(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        given = ((name, f"{self.prefix}{name}") for name in self.names)
        return {name: inputs[key] for name, key in given if key in inputs}

    def state(self) -> dict[str, Tensor]:
        """Parameters and buffers, by name, if the function is a module."""
        if not isinstance(self.function, nn.Module):
            return {}
        return {**dict(self.function.named_parameters()), **dict(self.function.named_buffers())}

    def mode(self) -> tuple[Any, ...]:
        """Autocast and, for a module, training mode: another mode is another program."""
        # Recordings are made on the CPU.
        autocast = (torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu"))
        if not isinstance(self.function, nn.Module):
            return autocast
        return (*autocast, *(module.training for module in self.function.modules()))

    def call_with_state(self, inputs: Mapping[str, Any], state: dict[str, Tensor]) -> Any:
        """As ``call``, with ``state`` in place of the module's own parameters and buffers."""
        if not isinstance(self.function, nn.Module):
            return self.call(inputs)
        return torch.func.functional_call(self.function, state, kwargs=self._own(inputs))


def record(
    functions: Mapping[str, UserFunction],
    specs: Mapping[str, InputSpec],
    constants: Mapping[str, Any],
    num_edges: int,
) -> GraphModule:
    """Records functions on tensors without data, as one flat graph without in-place operations.

    Args:
        functions: By what they compute: ``"logits"``, ``"weights"``, ``"message"``,
            ``"edge_output"``. Those after the logits may take them as ``"normalizer.logits"``.
        specs: The tensors they are given, by name, in the order of the graph's placeholders. A
            module's parameter ``weight`` is the input ``"logits.weight"``.
        constants: Python values they are given besides; they become part of the program.
        num_edges: Leading size of all inputs that are not shared.

    Returns:
        A graph that returns one tensor for each function, in their order.

    Raises:
        CaptureError: If a function looks at values or uses a tensor that it was not given. What
            else the function raises by itself is passed on.
    """

    def positional(*tensors: Tensor) -> list[Any]:
        inputs = {**dict(zip(specs, tensors, strict=True)), **constants}
        results = []
        for name, function in functions.items():
            state = {key: inputs[f"{name}.{key}"] for key in function.state()}
            with Watch(function.function, num_edges):
                results.append(function.call_with_state(inputs, state))
            if name == "logits":
                inputs["normalizer.logits"] = results[-1]
        return results

    mode = FakeTensorMode(allow_non_fake_inputs=False)
    table = decompositions()
    with _one_at_a_time, _quiet(), _on_its_own(), mode, fx_traceback.preserve_node_meta():
        stand_ins = [spec.stand_in(num_edges) for spec in specs.values()]
        # Functionalised after decomposing, and both twice: some decompositions write in place.
        flat = make_fx(positional, decomposition_table=table)(*stand_ins)
        if not writes_in_place(flat):
            return flat
        functional = torch.func.functionalize(_interpreted(flat), remove="mutations")
        return make_fx(functional, decomposition_table=table)(*stand_ins)


def writes_in_place(graph: GraphModule) -> bool:
    """Whether a step of a recording changes its input, as decompositions too may do."""
    schemas = (getattr(node.target, "_schema", None) for node in graph.graph.nodes)
    return any(schema is not None and schema.is_mutable for schema in schemas)


@contextmanager
def _on_its_own() -> Iterator[None]:
    # A program holds for any mode of autograd and inside any transform, such as vmap.
    with torch.inference_mode(False), torch.enable_grad(), temporarily_clear_interpreter_stack():
        yield


@contextmanager
def _quiet() -> Iterator[None]:
    # Stand-ins log every call that fails, with its stack; the error that is raised says it all.
    log = logging.getLogger("torch._subclasses.fake_tensor")
    was_disabled, log.disabled = log.disabled, True
    try:
        yield
    finally:
        log.disabled = was_disabled


def _interpreted(graph: GraphModule) -> Callable[..., Any]:
    # The interpreter hands each node's place in the user's code on to the nodes made from it.
    def run(*tensors: Tensor) -> Any:
        return torch.fx.Interpreter(graph).run(*tensors)

    return run
