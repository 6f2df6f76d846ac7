"""Where the elements of a value that only moves elements come from."""

import math
from collections.abc import Callable, Sequence

from graphattn.kernels.program import Step
from graphattn.kernels.triton.tiles import ZERO, Index, joined, spread

Named = Callable[[Index], Index]  # gives an expression a variable of its own
Indices = tuple[Index, ...]


def moved(step: Step, shape: Sequence[int], indices: Indices, named: Named) -> Indices:
    """Where a view, permutation, slice, selection, expansion or cast reads its input.

    Args:
        step: The operation.
        shape: Of its input.
        indices: Where its result is read.
        named: See above.
    """
    axis = step.settings.get("axis", 0)
    if step.operation == "view":
        return reshaped(indices, step.shape, shape, named)
    if step.operation == "permute":
        sources = step.settings["axes"]
        return tuple(indices[sources.index(own)] for own in range(len(shape)))
    if step.operation == "slice":
        start, stride = step.settings["start"], step.settings["step"]
        at_axis = affine(indices[axis], stride, start)
    elif step.operation == "take":
        at_axis = looked_up(step.settings["positions"], indices[axis], named)
    else:  # expand, cast: the same position, counted from the last axis
        return aligned(indices, shape)
    return (*indices[:axis], named(at_axis), *indices[axis + 1 :])


def aligned(indices: Indices, shape: Sequence[int]) -> Indices:
    """Where an operand of this shape is read, if the result is at ``indices``: as broadcast."""
    last = indices[len(indices) - len(shape) :]
    return tuple(ZERO if size == 1 else i for size, i in zip(shape, last, strict=True))


def affine(index: Index, factor: int, offset: int) -> Index:
    """``factor * index + offset``."""
    if index.number is not None:
        return Index(str(factor * index.number + offset))
    text = index.text if factor == 1 else f"{index.text} * {factor}"
    return Index(f"{text} + {offset}" if offset else text, index.axes)


def flat(indices: Indices, shape: Sequence[int], named: Named) -> Index:
    """The position in row-major order."""
    terms, stride = [], 1
    for index, size in zip(reversed(indices), reversed(shape), strict=True):
        if index.number != 0:
            terms.append(named(affine(index, stride, 0)))
        stride *= size
    if len(terms) < 2:
        return terms[0] if terms else ZERO
    axes = joined(term.axes for term in terms)
    text = " + ".join(spread(term.text, term.axes, axes) for term in reversed(terms))
    return named(Index(text, axes))


def reshaped(
    indices: Indices, shape: Sequence[int], source: Sequence[int], named: Named
) -> Indices:
    """Where a value of shape ``source`` is read, if its view of ``shape`` is at ``indices``.

    Axes that stay whole keep their index; those that are joined or split get an expression.
    """
    found: list[Index] = [ZERO] * len(source)
    ours = [axis for axis, size in enumerate(shape) if size != 1]
    theirs = [axis for axis, size in enumerate(source) if size != 1]
    while ours:
        own, other = [ours.pop(0)], [theirs.pop(0)]
        while (size := _size(shape, own)) != (given := _size(source, other)):
            (own if size < given else other).append((ours if size < given else theirs).pop(0))
        index = flat(tuple(indices[a] for a in own), [shape[a] for a in own], named)
        stride = given
        for place, axis in enumerate(other):
            stride //= source[axis]
            found[axis] = named(_digit(index, stride, source[axis], is_first=place == 0))
    return tuple(found)


def looked_up(positions: Sequence[object], index: Index, named: Named) -> Index:
    """The position that a constant table holds at an index."""
    if index.number is not None:
        return Index(str(positions[index.number]))
    return named(Index(_searched(positions, 0, index.text), index.axes))


def _searched(values: Sequence[object], first: int, place: str) -> str:
    """A table as a search by halves: nested no deeper than the logarithm of its length."""
    if all(value == values[0] for value in values):
        return str(values[0])
    half = len(values) // 2
    left = _searched(values[:half], first, place)
    right = _searched(values[half:], first + half, place)
    return f"tl.where({place} < {first + half}, {left}, {right})"


def _size(shape: Sequence[int], axes: Sequence[int]) -> int:
    return math.prod(shape[axis] for axis in axes)


def _digit(index: Index, stride: int, size: int, *, is_first: bool) -> Index:
    if index.number is not None:
        return Index(str(index.number // stride % size))
    text = index.text if stride == 1 else f"{index.text} // {stride}"
    if not is_first:
        text = f"({text}) % {size}" if stride != 1 else f"{text} % {size}"
    return Index(text, index.axes)
