"""What an attention computes, in plain PyTorch: the definition that compiled kernels must meet."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from graphattn.edges import Edges
from graphattn.kernels.edge_attention import reference
from graphattn.kernels.program import RETURNS, UserFunction

Keep = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Definition:
    """A score, a message and perhaps an edge output, with the roles of their inputs.

    Attributes:
        functions: By what they compute: ``"logits"``, ``"message"``, ``"edge_output"``.
        roles: Role of each input by name.
    """

    functions: dict[str, UserFunction]
    roles: dict[str, str]

    def attend(
        self,
        edges: Edges,
        inputs: Mapping[str, Any],
        normalize: Callable[[Tensor], Tensor],
        keep: Keep,
        *,
        weights: Tensor | None = None,
        states: Mapping[str, dict[str, Tensor]] | None = None,
    ) -> dict[str, Tensor]:
        """The attention; differentiable any number of times.

        Args:
            edges: The structure.
            inputs: By name; shared ones may be Python numbers.
            normalize: Gives weights for logits, ``(E, H)``.
            keep: Drops weights.
            weights: Weights to use in place of the score's.
            states: What stands for the parameters of modules, by function.

        Returns:
            ``"output"``, ``"weights"``, ``"dropped"`` and, where they are computed, ``"logits"``
            and ``"edge_output"``.
        """
        at_edges = self._gather(edges, inputs)
        parts: dict[str, Tensor] = {}
        if weights is None:
            parts["logits"] = self._result("logits", edges, at_edges, states)
            weights = normalized(parts["logits"], normalize)
        dropped = keep(weights)
        message = self._result("message", edges, at_edges, states)
        if message.shape[1] != weights.shape[1]:
            raise ValueError(
                f"message must have as many heads as the weights, {weights.shape[1]}, got shape"
                f" {tuple(message.shape)}"
            )
        output = reference.weighted_sum(dropped, message, edges.target, edges.num_targets)
        parts |= {"output": output, "weights": weights, "dropped": dropped}
        if "edge_output" in self.functions:
            parts["edge_output"] = self._result("edge_output", edges, at_edges, states)
        return parts

    def values(
        self,
        edges: Edges,
        inputs: Mapping[str, Any],
        names: list[str],
        states: Mapping[str, dict[str, Tensor]] | None = None,
    ) -> dict[str, Tensor]:
        """What some of the functions give for each edge."""
        at_edges = self._gather(edges, inputs)
        return {name: self._result(name, edges, at_edges, states) for name in names}

    def _gather(self, edges: Edges, inputs: Mapping[str, Any]) -> dict[str, Any]:
        tensors = {name: value for name, value in inputs.items() if isinstance(value, Tensor)}
        gathered = reference.gather(tensors, self.roles, edges.source, edges.target)
        return {**inputs, **gathered}

    def _result(
        self,
        function: str,
        edges: Edges,
        at_edges: dict[str, Any],
        states: Mapping[str, dict[str, Tensor]] | None,
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


def normalized(logits: Tensor, normalize: Callable[[Tensor], Tensor]) -> Tensor:
    """Weights for logits, of which there must be as many."""
    weights = normalize(logits)
    if weights.shape != logits.shape:
        raise ValueError(
            f"normalizer must return a weight for each logit, {tuple(logits.shape)}, got"
            f" {tuple(weights.shape)}"
        )
    return weights
