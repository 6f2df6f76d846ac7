"""Attention while a graph of operators is made, by torch.compile or torch.export."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor
from torch.utils._python_dispatch import _disable_current_modes

from graphattn.blocks import Blocks
from graphattn.blocks_in_graph import arguments_of, mask_of_draw
from graphattn.compiled import FLOATS, OWN, Compiled, states
from graphattn.definition import normalized
from graphattn.dropout import Draw, dropout_draw, masked
from graphattn.dynamo import constant, known, known_size, number_of
from graphattn.edge_list import EdgeList, EdgesInGraph, draw_mask
from graphattn.edges import Edges
from graphattn.kernels.cpp.compiler import is_available
from graphattn.kernels.cpp.fallback import is_transformed
from graphattn.kernels.edge_attention.checks import plan_of, result_names
from graphattn.kernels.program import Reduction
from graphattn.kernels.program.serialize import to_text
from graphattn.normalizers import Normalizer, is_fused
from graphattn.operator import edge_attention

_Inputs = dict[str, Any]
_Own = dict[str, tuple[str, Tensor]]  # inputs of a normalizer: role and tensor by name
_Kind = tuple[str, str, tuple[int, ...], torch.dtype]  # name, role, shape of a row, element type


def can_trace(device: torch.device, inputs: Iterable[Any]) -> bool:
    """As ``compiled.suits``, for operators."""
    is_plain = all(
        type(value) in (Tensor, nn.Parameter, FakeTensor) and value.dtype in FLOATS
        for value in inputs
        if isinstance(value, Tensor)
    )
    can_run = device.type == "cuda" or (device.type == "cpu" and _has_compiler())
    return is_plain and can_run and not is_transformed()


def fits(edges: Edges | EdgeList | Blocks, normalizer: Normalizer, has_weights: bool) -> bool:
    """Whether there are operators for a structure; not for what needs the list of all pairs."""
    return not isinstance(edges, Blocks) or has_weights or _reduction(normalizer) is not None


def attend(
    compiled: Compiled,
    edges: Edges | EdgeList | Blocks,
    inputs: _Inputs,
    normalizer: Normalizer,
    weights: Tensor | None,
    dropout: float,
    wanted: list[str],
) -> dict[str, Tensor]:
    """As ``Compiled.attend``, by operators.

    The graph holds the programs as text, recorded now. What Dynamo reads of functions and
    normalizers, it guards: another mode of a module, another number, another graph.
    """
    listed, seen = _in_graph(edges)
    names = list(compiled.definition.functions)
    reduction = _reduction(normalizer) if weights is None else None
    if reduction is not None:
        own: _Own = normalizer.inputs(seen)  # type: ignore[operator]
        sink = own.pop("sink")[1] if reduction == "softmax" and "sink" in own else None
        text = _text(compiled, inputs, names, reduction, own, normalizer)
        mask = _draw(listed, _num_heads(text), dropout)
        flags = ("weights" in wanted or "dropped" in wanted, "logits" in wanted)
        tensors = _tensors(compiled, inputs, own)
        parts = _run(text, listed, tensors, sink=sink, mask=mask, flags=flags)
        if "dropped" in wanted:
            parts["dropped"] = _drop(listed, parts["weights"], mask)
        return parts
    parts = {}
    names = [name for name in names if name not in ("logits", "message")]
    if weights is None:
        text = _text(compiled, inputs, ["logits", *names], "edges")
        parts = _run(text, listed, _tensors(compiled, inputs), flags=(False, True))
        weights = normalized(parts["logits"], lambda logits: normalizer(logits, seen))
        names = []
    dropped = _drop(listed, weights, _draw(listed, weights.shape[1], dropout))
    own = {"weights": ("edge", dropped)}
    text = _text(compiled, inputs, ["message", *names], "none", own)
    parts |= _run(text, listed, _tensors(compiled, inputs, own))
    return parts | {"weights": weights, "dropped": dropped}


def _in_graph(edges: Edges | EdgeList | Blocks) -> tuple[EdgeList | Blocks, Any]:
    """A structure as operators take it, and as normalizers see it."""
    if isinstance(edges, EdgeList | Blocks):
        return edges, edges
    # Sorting is for the operators; a normalizer that asks for sorted edges gets them by one.
    return EdgeList.of(edges), EdgesInGraph(edges)


def _draw(edges: EdgeList | Blocks, num_heads: int, probability: float) -> Draw:
    if isinstance(edges, Blocks):
        return dropout_draw(probability, edges.device)
    return draw_mask(edges, num_heads, probability)


def _drop(edges: EdgeList | Blocks, weights: Tensor, draw: Draw) -> Tensor:
    """The weights that dropout leaves."""
    keep, scale = draw
    if keep is not None and isinstance(edges, Blocks):
        keep = mask_of_draw(keep, *weights.shape)
    return masked(weights, keep, scale)


def _run(
    text: str,
    edges: EdgeList | Blocks,
    tensors: dict[str, Tensor],
    *,
    sink: Tensor | None = None,
    mask: Draw = (None, 1.0),
    flags: tuple[bool, bool] = (False, False),
) -> dict[str, Tensor]:
    given = [tensors[name] for name in _input_names(text).split("\n")]
    if sink is not None:
        given.append(sink.expand(_num_heads(text)))
    ends, *rest = arguments_of(edges) if isinstance(edges, Blocks) else edges.arguments()
    results = edge_attention(given, ends, mask[0], text, *rest, mask[1], *flags)
    found = dict(zip(_result_names(text, *flags).split(), results, strict=True))
    found.pop("norm", None)
    if "output" in found:  # the operator's has the type of sums
        found["output"] = found["output"].to(_output_dtype(text))
    return found


def _tensors(compiled: Compiled, inputs: _Inputs, own: _Own | None = None) -> dict[str, Tensor]:
    return {
        **{name: x for name, x in inputs.items() if isinstance(x, Tensor)},
        **{f"{OWN}{name}": x for name, (_, x) in (own or {}).items()},
        **states(compiled.definition.functions),
    }


def _text(
    compiled: Compiled,
    inputs: _Inputs,
    names: list[str],
    reduction: Reduction,
    own: _Own | None = None,
    normalizer: Normalizer | None = None,
) -> str:
    """The program of some functions, as text."""
    roles, functions = compiled.definition.roles, compiled.definition.functions
    own = own or {}
    return _record(
        compiled,
        tuple(names),
        reduction,
        normalizer,
        tuple(_kind(k, roles[k], x) for k, x in inputs.items() if isinstance(x, Tensor)),
        tuple((k, known(x)) for k, x in inputs.items() if not isinstance(x, Tensor)),
        tuple(_kind(k, role, x) for k, (role, x) in own.items()),
        tuple(functions[name].mode() for name in names),
        tuple(known(getattr(normalizer, name)) for name in _numbers(normalizer).split()),
    )


def _kind(name: str, role: str, x: Tensor) -> _Kind:
    return (name, role, tuple(known_size(size) for size in x.shape[role != "shared" :]), x.dtype)


# Dynamo calls the functions below, and takes what they return as it would a constant. They are
# given names, sizes and types, never tensors.


@constant
def _record(
    compiled: Compiled,
    names: tuple[str, ...],
    reduction: Reduction,
    normalizer: Any,
    kinds: tuple[_Kind, ...],
    constants: tuple[tuple[str, Any], ...],
    own_kinds: tuple[_Kind, ...],
    *_guarded: Any,
) -> str:
    def stand_in(role: str, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        return torch.empty((*(() if role == "shared" else (1,)), *shape), dtype=dtype)

    with _disable_current_modes():  # a recording is no part of the graph that is being made
        inputs: _Inputs = {kind[0]: stand_in(*kind[1:]) for kind in kinds}
        own = {kind[0]: (kind[1], stand_in(*kind[1:])) for kind in own_kinds}
        inputs |= {name: number_of(parts) for name, parts in constants}
        plan = compiled.plan(inputs, names, reduction, normalizer, own)
        return to_text(plan.program)


@constant
def _has_compiler() -> bool:
    return is_available()


@constant
def _reduction(normalizer: Any) -> Reduction | None:
    return normalizer.reduction if is_fused(normalizer) else None


@constant
def _numbers(normalizer: Any) -> str:
    kept = {} if normalizer is None else vars(normalizer)
    return " ".join(name for name, x in kept.items() if isinstance(x, bool | int | float | str))


@constant
def _input_names(text: str) -> str:
    return "\n".join(plan_of(text).program.inputs)


@constant
def _num_heads(text: str) -> int:
    return plan_of(text).program.num_heads


@constant
def _output_dtype(text: str) -> torch.dtype:
    return plan_of(text).program.output_dtype


@constant
def _result_names(text: str, want_weights: bool, want_logits: bool) -> str:
    return " ".join(result_names(plan_of(text).program, want_weights, want_logits))
