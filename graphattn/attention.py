"""Attention over edges from a score and a message, two plain functions of the user."""

from collections.abc import Callable, Iterable
from typing import Any, Literal

import torch
from torch import Tensor, nn

from graphattn.compiled import attend_compiled, check_compiled
from graphattn.dropout import drop
from graphattn.edges import Edges
from graphattn.kernels.edge_attention import reference
from graphattn.kernels.edge_attention.op import Plan
from graphattn.kernels.program import RETURNS, InputSpec, Program, UserFunction, capture
from graphattn.normalizers import Normalizer, Softmax
from graphattn.roles import (
    assign_roles,
    check_input,
    check_names,
    check_type,
    check_weights,
)

Backend = Literal["auto", "reference", "cpp"]
_BACKENDS = ("auto", "reference", "cpp")


class EdgeAttention(nn.Module):
    r"""The weighted sum of messages over the edges into every target.

    .. math::
        \mathrm{out}_i = \sum_{j \to i} \operatorname{norm}_j\bigl(\mathrm{score}(t_i, s_j, e_{ji},
        w)\bigr) \cdot \mathrm{message}(t_i, s_j, e_{ji}, w)

    ``score`` and ``message`` are ordinary PyTorch functions over a batch of edges. Each takes some
    of the inputs by name; whose row an edge sees is said by the input's role:

    >>> def score(query, key, distance, width):  # (E, H, C), (E, H, C), (E, 1), (H,)
    ...     return (query * key).sum(-1) - distance / width  # (E, H)
    >>> def message(value):  # (E, H, C)
    ...     return value
    >>> attention = EdgeAttention(score, message, target=["query"], source=["key", "value"],
    ...                           edge=["distance"], shared=["width"])

    The functions are recorded once for each combination of shapes and element types, and checked:
    each edge is computed by itself, from what was passed in, whatever its values. A parameter with
    a default may be left out of a call. Python numbers passed to a shared input, or reached by the
    function in another way, become part of the program.

    Args:
        score: Gives the logits, ``(E, H)``. A function or an ``nn.Module``, whose parameters then
            belong to this module.
        message: Gives what each edge brings to its target, ``(E, H, C)``. Likewise.
        target: Names of inputs with one row for each target.
        source: Names of inputs with one row for each source.
        edge: Names of inputs with one row for each edge, in the order of the edges.
        shared: Names of inputs that all edges see whole.
        normalizer: Turns logits into weights; ``Softmax()`` if not given.
        edge_output: A third function, whose result for each edge, ``(E, ...)``, is returned.
        backend: ``"reference"`` is plain PyTorch, and what ``"auto"`` takes at present; ``"cpp"``
            is compiled for the CPU, for softmax in float32 and float64.
        check: Whether the functions are recorded and checked. ``False`` needs the reference
            backend, which then runs anything.

    Shapes:
        - inputs: ``(N_target, ...)``, ``(N_source, ...)``, ``(E, ...)`` or, for shared ones, any
        - output: ``(N_target, H, C)``; a target without edges gets zeros

    Raises:
        ValueError: If a function has a parameter that is no input, an input is used by no function,
            or a name has two roles.
    """

    def __init__(
        self,
        score: Callable[..., Tensor],
        message: Callable[..., Tensor],
        *,
        target: Iterable[str] = (),
        source: Iterable[str] = (),
        edge: Iterable[str] = (),
        shared: Iterable[str] = (),
        normalizer: Normalizer | None = None,
        edge_output: Callable[..., Tensor] | None = None,
        backend: Backend = "auto",
        check: bool = True,
    ) -> None:
        super().__init__()
        if backend not in _BACKENDS:
            raise ValueError(f"backend must be one of {_BACKENDS}, got {backend!r}")
        if not check and backend != "reference":
            raise ValueError(f'check=False needs backend="reference", got backend={backend!r}')
        self.score, self.message, self.edge_output = score, message, edge_output
        self.normalizer = Softmax() if normalizer is None else normalizer
        self.backend, self.check = backend, check
        self.functions = {
            "logits": UserFunction.of(score, "score"),
            "message": UserFunction.of(message, "message"),
        }
        if edge_output is not None:
            self.functions["edge_output"] = UserFunction.of(edge_output, "edge_output")
        self.roles = assign_roles(
            {"target": target, "source": source, "edge": edge, "shared": shared}, self.functions
        )
        self._plans: dict[Any, Plan] = {}

    def forward(
        self,
        edges: Edges,
        *,
        weights: Tensor | None = None,
        dropout: float = 0.0,
        return_weights: bool = False,
        return_dropped: bool = False,
        return_logits: bool = False,
        **inputs: Any,
    ) -> Any:
        """Attends.

        Args:
            edges: The structure.
            weights: Weights to use in place of the score's, ``(E, H)``; inputs of the score alone
                may then be left out.
            dropout: Probability with which a weight is set to zero; the others grow by
                ``1 / (1 - dropout)``. The mask is the one that ``F.dropout`` would draw for
                weights in the order of the edges.
            return_weights: Also returns the weights before dropout, ``(E, H)``.
            return_dropped: Also returns the weights after dropout, ``(E, H)``.
            return_logits: Also returns the logits, ``(E, H)``.
            **inputs: The inputs by name. Shared ones may be Python numbers.

        Returns:
            The output, ``(N_target, H, C)``. With an ``edge_output`` or a ``return_`` flag, a tuple
            of the output and, in this order, the edge output, the weights, the dropped weights and
            the logits, as far as they are there.

        Raises:
            TypeError: If an input is missing, unknown, or no floating-point tensor.
            ValueError: If a shape does not fit the structure, or devices differ.
            CaptureError: If a function is no edge program.
        """
        if not isinstance(edges, Edges):
            raise TypeError(f"edges must be a graphattn.Edges, got {type(edges).__name__}")
        functions = dict(self.functions)
        if weights is not None:
            functions.pop("logits")
            check_weights(weights, edges.num_edges, edges.device)
            if return_logits:
                raise ValueError("return_logits needs the score to run, but weights= were passed")
        self._check_inputs(edges, functions, inputs)
        flags = {
            "output": True,
            "edge_output": self.edge_output is not None,
            "weights": return_weights,
            "dropped": return_dropped,
            "logits": return_logits,
        }
        wanted = [name for name, is_wanted in flags.items() if is_wanted]
        if self.backend == "cpp":
            check_compiled(edges.device, weights, self.normalizer)
            parts = self._compiled(edges, inputs, dropout, wanted)
        else:
            if self.check and not torch.compiler.is_compiling():
                self._plan(functions, inputs)
            parts = self._by_definition(edges, inputs, weights, lambda all: drop(all, dropout))
        results = tuple(parts[name] for name in wanted)
        return results[0] if len(results) == 1 else results

    def _compiled(
        self, edges: Edges, inputs: dict[str, Any], dropout: float, wanted: list[str]
    ) -> dict[str, Tensor]:
        states = {name: function.state() for name, function in self.functions.items()}
        tensors = _tensors(inputs) | {
            f"{function}.{name}": tensor
            for function, state in states.items()
            for name, tensor in state.items()
        }

        def definition(given: dict[str, Tensor], keep: Callable[[Tensor], Tensor]) -> Any:
            own = {**inputs, **{name: given[name] for name in given if name in inputs}}
            state = {
                function: {name: given[f"{function}.{name}"] for name in named}
                for function, named in states.items()
            }
            return self._by_definition(edges, own, None, keep, state)

        plan = self._plan(self.functions, inputs)
        return attend_compiled(plan, edges, tensors, dropout, set(wanted), definition)

    def _by_definition(
        self,
        edges: Edges,
        inputs: dict[str, Any],
        weights: Tensor | None,
        keep: Callable[[Tensor], Tensor],
        states: dict[str, dict[str, Tensor]] | None = None,
    ) -> dict[str, Tensor]:
        """The attention in plain PyTorch; ``keep`` drops weights, ``states`` stand for modules'."""
        at_edges = reference.gather(_tensors(inputs), self.roles, edges.source, edges.target)
        at_edges = {**inputs, **at_edges}
        parts: dict[str, Tensor] = {}
        if weights is None:
            parts["logits"] = self._result("logits", edges, at_edges, states)
            weights = self.normalizer(parts["logits"], edges)
            if weights.shape != parts["logits"].shape:
                raise ValueError(
                    "normalizer must return a weight for each logit,"
                    f" {tuple(parts['logits'].shape)}, got {tuple(weights.shape)}"
                )
        dropped = keep(weights)
        message = self._result("message", edges, at_edges, states)
        if message.shape[1] != weights.shape[1]:
            raise ValueError(
                f"message must have as many heads as the weights, {weights.shape[1]}, got shape"
                f" {tuple(message.shape)}"
            )
        output = reference.weighted_sum(dropped, message, edges.target, edges.num_targets)
        parts |= {"output": output, "weights": weights, "dropped": dropped}
        if self.edge_output is not None:
            parts["edge_output"] = self._result("edge_output", edges, at_edges, states)
        return parts

    def program(self, **inputs: Any) -> Program:
        """The edge program for inputs of these shapes and element types.

        ``print(attention.program(...))`` shows what is computed for each edge.

        Args:
            **inputs: As in ``forward``.

        Raises:
            TypeError: If an input is missing, unknown, or no floating-point tensor.
            CaptureError: If a function is no edge program.
        """
        check_names(inputs, self.roles, self.functions)
        for name, value in inputs.items():
            check_type(name, value, self.roles[name])
        return self._plan(self.functions, inputs).program

    def _plan(self, functions: dict[str, UserFunction], inputs: dict[str, Any]) -> Plan:
        specs = {
            name: InputSpec(role, tuple(inputs[name].shape[role != "shared" :]), inputs[name].dtype)
            for name, role in self.roles.items()
            if isinstance(inputs.get(name), Tensor)
        }
        for function, user in functions.items():
            for name, tensor in user.state().items():
                specs[f"{function}.{name}"] = InputSpec("shared", tuple(tensor.shape), tensor.dtype)
        constants = {name: value for name, value in inputs.items() if name not in specs}
        modes = [user.mode() for user in functions.values()]
        key = (tuple(functions), tuple(specs.items()), repr(sorted(constants.items())), *modes)
        if key not in self._plans:
            self._plans[key] = Plan(capture(functions, specs, constants))
        return self._plans[key]

    def _result(
        self,
        function: str,
        edges: Edges,
        at_edges: dict[str, Any],
        states: dict[str, dict[str, Tensor]] | None,
    ) -> Tensor:
        user = self.functions[function]
        if states is None:
            result = user.call(at_edges)
        else:
            result = user.call_with_state(at_edges, states[function])
        name, shape, ndim = RETURNS[function]
        fits = isinstance(result, Tensor) and result.shape[:1] == (edges.num_edges,)
        if not fits or (ndim is not None and result.ndim != ndim):
            got = tuple(result.shape) if isinstance(result, Tensor) else type(result).__name__
            raise ValueError(f"{name} must return {shape} with E = {edges.num_edges}, got {got}")
        return result

    def _check_inputs(
        self, edges: Edges, functions: dict[str, UserFunction], inputs: dict[str, Any]
    ) -> None:
        check_names(inputs, self.roles, functions)
        rows = {
            "target": edges.num_targets,
            "source": edges.num_sources,
            "edge": edges.num_edges,
        }
        for name, value in inputs.items():
            check_input(name, value, self.roles[name], rows, edges.device)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_plans": {}}  # recorded anew where they are needed

    def extra_repr(self) -> str:
        names = {
            role: [name for name, own in self.roles.items() if own == role]
            for role in ("target", "source", "edge", "shared")
        }
        return ", ".join(f"{role}={own}" for role, own in names.items() if own)


def _tensors(inputs: dict[str, Any]) -> dict[str, Tensor]:
    return {name: value for name, value in inputs.items() if isinstance(value, Tensor)}
