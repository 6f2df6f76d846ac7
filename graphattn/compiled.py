"""Attention by compiled kernels: which programs a call is made of, and when they can run."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn

from graphattn import streamed
from graphattn.blocks import Blocks, as_edges
from graphattn.definition import Definition, normalized
from graphattn.dropout import draw_dropout, drop_weights, masked, shown_mask
from graphattn.edges import Edges
from graphattn.kernels.cpp.compiler import is_available
from graphattn.kernels.cpp.fallback import is_transformed
from graphattn.kernels.edge_attention.op import edge_attention
from graphattn.kernels.edge_attention.plan import SINK, Backend, Call, Plan
from graphattn.kernels.program import InputSpec, Reduction, UserFunction, capture
from graphattn.normalizers import FusedNormalizer, Normalizer, is_fused

OWN = "normalizer."  # what the names of a normalizer's inputs begin with
_GIVEN_WEIGHTS = UserFunction.of(lambda weights: weights, "weights", OWN)
FLOATS = (torch.float32, torch.float64, torch.bfloat16, torch.float16, torch.bool)
_Inputs = dict[str, Any]


def suits(device: torch.device, inputs: Iterable[Any]) -> bool:
    """Whether compiled kernels can take a call: plain tensors, plain differentiation.

    Raises:
        ModuleNotFoundError: If they would on a GPU, but Triton is not installed.
    """
    is_plain = all(
        type(value) in (Tensor, nn.Parameter) and value.dtype in FLOATS
        for value in inputs
        if isinstance(value, Tensor)
    )
    return (
        is_plain
        and not torch.compiler.is_compiling()
        and not is_transformed()
        and ((device.type == "cpu" and is_available()) or device.type == "cuda")
    )


class Compiled:
    """The programs of one definition, recorded and compiled once for each kind of inputs."""

    def __init__(
        self, definition: Definition, backend: Literal["auto", "reference"] | Backend = "auto"
    ) -> None:
        self.definition, self.backend = definition, backend
        self._plans: dict[Any, Plan] = {}

    @property
    def plans(self) -> list[Plan]:
        """The programs recorded so far."""
        return list(self._plans.values())

    def attend(
        self,
        edges: Edges | Blocks,
        inputs: _Inputs,
        normalizer: Normalizer,
        weights: Tensor | None,
        dropout: float,
        wanted: list[str],
    ) -> dict[str, Tensor]:
        """As ``Definition.attend``, by kernels compiled for this processor.

        A normalizer that fuses runs in one kernel with the score and the sum of messages. With any
        other, one kernel makes the logits and another sums the messages; between many pairs of
        blocks, for some queries at a time.
        """
        if weights is not None:
            names = [name for name in self.definition.functions if name != "logits"]
            parts = {"weights": weights, "dropped": drop_weights(edges, weights, dropout)}
            return parts | self._weighted_sum(edges, inputs, names, parts["dropped"])
        if isinstance(normalizer, FusedNormalizer) and is_fused(normalizer):
            return self._fused(edges, inputs, normalizer, dropout, wanted)
        if isinstance(edges, Blocks) and streamed.streams(edges, normalizer):
            given = {**states(self.definition.functions), **inputs}
            roles = self.definition.roles
            return streamed.attend(self._in_steps, edges, given, roles, normalizer, dropout, wanted)
        keep = partial(drop_weights, edges, probability=dropout)
        return self._in_steps(edges, inputs, normalizer, keep)

    def _in_steps(
        self,
        edges: Edges | Blocks,
        inputs: _Inputs,
        normalize: Callable[[Tensor, Edges], Tensor],
        keep: Callable[[Tensor], Tensor],
    ) -> dict[str, Tensor]:
        names = [name for name in self.definition.functions if name != "message"]
        parts = self._of_edges(edges, inputs, names)
        listed = as_edges(edges)
        weights = normalized(parts["logits"], lambda logits: normalize(logits, listed))
        parts |= {"weights": weights, "dropped": keep(weights)}
        return parts | self._weighted_sum(edges, inputs, ["message"], parts["dropped"])

    def plan(
        self,
        inputs: _Inputs,
        names: Iterable[str],
        reduction: Reduction = "softmax",
        normalizer: FusedNormalizer | None = None,
        own: dict[str, tuple[str, Tensor]] | None = None,
    ) -> Plan:
        """The program of some functions for inputs of these kinds.

        Args:
            inputs: By name.
            names: Functions of the definition.
            reduction: How the edges of a target come together.
            normalizer: What makes the weights; if there is none and no softmax, they are given.
            own: Inputs of the normalizer: role and tensor.

        Raises:
            CaptureError: If a function is no edge program.
        """
        functions = {name: self.definition.functions[name] for name in names}
        if reduction in ("sum", "none"):
            made = _GIVEN_WEIGHTS
            if normalizer is not None:
                made = UserFunction.of(normalizer.map, "normalizer", OWN)
            of_score = {name: functions.pop(name) for name in ("logits",) if name in functions}
            functions = {**of_score, "weights": made, **functions}
        # Without the score, its inputs may be there too; they are none of this program's.
        used = {name for user in functions.values() for name in user.names}
        specs = {
            name: InputSpec(role, tuple(inputs[name].shape[role != "shared" :]), inputs[name].dtype)
            for name, role in self.definition.roles.items()
            if name in used and isinstance(inputs.get(name), Tensor)
        }
        for name, (role, x) in (own or {}).items():
            specs[f"{OWN}{name}"] = InputSpec(role, tuple(x.shape[role != "shared" :]), x.dtype)
        for name, tensor in states(functions).items():
            specs[name] = InputSpec("shared", tuple(tensor.shape), tensor.dtype)
        constants = {name: value for name, value in inputs.items() if not isinstance(value, Tensor)}
        # By softmax there is no map to record, and so nothing of the normalizer's own.
        mapped = None if reduction == "softmax" else normalizer
        epsilon = 0.0 if mapped is None else float(mapped.epsilon)
        modes = [user.mode() for user in functions.values()]
        # What a normalizer keeps besides tensors, and its map may use: numbers become constants.
        kept = {} if mapped is None else vars(mapped)
        numbers = [(k, v) for k, v in kept.items() if isinstance(v, bool | int | float | str)]
        kind = (reduction, epsilon, type(mapped), tuple(sorted(numbers)))
        backend = self._backend(inputs)
        key = (
            backend,
            tuple(functions),
            tuple(specs.items()),
            repr(sorted(constants.items())),
            kind,
            *modes,
        )
        if key not in self._plans:
            program = capture(functions, specs, constants, reduction, epsilon)
            self._plans[key] = Plan(program, backend)
        return self._plans[key]

    def _backend(self, inputs: _Inputs) -> Backend:
        if self.backend == "cpp" or self.backend == "triton":
            return self.backend
        devices = {x.device.type for x in inputs.values() if isinstance(x, Tensor)}
        return "triton" if "cuda" in devices else "cpp"

    def _fused(
        self,
        edges: Edges | Blocks,
        inputs: _Inputs,
        normalizer: FusedNormalizer,
        dropout: float,
        wanted: list[str],
    ) -> dict[str, Tensor]:
        own = normalizer.inputs(edges)
        sink = own.pop("sink", None) if normalizer.reduction == "softmax" else None
        names = list(self.definition.functions)
        plan = self.plan(inputs, names, normalizer.reduction, normalizer, own)
        tensors = {f"{OWN}{name}": tensor for name, (_, tensor) in own.items()}
        if sink is not None:
            tensors[SINK] = sink[1].expand(plan.program.num_heads)
        shape = (edges.num_edges, plan.program.num_heads)
        keep, scale = draw_dropout(edges, shape[1], dropout)

        def definition(given: dict[str, Tensor], keep: Tensor | None, scale: float) -> _Inputs:
            of_normalizer = {
                name.removeprefix(OWN): x for name, x in given.items() if name.startswith(OWN)
            }
            listed = as_edges(edges)
            return self.definition.attend(
                listed,
                self._with(inputs, given),
                lambda logits: normalizer.weights(logits, listed, of_normalizer),
                lambda weights: masked(weights, shown_mask(keep, shape), scale),
                states=self._states_of(given),
            )

        wants = ("weights" in wanted or "dropped" in wanted, "logits" in wanted)
        call = call_for(edges, definition, keep, scale, *wants)
        parts = self._run(plan, call, inputs, tensors)
        if "dropped" in wanted:
            parts["dropped"] = masked(parts["weights"], shown_mask(keep, shape), scale)
        return parts

    def _of_edges(
        self, edges: Edges | Blocks, inputs: _Inputs, names: list[str]
    ) -> dict[str, Tensor]:
        """What some functions give for each edge."""

        def definition(given: dict[str, Tensor], keep: Tensor | None, scale: float) -> _Inputs:
            own = self._with(inputs, given)
            listed = as_edges(edges)
            return self.definition.values(listed, own, names, self._states_of(given))

        plan = self.plan(inputs, names, "edges")
        call = call_for(edges, definition, want_logits="logits" in names)
        return self._run(plan, call, inputs, {})

    def _weighted_sum(
        self, edges: Edges | Blocks, inputs: _Inputs, names: list[str], weights: Tensor
    ) -> dict[str, Tensor]:
        """The sum of messages with weights that are there already."""

        def definition(given: dict[str, Tensor], keep: Tensor | None, scale: float) -> _Inputs:
            return self.definition.attend(
                as_edges(edges),
                self._with(inputs, given),
                lambda logits: logits,
                lambda weights: weights,
                weights=given[f"{OWN}weights"],
                states=self._states_of(given),
            )

        plan = self.plan(inputs, names, "none", own={"weights": ("edge", weights)})
        return self._run(plan, call_for(edges, definition), inputs, {f"{OWN}weights": weights})

    def _run(
        self, plan: Plan, call: Call, inputs: _Inputs, own: dict[str, Tensor]
    ) -> dict[str, Tensor]:
        tensors = {**states(self.definition.functions), **inputs, **own}
        names = [*plan.program.inputs, *((SINK,) if SINK in own else ())]
        results = edge_attention(plan, call, {name: tensors[name] for name in names})
        return {name: result for name, result in results.items() if result is not None}

    def _with(self, inputs: _Inputs, given: dict[str, Tensor]) -> _Inputs:
        # Parameters of the functions may be among the inputs, but are given to these as states.
        roles = self.definition.roles
        return {name: given.get(name, x) for name, x in inputs.items() if name in roles}

    def _states_of(self, given: dict[str, Tensor]) -> dict[str, dict[str, Tensor]]:
        # Parameters of a function that takes no part in this program are not given.
        return {
            function: {
                name: given[f"{function}.{name}"]
                for name in user.state()
                if f"{function}.{name}" in given
            }
            for function, user in self.definition.functions.items()
        }


def call_for(
    edges: Edges | Blocks,
    definition: Callable[[dict[str, Tensor], Tensor | None, float], _Inputs],
    keep: Tensor | None = None,
    scale: float = 1.0,
    want_weights: bool = False,
    want_logits: bool = False,
) -> Call:
    """A call over a structure; see ``Call`` for what it is made of."""
    return Call(
        target=lambda: edges.target,
        by_target=edges.by_target,
        by_source=lambda: edges.by_source,
        keep=keep,
        scale=scale,
        want_weights=want_weights,
        want_logits=want_logits,
        definition=definition,
    )


def states(functions: dict[str, UserFunction]) -> dict[str, Tensor]:
    """Parameters and buffers of functions that are modules, by their names in programs."""
    return {
        f"{function}.{name}": tensor
        for function, user in functions.items()
        for name, tensor in user.state().items()
    }
