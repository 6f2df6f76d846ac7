"""The operations of an edge program, and what each of PyTorch's becomes.

Every rule here makes sure of one thing: that the operation treats each edge by itself.
"""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from graphattn.kernels.program.call import Call, DependsOnEdges, Value

# PyTorch's names on the left, the program's on the right.
_SAME_NAME = """
    abs acos acosh add asin asinh atan atan2 atanh ceil cos cosh detach div eq erf erfc exp exp2
    expm1 floor ge gt isinf isnan le log log10 log1p log2 logical_and logical_not logical_or lt
    maximum minimum mul ne neg pow reciprocal relu round rsqrt sigmoid sign sin sinh sqrt sub tan
    tanh trunc where
"""
POINTWISE = {
    **{name: name for name in _SAME_NAME.split()},
    "bitwise_and": "logical_and",
    "bitwise_or": "logical_or",
    "bitwise_not": "logical_not",
}
REDUCTIONS = ("sum", "amax", "amin", "prod")
_SAME_VALUE = ("alias", "lift_fresh_copy")
_SAME_ORDER = ("view", "_unsafe_view", "reshape", "unsqueeze", "squeeze", "clone")


def lower(call: Call) -> Value | list[Value]:
    """Turns one call into steps.

    Raises:
        CaptureError: If the call mixes edges, is random, or is no operation of an edge program.
    """
    if torch.Tag.nondeterministic_seeded in getattr(call.target, "tags", ()):
        raise call.error(
            "draws random numbers: pass a random tensor in, or use dropout= of the attention"
        )
    rule = _RULES.get(call.operator)
    if call.operator == "copy_":  # what a function does in place to an input ends in this
        raise call.error(
            f"writes to the input {call.arguments[0].name!r}, which belongs to the caller: clone it"
            " first"
        )
    given = [*call.arguments, *call.settings.values()]
    if rule is not None and any(isinstance(value, DependsOnEdges) for value in given):
        raise call.error("uses the number of edges as a value; pass it in by shared= instead")
    if rule is None:
        raise call.error(
            "is not an operation of an edge program: see graphattn.kernels.program.operations for"
            ' those that are, or use EdgeAttention(..., backend="reference", check=False)'
        )
    return rule(call)


def _pointwise(call: Call) -> Value:
    inputs = list(call.arguments)
    _check_alignment(call, inputs)
    if call.operator.startswith("bitwise") and call.result.dtype != torch.bool:
        raise call.error(f"is there for bool only, got {call.result.dtype}")
    unknown = [k for k, v in call.settings.items() if k not in ("alpha",) and v is not None]
    if unknown:
        raise call.error(f"with {unknown[0]}={call.settings[unknown[0]]!r} is not supported")
    alpha = call.settings.get("alpha", 1)
    if call.operator in ("add", "sub") and len(inputs) == 3:  # the form for a number has it here
        alpha = inputs.pop()
    if alpha != 1 and not isinstance(inputs[1], Value):
        inputs[1] = inputs[1] * alpha
    elif alpha != 1:
        inputs[1] = call.emit(
            "mul", [inputs[1], alpha], replace(inputs[1], dtype=call.result.dtype)
        )
    return call.emit(POINTWISE[call.operator], inputs, call.result)


def _check_alignment(call: Call, inputs: list[Any]) -> None:
    result = call.result
    for value in inputs:
        if isinstance(value, Value) and value.edge_axis is not None:
            from_right = len(value.shape) - value.edge_axis
            if result.edge_axis is None or from_right != len(result.shape) - result.edge_axis:
                raise call.mixes()


def _cast(call: Call) -> Value:
    return call.emit("cast", [call.arguments[0]], call.result)


def _reduction(call: Call) -> Value:
    x: Value = call.arguments[0]
    axes = call.argument(1, "dim", None)
    axes = [axes] if isinstance(axes, int) else axes
    # PyTorch takes no axes, or an empty list of them, for all axes.
    axes = axes if axes and x.shape else range(len(x.shape))
    axes = tuple(sorted(axis % len(x.shape) for axis in axes))
    if x.edge_axis in axes:
        raise call.mixes()
    if all(x.shape[axis] == 1 for axis in axes) and x.dtype == call.result.dtype:
        return x if x.shape == call.result.shape else call.emit("view", [x], call.result)
    return call.emit(call.operator, [x], call.result, axes=axes)


def _same_value(call: Call) -> Value:
    return call.arguments[0]


def _same_order(call: Call) -> Value:
    x: Value = call.arguments[0]
    before = None if x.edge_axis is None else math.prod(x.shape[: x.edge_axis])
    axis = call.result.edge_axis
    after = None if axis is None else math.prod(call.result.shape[:axis])
    if before != after:
        raise call.mixes()
    if x.shape == call.result.shape and x.edge_axis == axis:
        return x
    return call.emit("view", [x], call.result)


def _permute(call: Call) -> Value:
    x: Value = call.arguments[0]
    axes = tuple(axis % len(x.shape) for axis in call.arguments[1])
    if axes == tuple(range(len(axes))):
        return x
    return call.emit("permute", [x], call.result, axes=axes)


def _expand(call: Call) -> Value:
    _check_alignment(call, [call.arguments[0]])
    return call.emit("expand", [call.arguments[0]], call.result)


def _slice(call: Call) -> Value:
    x: Value = call.arguments[0]
    axis = call.argument(1, "dim", 0) % len(x.shape)
    if axis == x.edge_axis:
        if (call.result.shape, call.result.edge_axis) != (x.shape, x.edge_axis):
            raise call.mixes()
        return x
    start, step = call.argument(2, "start", None) or 0, call.argument(4, "step", 1)
    start = max(start + x.shape[axis], 0) if start < 0 else min(start, x.shape[axis])
    return call.emit("slice", [x], call.result, axis=axis, start=start, step=step)


def _select(call: Call) -> Value:
    x, axis, index = call.arguments
    axis %= len(x.shape)
    if axis == x.edge_axis:
        raise call.mixes()
    row = replace(call.result, shape=(*x.shape[:axis], 1, *x.shape[axis + 1 :]))
    row = call.emit("slice", [x], row, axis=axis, start=index % x.shape[axis], step=1)
    return call.emit("view", [row], call.result)


def _split(call: Call) -> list[Value]:
    x, sizes = call.arguments[:2]
    axis = call.argument(2, "dim", 0) % len(x.shape)
    if axis == x.edge_axis:
        raise call.mixes()
    starts = [sum(sizes[:part]) for part in range(len(sizes))]
    return [
        call.emit("slice", [x], result, axis=axis, start=start, step=1)
        for result, start in zip(call.results, starts, strict=True)
    ]


def _cat(call: Call) -> Value:
    parts: list[Value] = call.arguments[0]
    axis = call.argument(1, "dim", 0) % len(call.result.shape)
    parts = [part for part in parts if part.shape != (0,)]  # what PyTorch passes over as well
    if any(part.edge_axis != call.result.edge_axis or part.edge_axis == axis for part in parts):
        raise call.mixes()
    return call.emit("cat", list(parts), call.result, axis=axis)


def _take(call: Call) -> Value:
    x, indices = call.arguments
    given = [axis for axis, index in enumerate(indices) if index is not None]
    index = indices[given[0]]
    known = next((s for s in call.steps.values() if s.name == index.name), None)
    if len(given) != 1 or len(index.shape) != 1 or known is None or known.operation != "constant":
        raise call.error("takes one list of constant positions along one axis, nothing else")
    if given[0] == x.edge_axis:
        raise call.mixes()
    size = x.shape[given[0]]
    positions = known.settings["values"]
    outside = [position for position in positions if not -size <= position < size]
    if outside:
        raise call.error(f"takes position {outside[0]} of an axis of size {size}")
    positions = tuple(position % size for position in positions)
    return call.emit("take", [x], call.result, axis=given[0], positions=positions)


def _matmul(call: Call) -> Value:
    left, right = call.arguments
    batch = len(left.shape) - 2
    edges = (left.edge_axis, right.edge_axis)
    by_batch = batch == 1 and edges == (0, 0)
    if not (by_batch or edges in ((None, None), (batch, None), (None, batch + 1))):
        raise call.mixes()
    return call.emit("matmul", [left, right], call.result)


def _fill(call: Call) -> Value:
    values = {"zeros": 0, "zeros_like": 0, "ones": 1, "ones_like": 1}
    positions = {"full": 1, "full_like": 1, "scalar_tensor": 0, "new_full": 2}
    value = values.get(call.operator)
    value = call.arguments[positions[call.operator]] if value is None else value
    return call.emit("fill", [], call.result, value=value)


def _uninitialised(call: Call) -> Value:
    # Only ever a place to write random numbers to; were it read, it should not look like data.
    return call.emit("fill", [], call.result, value=math.nan)


def _arange(call: Call) -> Value:
    if call.result.edge_axis is not None:
        raise call.error("numbers the edges; an edge program does not know an edge's position")
    values = torch.arange(*call.arguments).tolist()
    return replace(call, arguments=[values]).constant()


_RULES: dict[str, Callable[[Call], Value | list[Value]]] = {
    **dict.fromkeys(POINTWISE, _pointwise),
    **dict.fromkeys(REDUCTIONS, _reduction),
    **dict.fromkeys(_SAME_VALUE, _same_value),
    **dict.fromkeys(_SAME_ORDER, _same_order),
    **dict.fromkeys(("zeros", "ones", "full", "zeros_like", "ones_like", "full_like"), _fill),
    "scalar_tensor": _fill,
    "_to_copy": _cast,
    "convert_element_type": _cast,
    "permute": _permute,
    "expand": _expand,
    "slice": _slice,
    "select": _select,
    "split_with_sizes": _split,
    "cat": _cat,
    "index": _take,
    "mm": _matmul,
    "bmm": _matmul,
    "arange": _arange,
    "empty": _uninitialised,
    "empty_like": _uninitialised,
    "empty_permuted": _uninitialised,
}
