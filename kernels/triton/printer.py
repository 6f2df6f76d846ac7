"""Prints the steps of an edge program as Triton over tiles of edges.

A value is printed where it is read: ``Printer.at`` gives the tile of its elements at some
positions. What only moves elements thus becomes arithmetic on positions, and a value that is read
in two ways is computed in both. The source is meant to be read: variables carry the names of the
program's values.
"""

from collections.abc import Callable, Mapping, Sequence

import torch

from graphattn.kernels.program import Program, Step
from graphattn.kernels.program.names import identifier
from graphattn.kernels.program.operations import POINTWISE, REDUCTIONS
from graphattn.kernels.triton.contractions import matmul
from graphattn.kernels.triton.expressions import (
    computed,
    language_type,
)
from graphattn.kernels.triton.moves import Indices, flat, moved
from graphattn.kernels.triton.operations import cat, constant, pointwise, reduction
from graphattn.kernels.triton.tiles import (
    EDGES,
    Axis,
    Index,
    Level,
    Tile,
    elements,
    joined,
    mask_over,
    spread,
)

# What is shared by all edges and larger is not kept in registers, but read for each tile of edges.
_MOST_KEPT = 1024
# Sums are computed once, and so is what tells whether a value is the largest: computed again, the
# value may differ in its last bit.
_ONCE = (*REDUCTIONS, "matmul", "eq", "ne")
Given = Callable[[Indices], Tile]


class Printer:
    """Source for the values of one program in one pass.

    Args:
        program: The program.
        rows: For every role of inputs, the variable that holds the number of the row to read, and
            whether it differs from edge to edge.
        given: Values that the pass makes: tiles by position.
    """

    def __init__(
        self, program: Program, rows: dict[str, tuple[str, Level]], given: Mapping[str, Given]
    ) -> None:
        self.program, self.rows, self.given = program, rows, given
        self.steps = {step.name: step for step in program.steps}
        self.lines: dict[Level, list[str]] = {level: [] for level in Level}
        self.axes: dict[int, list[Axis]] = {}
        self.widest = 1  # elements that an edge has in the largest tile
        self.uses_dot = False
        self.tiles: dict[tuple[str, tuple[str, ...]], Tile] = {}
        self._names: dict[str, int] = {}
        self._indices: dict[Index, Index] = {}

    def axis(self, size: int, others: Sequence[Axis] = ()) -> Axis:
        """The first axis of this size that is not among others."""
        known = self.axes.setdefault(size, [])
        for axis in known:
            if axis not in others:
                return axis
        letter = "abcdefghijklmnopqrstuvw"[len(known)]
        axis = Axis(sum(map(len, self.axes.values())), f"{letter}{size}", size)
        known.append(axis)
        return axis

    def canonical(self, shape: Sequence[int]) -> Indices:
        """Every element of a value of this shape: an axis for each of its own but those of one."""
        found: list[Index] = []
        for size in shape:
            taken = joined(index.axes for index in found)
            found.append(Index.along(self.axis(size, taken)) if size != 1 else Index("0"))
        return tuple(found)

    def tile(self, name: str) -> Tile:
        """All elements of a value."""
        return self.at(name, self.canonical(self.program.shape(name)))

    def at(self, name: str, indices: Indices) -> Tile:
        """The elements of a value at some positions, one index for each of its axes."""
        key = (name, tuple(index.text for index in indices))
        if key not in self.tiles:
            if name in self.given:
                self.tiles[key] = self.given[name](indices)
            elif name in self.program.inputs:
                self.tiles[key] = self._input(name, indices)
            else:
                self.tiles[key] = self._step(self.steps[name], indices)
        return self.tiles[key]

    def emit(
        self, name: str, text: str, axes: Sequence[Axis], level: Level, dtype: torch.dtype
    ) -> Tile:
        """Gives an expression a variable."""
        if EDGES in axes:
            level = Level.EDGE
        if level == Level.EDGE:
            self.widest = max(self.widest, elements(axes))
        count = self._names.get(name, 0)
        self._names[name] = count + 1
        variable = f"{name}_{count + 1}" if count else name
        self.lines[level].append(f"{variable} = {text}")
        return Tile(variable, tuple(axes), level, dtype)

    def named(self, index: Index) -> Index:
        """The index as a variable, if it is more than one already."""
        if index.text.isidentifier() or index.number is not None:
            return index
        if index not in self._indices:
            made = self.emit("index", index.text, index.axes, Level.ALL, torch.int32)
            self._indices[index] = Index(made.text, index.axes)
        return self._indices[index]

    def load(
        self,
        name: str,
        pointer: str,
        row: tuple[str, Level],
        size: int,
        at: Index,
        dtype: torch.dtype,
    ) -> Tile:
        """Elements of a row of memory; see ``loaded``."""
        text, axes, level = self.loaded(pointer, row, size, at, dtype)
        return self.emit(name, text, axes, level, computed(dtype))

    def loaded(
        self, pointer: str, row: tuple[str, Level], size: int, at: Index, dtype: torch.dtype
    ) -> tuple[str, tuple[Axis, ...], Level]:
        """An expression that reads elements of a row of memory, its axes, and where it is known.

        Args:
            pointer: To the first row.
            row: Number of the row, and where it is known; ``""`` for memory of one row.
            size: Elements of a row.
            at: Position within the row.
            dtype: Element type of the memory.
        """
        number, level = row
        if level == Level.ALL and elements(at.axes) > _MOST_KEPT:
            level = Level.EDGE
        by_edge = (EDGES,) if number and level == Level.EDGE else ()
        axes = joined([by_edge, at.axes])
        base = pointer
        if number:
            offset = number if size == 1 else f"{number} * {size}"
            base = f"{pointer} + {offset}"
        text = spread(base, by_edge, axes)
        if at.number != 0:
            text += f" + {spread(at.text, at.axes, axes)}"
        mask = mask_over(axes)
        text = f"tl.load({text}, mask={mask}, other=0)" if mask else f"tl.load({text})"
        kind = computed(dtype)
        if kind != dtype:
            text += f".to({language_type(kind)})"
        return text, axes, level

    def masked(self, tile: Tile, otherwise: str) -> str:
        """A tile with a number in place of what is no element."""
        mask = mask_over(tile.axes)
        return f"tl.where({mask}, {tile.text}, {otherwise})" if mask else tile.text

    def selected(self, tile: Tile, own: Indices, indices: Indices) -> Tile:
        """Elements of a tile that lies in registers, known at ``own``, at other positions.

        There is no way to address registers, so each element is picked out of all of its axis.
        """
        wanted = joined(index.axes for index in indices)
        moves = [
            (here.axis, there)
            for here, there in zip(own, indices, strict=True)
            if here.axis is not None and here != there
        ]
        # An axis that something else is to be read along makes room first.
        for place, (axis, there) in enumerate(moves):
            if axis in wanted:
                free = self.axis(axis.size, joined([tile.axes, wanted]))
                tile = self._picked(tile, axis, Index.along(free))
                moves[place] = (free, there)
        for axis, there in moves:
            tile = self._picked(tile, axis, there)
        return tile

    def _picked(self, tile: Tile, axis: Axis, index: Index) -> Tile:
        kept = joined([[own for own in tile.axes if own != axis], index.axes])
        axes = joined([kept, [axis]])
        match = f"{spread(axis.name, [axis], axes)} == {spread(index.text, index.axes, axes)}"
        is_flag = tile.dtype == torch.bool
        text = f"{tile.text}.to(tl.int32)" if is_flag else tile.text
        text = f"tl.where({match}, {spread(text, tile.axes, axes)}, 0)"
        text = f"tl.sum({text}, axis={axes.index(axis)}){' != 0' if is_flag else ''}"
        return self.emit(f"{tile.text}_at", text, kept, tile.level, tile.dtype)

    def _input(self, name: str, indices: Indices) -> Tile:
        spec = self.program.inputs[name]
        shape, variable = self.program.shape(name), identifier(name)
        at = flat(indices, shape, self.named)
        row = self.rows[spec.role]
        return self.load(
            variable, f"{spec.role}_{variable}", row, self.program.size(name), at, spec.dtype
        )

    def _step(self, step: Step, indices: Indices) -> Tile:
        operation, name = step.operation, identifier(step.name)
        if operation in _ONCE and indices != (own := self.canonical(step.shape)):
            return self.selected(self.at(step.name, own), own, indices)
        if operation in POINTWISE:
            return pointwise(self, step, indices)
        if operation in REDUCTIONS:
            return reduction(self, step, indices)
        if operation == "matmul":
            return matmul(self, step, indices)
        if operation == "cat":
            return cat(self, step, indices)
        if operation in ("fill", "constant"):
            return constant(self, step, indices)
        source = step.inputs[0]
        where = moved(step, self.program.shape(source), indices, self.named)
        tile = self.at(source, where)
        kind = computed(step.dtype)
        if operation == "cast" and kind != tile.dtype:
            text = f"{tile.text} != 0" if kind == torch.bool else None
            text = text or f"{tile.text}.to({language_type(kind)})"
            return self.emit(name, text, tile.axes, tile.level, kind)
        return tile
