"""The derivative of an edge program: another program, for the backward passes."""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx import GraphModule, Interpreter
from torch.fx.experimental.proxy_tensor import make_fx

from graphattn.kernels.program.call import Value
from graphattn.kernels.program.capture import InputSpec, writes_in_place
from graphattn.kernels.program.decompositions import decompositions
from graphattn.kernels.program.interpret import interpret
from graphattn.kernels.program.lower import Lowering, steps_for
from graphattn.kernels.program.program import Program, Step

aten = torch.ops.aten


def derivative(program: Program, inputs: Iterable[str]) -> Program:
    """What an edge adds to the gradients of some inputs, given the gradients of its outputs.

    Args:
        program: A program.
        inputs: The inputs whose gradients are wanted. What is not needed for them is left out, so
            that each backward pass does its own part alone.

    Returns:
        A program with the inputs of ``program`` and, for each of its outputs, an input
        ``"grad.OUTPUT"`` of role ``"cotangent"``. It computes the outputs of ``program`` again, and
        for each of ``inputs`` the output ``"grad.INPUT"``, of the input's shape: a row of the
        gradient for target, source and edge inputs that all edges of the row add to, and what the
        edge adds to the whole gradient for shared ones.
    """
    wanted = tuple(inputs)
    specs = dict(program.inputs)
    for output, name in program.outputs.items():
        shape = program.shape(name)[1:]
        specs[f"grad.{output}"] = InputSpec("cotangent", shape, program.dtype(name))
    if not wanted:
        return replace(program, inputs=specs)
    # Hooks on saved tensors, such as those of checkpointing, are refused by what records this; they
    # belong to the caller's thread.
    with ThreadPoolExecutor(1) as apart:
        recording = apart.submit(_record, program, wanted, specs).result()
    outputs = (*program.outputs, *(f"grad.{name}" for name in wanted))
    made = _with_dependencies(_OneEdge(recording, specs).run(recording, outputs))
    return replace(made, reduction=program.reduction, epsilon=program.epsilon)


def narrowed(derivative: Program, inputs: Iterable[str]) -> Program:
    """A derivative by some of the inputs that it was made for: the others' gradients left out."""
    wanted = {f"grad.{name}" for name in inputs}
    outputs = {
        name: value
        for name, value in derivative.outputs.items()
        if name in wanted or not name.startswith("grad.")
    }
    steps = steps_for(derivative.steps, outputs)
    return replace(derivative, steps=steps, outputs=outputs)


def _record(program: Program, wanted: tuple[str, ...], specs: dict[str, InputSpec]) -> GraphModule:
    """Records outputs and gradients for one edge; what is done for one is done for each."""

    def outputs_and_gradients(*tensors: Tensor) -> list[Tensor]:
        given = dict(zip(specs, tensors, strict=True))
        own = {name: given[name] for name in program.inputs}

        def outputs(*moved: Tensor) -> tuple[Tensor, ...]:
            values = interpret(program, {**own, **dict(zip(wanted, moved, strict=True))})
            return tuple(values[output] for output in program.outputs)

        results, pull_back, *_ = torch.func.vjp(outputs, *(own[name] for name in wanted))
        cotangents = tuple(given[f"grad.{output}"] for output in program.outputs)
        return [*results, *pull_back(cotangents)]

    # What is detached has no part in the derivative, and then is a copy like any other.
    table = {**decompositions(), aten.detach.default: _alias}
    with FakeTensorMode():
        stand_ins = [
            torch.empty(spec.shape if spec.role == "shared" else (1, *spec.shape), dtype=spec.dtype)
            for spec in specs.values()
        ]
        flat = make_fx(outputs_and_gradients, decomposition_table=table)(*stand_ins)

        def run(*tensors: Tensor) -> list[Tensor]:
            return Interpreter(flat).run(*tensors)

        if not writes_in_place(flat):
            return flat
        functional = torch.func.functionalize(run, remove="mutations")
        return make_fx(functional, decomposition_table=table)(*stand_ins)


def _alias(x: Tensor) -> Tensor:
    return aten.alias.default(x)


class _OneEdge(Lowering):
    """Lowers a recording for one edge: no axis of it can mix edges."""

    def _input(self, name: str) -> Value:
        return replace(super()._input(name), edge_axis=None)

    def _returned(self, names: tuple[str, ...], nodes: Any) -> dict[str, str]:
        values = [self.values[node] for node in nodes]
        return {
            name: value.name
            for name, value in zip(names, values, strict=True)
            if isinstance(value, Value)
        }


def _with_dependencies(program: Program) -> Program:
    """Marks as shared the steps that depend on shared inputs alone."""
    varies = {name for name, spec in program.inputs.items() if spec.role != "shared"}
    steps: list[Step] = []
    for step in program.steps:
        per_edge = any(value in varies for value in step.inputs if isinstance(value, str))
        if per_edge:
            varies.add(step.name)
        steps.append(replace(step, per_edge=per_edge))
    return replace(program, steps=tuple(steps))
