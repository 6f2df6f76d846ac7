"""Tiles: what a program instance holds of a value at once, and the axes they extend over."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum

import torch


class Level(IntEnum):
    """Where in a pass a value is known: before all rows, in a row, or in the loop over edges."""

    ALL = 0
    ROW = 1
    EDGE = 2


@dataclass(frozen=True)
class Axis:
    """An axis of tiles; in the source, a variable of its name counts along it.

    Attributes:
        order: Axes of a tile come in rising order.
        name: Of the variable.
        size: Number of elements; Triton holds them padded to a power of two.
    """

    order: int
    name: str
    size: int

    @property
    def padded(self) -> int:
        """What Triton holds along the axis."""
        return 1 << (self.size - 1).bit_length()

    @property
    def extent(self) -> str:
        """``padded``, as the source has it."""
        return "BLOCK" if self == EDGES else str(self.padded)

    @property
    def is_padded(self) -> bool:
        """Whether some of what is held is no element."""
        return self == EDGES or self.padded != self.size

    @property
    def mask(self) -> str:
        """The variable that says which are."""
        return "is_edge" if self == EDGES else f"has_{self.name}"


EDGES = Axis(-1, "position", 0)  # as many as a constant of the kernel says


@dataclass(frozen=True)
class Index:
    """Where along an axis of a value elements are read: an expression over the axes it names."""

    text: str
    axes: tuple[Axis, ...] = ()

    @staticmethod
    def along(axis: Axis) -> "Index":
        """Every position of an axis, in order."""
        return Index(axis.name, (axis,))

    @property
    def axis(self) -> Axis | None:
        """The axis that this runs along in order, if there is one."""
        is_plain = len(self.axes) == 1 and self.text == self.axes[0].name
        return self.axes[0] if is_plain else None

    @property
    def number(self) -> int | None:
        """The position, if it is the same everywhere."""
        return int(self.text) if self.text.isdigit() else None


ZERO = Index("0")


@dataclass(frozen=True)
class Tile:
    """A value in the source: the name of a variable, and what it extends over.

    Attributes:
        text: The name.
        axes: One for each of its dimensions; a scalar has none.
        level: Where it is known.
        dtype: What it is computed in.
    """

    text: str
    axes: tuple[Axis, ...]
    level: Level
    dtype: torch.dtype

    def over(self, axes: Sequence[Axis]) -> str:
        """As an expression that broadcasts with tiles over ``axes``."""
        return spread(self.text, self.axes, axes)


def spread(text: str, own: Sequence[Axis], axes: Sequence[Axis]) -> str:
    """An expression over some axes, with a dimension of one for each of the others."""
    if not own or tuple(own) == tuple(axes):
        return text
    subscript = ", ".join(":" if axis in own else "None" for axis in axes)
    is_name = text.isidentifier()
    return f"{text}[{subscript}]" if is_name else f"({text})[{subscript}]"


def joined(parts: Iterable[Sequence[Axis]]) -> tuple[Axis, ...]:
    """All axes of some tiles, in order."""
    return tuple(sorted({axis for part in parts for axis in part}, key=lambda axis: axis.order))


def place(row: str, size: int, at: Index, axes: Sequence[Axis]) -> str:
    """Where an element lies: in a row of this size that each edge has its own number of."""
    start = spread(row if size == 1 else f"{row} * {size}", (EDGES,), axes)
    return start if at.number == 0 else f"{start} + {spread(at.text, at.axes, axes)}"


def elements(axes: Iterable[Axis]) -> int:
    """Number of elements held for one edge."""
    return math.prod(axis.padded for axis in axes if axis != EDGES)


def mask_over(axes: Sequence[Axis]) -> str:
    """Which elements of a tile are there; empty if all are."""
    return " & ".join(spread(axis.mask, (axis,), axes) for axis in axes if axis.is_padded)
