"""Attention over edges from a score and a message, two plain functions of the user."""

from collections.abc import Callable, Iterable
from typing import Any, Literal

import torch
from torch import Tensor, nn

from graphattn.edges import Edges
from graphattn.kernels.edge_attention import reference
from graphattn.kernels.program import InputSpec, Program, UserFunction, capture
from graphattn.normalizers import Normalizer, Softmax
from graphattn.roles import RETURNS, assign_roles, check_input

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
        backend: ``"auto"`` takes the fastest there is; ``"reference"`` is plain PyTorch; ``"cpp"``
            is compiled for the CPU and has no backward pass yet.
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
        self._programs: dict[Any, Program] = {}

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
            weights: Weights to use in place of the score's, ``(E, H)``.
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
            raise TypeError(
                "edges must be a graphattn.Edges (Edges.from_edge_index makes one), got"
                f" {type(edges).__name__}"
            )
        self._check_inputs(edges, inputs)
        if weights is not None:
            _check_weights(weights, edges)
            if return_logits:
                raise ValueError("return_logits needs the score to run, but weights= were passed")
        if self.backend == "cpp":
            parts = self._compiled(edges, inputs, weights, dropout)
        else:
            if self.check and not torch.compiler.is_compiling():
                self.program(**inputs)
            parts = self._by_definition(edges, inputs, weights, dropout)
        wanted = {
            "output": True,
            "edge_output": self.edge_output is not None,
            "weights": return_weights,
            "dropped": return_dropped,
            "logits": return_logits,
        }
        results = tuple(parts[name] for name, is_wanted in wanted.items() if is_wanted)
        return results[0] if len(results) == 1 else results

    def _by_definition(
        self, edges: Edges, inputs: dict[str, Any], weights: Tensor | None, dropout: float
    ) -> dict[str, Tensor]:
        at_edges = reference.gather(_tensors(inputs), self.roles, edges.source, edges.target)
        at_edges = {**inputs, **at_edges}
        parts: dict[str, Tensor] = {}
        if weights is None:
            parts["logits"] = self._result("logits", edges, at_edges)
            weights = self.normalizer(parts["logits"], edges)
        dropped = _drop(weights, dropout)
        message = self._result("message", edges, at_edges)
        if message.shape[1] != weights.shape[1]:
            raise ValueError(
                f"message must have as many heads as the weights, {weights.shape[1]}, got shape"
                f" {tuple(message.shape)}"
            )
        output = reference.weighted_sum(dropped, message, edges.target, edges.num_targets)
        parts |= {"output": output, "weights": weights, "dropped": dropped}
        if self.edge_output is not None:
            parts["edge_output"] = self._result("edge_output", edges, at_edges)
        return parts

    def _compiled(
        self, edges: Edges, inputs: dict[str, Any], weights: Tensor | None, dropout: float
    ) -> dict[str, Tensor]:
        from graphattn.kernels.cpp.forward import forward

        _check_compiled_call(edges, weights, dropout, self.normalizer)
        tensors = _tensors(inputs)
        for function, user in self.functions.items():
            tensors |= {f"{function}.{name}": tensor for name, tensor in user.state().items()}
        if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors.values()):
            raise RuntimeError(
                'backend "cpp" has no backward pass yet: call it under torch.no_grad(), or use'
                ' backend="reference"'
            )
        rows = edges.by_target
        result = forward(self.program(**inputs), rows.ptr, rows.neighbor, rows.order, tensors)
        alpha = self.normalizer(result.logits, edges)
        parts = {"output": result.output, "logits": result.logits, "weights": alpha}
        if result.edge_output is not None:
            parts["edge_output"] = result.edge_output
        return {**parts, "dropped": alpha}

    def program(self, **inputs: Any) -> Program:
        """The edge program for inputs of these shapes and element types.

        ``print(attention.program(...))`` shows what is computed for each edge.

        Args:
            **inputs: As in ``forward``.

        Raises:
            CaptureError: If a function is no edge program.
        """
        specs = {
            name: InputSpec(role, tuple(inputs[name].shape[role != "shared" :]), inputs[name].dtype)
            for name, role in self.roles.items()
            if isinstance(inputs.get(name), Tensor)
        }
        for function, user in self.functions.items():
            for name, tensor in user.state().items():
                specs[f"{function}.{name}"] = InputSpec("shared", tuple(tensor.shape), tensor.dtype)
        constants = {
            name: inputs[name] for name in self.roles if name in inputs and name not in specs
        }
        key = (tuple(specs.items()), repr(constants))
        if key not in self._programs:
            self._programs[key] = capture(self.functions, specs, constants)
        return self._programs[key]

    def _result(self, function: str, edges: Edges, at_edges: dict[str, Any]) -> Tensor:
        result = self.functions[function].call(at_edges)
        name, shape, ndim = RETURNS[function]
        fits = isinstance(result, Tensor) and result.shape[:1] == (edges.num_edges,)
        if not fits or (ndim is not None and result.ndim != ndim):
            got = tuple(result.shape) if isinstance(result, Tensor) else type(result).__name__
            raise ValueError(f"{name} must return {shape} with E = {edges.num_edges}, got {got}")
        return result

    def _check_inputs(self, edges: Edges, inputs: dict[str, Any]) -> None:
        unknown = [name for name in inputs if name not in self.roles]
        if unknown:
            raise TypeError(f"{unknown[0]!r} is no input; the inputs are {list(self.roles)}")
        for function in self.functions.values():
            for name in function.required:
                if name not in inputs:
                    raise TypeError(f"the {self.roles[name]} input {name!r} is missing")
        rows = {
            "target": edges.num_targets,
            "source": edges.num_sources,
            "edge": edges.num_edges,
        }
        for name, value in inputs.items():
            check_input(name, value, self.roles[name], rows, edges.device)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_programs": {}}  # recorded anew where they are needed

    def extra_repr(self) -> str:
        names = {
            role: [name for name, own in self.roles.items() if own == role]
            for role in ("target", "source", "edge", "shared")
        }
        return ", ".join(f"{role}={own}" for role, own in names.items() if own)


def _tensors(inputs: dict[str, Any]) -> dict[str, Tensor]:
    return {name: value for name, value in inputs.items() if isinstance(value, Tensor)}


def _check_weights(weights: Tensor, edges: Edges) -> None:
    if weights.ndim != 2 or weights.shape[0] != edges.num_edges:
        raise ValueError(f"weights must be ({edges.num_edges}, H), got {tuple(weights.shape)}")


def _drop(weights: Tensor, probability: float) -> Tensor:
    if not 0 <= probability <= 1:
        raise ValueError(f"dropout must lie in [0, 1], got {probability}")
    if probability == 0:
        return weights
    if probability == 1:
        return weights * 0
    # The mask of F.dropout for the same seed, kept in one byte per weight.
    keep = torch.empty_like(weights, dtype=torch.uint8).bernoulli_(1 - probability)
    return weights * keep * (1 / (1 - probability))


def _check_compiled_call(
    edges: Edges, weights: Tensor | None, dropout: float, normalizer: Normalizer
) -> None:
    wrong = {
        f"edges on {edges.device}": edges.device.type != "cpu",
        "weights=": weights is not None,
        f"dropout={dropout}": dropout != 0,
        f"the normalizer {normalizer}": type(normalizer) is not Softmax,
    }
    for what, is_wrong in wrong.items():
        if is_wrong:
            raise ValueError(f'backend "cpp" cannot do {what} yet; backend="reference" can')
