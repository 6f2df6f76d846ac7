"""Matrix products of an edge program: on tensor cores where they are large enough, else by sums."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from graphattn.kernels.program import Step
from graphattn.kernels.program.names import identifier
from graphattn.kernels.triton.expressions import computed, language_type
from graphattn.kernels.triton.moves import Indices, moved
from graphattn.kernels.triton.operations import reduce
from graphattn.kernels.triton.tiles import EDGES, ZERO, Axis, Index, Level, Tile, elements, joined

if TYPE_CHECKING:
    from graphattn.kernels.triton.printer import Printer

_LEAST = 16  # what tl.dot takes at least along each axis


def matmul(printer: Printer, step: Step, indices: Indices) -> Tile:
    """The product of two matrices, or of a batch of pairs, at some positions."""
    left, right = step.inputs
    shape = printer.program.shape(left)
    *batch, row, column = indices
    inner = _inner(printer, shape[-1], indices)
    ones = [i if size != 1 else Index("0") for i, size in zip(batch, shape, strict=False)]
    of_left = printer.at(left, (*ones, row, inner))
    of_right = printer.at(right, (*ones, inner, column))
    kind, name = computed(step.dtype), identifier(step.name)
    if inner.axis is not None and column.axis is not None:
        is_matrix = set(of_right.axes) == {inner.axis, column.axis}
        is_free = inner.axis in of_left.axes and column.axis not in of_left.axes
        if is_matrix and is_free and _is_large(of_left, inner.axis, column.axis):
            return _dot(printer, name, of_left, of_right, inner.axis, column.axis)
    axes = joined([of_left.axes, of_right.axes])
    factors = [
        t.over(axes) if t.dtype == kind else f"{t.over(axes)}.to({language_type(kind)})"
        for t in (of_left, of_right)
    ]
    level = max(of_left.level, of_right.level)
    product = printer.emit(f"{name}_terms", " * ".join(factors), axes, level, kind)
    return reduce(printer, _sum_for(step), product, [inner.axis] if inner.axis else [])


def _inner(printer: Printer, size: int, indices: Indices) -> Index:
    """Every position along the axis of this size that a product of matrices sums over."""
    taken = joined(index.axes for index in indices)
    return ZERO if size == 1 else Index.along(printer.axis(size, taken))


def _sum_for(step: Step) -> Step:
    """A sum in place of another step."""
    return Step(step.name, "sum", (), {}, step.shape, step.dtype, step.per_edge)


def summed_product(printer: Printer, value: str, indices: Indices) -> Tile | None:
    """A value summed over a tile's edges, if it is a product of matrices that are large enough.

    This is how the gradient of a matrix that all edges share comes about.
    """
    step = printer.steps.get(value)
    while step is not None and step.operation in ("view", "permute"):
        value = step.inputs[0]
        indices = moved(step, printer.program.shape(value), indices, printer.named)
        step = printer.steps.get(value)
    if step is None or step.operation != "matmul":
        return None
    shape = printer.program.shape(step.inputs[0])
    *batch, row, column = indices
    inner = _inner(printer, shape[-1], indices)
    if any(index.number is None for index in batch):
        return None
    left = printer.at(step.inputs[0], (*batch, row, inner))
    right = printer.at(step.inputs[1], (*batch, inner, column))
    if row.axis is None or column.axis is None:
        return None
    common = (EDGES,) if inner.axis is None else (EDGES, inner.axis)
    # A tile that is the same along an axis does not have it: then these are no matrices.
    wanted = ({row.axis, *common}, {column.axis, *common})
    are_matrices = (set(left.axes), set(right.axes)) == wanted and row.axis != column.axis
    if not are_matrices or min(row.axis.padded, column.axis.padded) < _LEAST:
        return None
    own = ((left, row.axis), (right, column.axis))
    return _outer_sum(printer, identifier(step.name), *own, common)


def _outer_sum(
    printer: Printer,
    name: str,
    left: tuple[Tile, Axis],
    right: tuple[Tile, Axis],
    common: tuple[Axis, ...],
) -> Tile:
    """The sum over some axes of all products of two tiles that each have one axis more."""
    printer.uses_dot = True
    depth, texts = _extent(common), []
    for (tile, own), is_left in ((left, True), (right, False)):
        order = [own, *common] if is_left else [*common, own]
        text = _permuted(printer.masked(tile, "0"), tile.axes, order)
        shape = f"({own.extent}, {depth})" if is_left else f"({depth}, {own.extent})"
        texts.append(text if len(order) == 2 else f"tl.reshape({text}, {shape})")
    axes = [left[1], right[1]]
    product = _permuted(f"tl.dot({texts[0]}, {texts[1]}, {_PRECISELY})", axes, joined([axes]))
    return printer.emit(f"{name}_sum", product, joined([axes]), Level.EDGE, left[0].dtype)


_PRECISELY = 'input_precision="ieee"'


def _is_large(left: Tile, inner: Axis, column: Axis) -> bool:
    rows = [axis for axis in left.axes if axis != inner]
    is_enough = EDGES in rows or elements(rows) >= _LEAST
    return is_enough and min(inner.padded, column.padded) >= _LEAST


def _dot(printer: Printer, name: str, left: Tile, right: Tile, inner: Axis, column: Axis) -> Tile:
    printer.uses_dot = True
    rows = [axis for axis in left.axes if axis != inner]
    first = _permuted(printer.masked(left, "0"), left.axes, [*rows, inner])
    second = _permuted(printer.masked(right, "0"), right.axes, [inner, column])
    if len(rows) > 1:
        first = f"tl.reshape({first}, ({_extent(rows)}, {inner.extent}))"
    product = f"tl.dot({first}, {second}, {_PRECISELY})"
    if len(rows) > 1:
        sizes = ", ".join(axis.extent for axis in (*rows, column))
        product = f"tl.reshape({product}, ({sizes}))"
    axes = [*rows, column]
    ordered = joined([axes])
    level = max(left.level, right.level)
    product = _permuted(product, axes, ordered)
    return printer.emit(name, product, ordered, level, left.dtype)


def _permuted(text: str, axes: Sequence[Axis], order: Sequence[Axis]) -> str:
    if list(axes) == list(order):
        return text
    places = ", ".join(str(list(axes).index(axis)) for axis in order)
    return f"tl.permute({text}, ({places}))"


def _extent(axes: Sequence[Axis]) -> str:
    return " * ".join(axis.extent for axis in axes)
