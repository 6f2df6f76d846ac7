"""The operations of an edge program in Triton, each at the positions where its result is read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from graphattn.kernels.program import Step
from graphattn.kernels.program.names import identifier
from graphattn.kernels.triton.expressions import (
    COMPARISONS,
    LOGIC,
    computed,
    expression,
    language_type,
    literal,
    number,
)
from graphattn.kernels.triton.moves import Indices, affine, aligned, flat, looked_up
from graphattn.kernels.triton.tiles import Axis, Index, Level, Tile, joined, spread

if TYPE_CHECKING:
    from graphattn.kernels.triton.printer import Printer

_NEUTRAL = {"sum": "0", "prod": "1", "amax": 'float("-inf")', "amin": 'float("inf")'}
_FUNCTIONS = {"sum": "tl.sum", "amax": "greatest", "amin": "least", "prod": "product"}


def pointwise(printer: Printer, step: Step, indices: Indices) -> Tile:
    """An operation on elements, whose operands broadcast."""
    program, operation = printer.program, step.operation
    operands = [
        printer.at(value, aligned(indices, program.shape(value)))
        if isinstance(value, str)
        else value
        for value in step.inputs
    ]
    tiles = [operand for operand in operands if isinstance(operand, Tile)]
    axes, level = joined(t.axes for t in tiles), max(t.level for t in tiles)
    kind = computed(step.dtype)
    wanted: torch.dtype | None = kind
    if operation in LOGIC or operation in ("isinf", "isnan"):
        wanted = None
    elif operation in COMPARISONS:
        wanted = tiles[0].dtype
        for tile in tiles[1:]:
            wanted = torch.promote_types(wanted, tile.dtype)
        if wanted == torch.bool and any(not isinstance(o, Tile) for o in operands):
            wanted = torch.int32
    texts = []
    for place, operand in enumerate(operands):
        if not isinstance(operand, Tile):
            is_base = operation in ("pow", "atan2")  # of the device's library, which takes tiles
            typed = f"tl.full((), {literal(operand)}, {language_type(kind)})"
            texts.append(typed if is_base else number(operand, wanted))
            continue
        text = operand.over(axes)
        is_condition = operation == "where" and place == 0
        if wanted is not None and wanted != operand.dtype and not is_condition:
            text = f"{text}.to({language_type(wanted)})"
        texts.append(text)
    power = step.inputs[1] if operation == "pow" else None
    exponent = float(power) if isinstance(power, int | float) else None
    if kind == torch.bool and operation in ("add", "mul"):
        operation = {"add": "logical_or", "mul": "logical_and"}[operation]
    text = expression(operation, texts, exponent)
    if operation == "sign":
        text = f"({text}).to({language_type(kind)})"
    if operation == "where" and not any(isinstance(o, Tile) for o in operands[1:]):
        text = f"{text}.to({language_type(kind)})"
    return printer.emit(identifier(step.name), text, axes, level, kind)


def reduction(printer: Printer, step: Step, indices: Indices) -> Tile:
    """A sum, product, maximum or minimum along axes of a value."""
    source = step.inputs[0]
    shape, reduced = printer.program.shape(source), step.settings["axes"]
    # Sums may keep their axes, of size one, or not; those that are left keep their order.
    rest = [i for i, size in zip(indices, step.shape, strict=True) if size != 1]
    where: list[Index] = []
    taken = joined(index.axes for index in rest)
    summed: list[Axis] = []
    for place, size in enumerate(shape):
        if size == 1:
            where.append(Index("0"))
        elif place in reduced:
            summed.append(printer.axis(size, joined([taken, summed])))
            where.append(Index.along(summed[-1]))
        else:
            where.append(rest.pop(0))
    return reduce(printer, step, printer.at(source, tuple(where)), summed)


def reduce(printer: Printer, step: Step, tile: Tile, summed: Sequence[Axis]) -> Tile:
    """A sum, product, maximum or minimum along axes of a tile, or that it is the same along."""
    kind, operation = computed(step.dtype), step.operation
    axes, name = list(tile.axes), identifier(step.name)
    is_cast = kind != tile.dtype
    text = f"{tile.text}.to({language_type(kind)})" if is_cast else tile.text
    whole = Tile(text, tile.axes, tile.level, kind)
    own = [axis for axis in summed if axis in axes]
    if any(axis.is_padded for axis in own):
        mask = " & ".join(spread(a.mask, (a,), axes) for a in own if a.is_padded)
        text = f"tl.where({mask}, {text}, {_NEUTRAL[operation]})"
        whole = printer.emit(f"{name}_of", text, axes, tile.level, kind)
    text = whole.text
    for axis in own:
        text = f"{_FUNCTIONS[operation]}({text}, axis={axes.index(axis)})"
        axes.remove(axis)
    repeats = [axis.size for axis in summed if axis not in tile.axes]
    for size in repeats:
        if operation == "sum":
            text = f"{text} * {size}"
        elif operation == "prod":
            text = f"mathematics.pow({text}, tl.full((), {size}, {language_type(kind)}))"
    return printer.emit(name, text, axes, tile.level, kind)


def cat(printer: Printer, step: Step, indices: Indices) -> Tile:
    """Values one after another along an axis."""
    axis, kind, start = step.settings["axis"], computed(step.dtype), 0
    index, parts = indices[axis], []
    for source in step.inputs:
        size = printer.program.shape(source)[axis]
        if size == 0:
            continue
        if index.number is not None and start <= index.number < start + size:
            at = affine(index, 1, -start)
            return printer.at(source, (*indices[:axis], at, *indices[axis + 1 :]))
        # What lies outside of this part is not used, but its address must be a valid one.
        inside = f"tl.minimum(tl.maximum({index.text} - {start}, 0), {size - 1})"
        at = printer.named(Index(inside if size > 1 else "0", index.axes if size > 1 else ()))
        parts.append((start, printer.at(source, (*indices[:axis], at, *indices[axis + 1 :]))))
        start += size
    own_axes = index.axes if len(parts) > 1 else ()
    axes = joined([own_axes, *(tile.axes for _, tile in parts)])
    level = max(tile.level for _, tile in parts)
    place, texts = spread(index.text, own_axes, axes), []
    for start, tile in parts:
        cast = "" if tile.dtype == kind else f".to({language_type(kind)})"
        texts.append((start, f"{tile.over(axes)}{cast}"))
    return printer.emit(identifier(step.name), _chosen(texts, place), axes, level, kind)


def _chosen(parts: Sequence[tuple[int, str]], place: str) -> str:
    """That of some parts in which a place lies: a search by halves, over where parts begin."""
    if len(parts) == 1:
        return parts[0][1]
    half = len(parts) // 2
    left, right = _chosen(parts[:half], place), _chosen(parts[half:], place)
    return f"tl.where({place} < {parts[half][0]}, {left}, {right})"


def constant(printer: Printer, step: Step, indices: Indices) -> Tile:
    """One number, or a table of them."""
    kind = computed(step.dtype)
    values = step.settings.get("values", [step.settings.get("value")])
    index = flat(indices, step.shape, printer.named)
    if index.number is not None:
        values = [values[index.number if len(values) > 1 else 0]]
    if len(set(map(repr, values))) == 1:
        text = f"tl.full((), {literal(values[0])}, {language_type(kind)})"
        return printer.emit(identifier(step.name), text, (), Level.ALL, kind)
    numbers = looked_up([number(v, kind) for v in values], index, lambda i: i)
    text = f"({numbers.text}).to({language_type(kind)})"
    return printer.emit(identifier(step.name), text, index.axes, Level.ALL, kind)
