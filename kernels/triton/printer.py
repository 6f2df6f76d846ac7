"""Prints the steps of an edge program as Triton over tiles of edges.

A value is printed where it is read: ``Printer.at`` gives the tile of its elements at some
positions. What only moves elements thus becomes arithmetic on positions, and a value that is read
in two ways is computed in both. The source is meant to be read: variables carry the names of the
program's values.
"""

from collections.abc import Callable, Sequence

import torch

from graphattn.kernels.program import Program, Step
from graphattn.kernels.program.names import identifier
from graphattn.kernels.program.operations import POINTWISE, REDUCTIONS
from graphattn.kernels.triton.contractions import matmul
from graphattn.kernels.triton.expressions import (
    COMPARISONS,
    LOGIC,
    computed,
    expression,
    language_type,
    literal,
)
from graphattn.kernels.triton.moves import Indices, affine, aligned, flat, looked_up, moved
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
_NEUTRAL = {"sum": "0", "prod": "1", "amax": 'float("-inf")', "amin": 'float("inf")'}
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
        self, program: Program, rows: dict[str, tuple[str, Level]], given: dict[str, Given]
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
        if EDGES in axes or (level == Level.ALL and elements(axes) > _MOST_KEPT):
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
        """Elements of a row of memory.

        Args:
            name: Of the variable.
            pointer: To the first row.
            row: Number of the row, and where it is known; ``""`` for memory of one row.
            size: Elements of a row.
            at: Position within the row.
            dtype: Element type of the memory.
        """
        number, level = row
        by_edge = (EDGES,) if level == Level.EDGE else ()
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
        return self.emit(name, text, axes, level, kind)

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
            return self._pointwise(step, indices)
        if operation in REDUCTIONS:
            return self._reduction(step, indices)
        if operation == "matmul":
            return matmul(self, step, indices)
        if operation == "cat":
            return self._cat(step, indices)
        if operation in ("fill", "constant"):
            return self._constant(step, indices)
        source = step.inputs[0]
        where = moved(step, self.program.shape(source), indices, self.named)
        tile = self.at(source, where)
        kind = computed(step.dtype)
        if operation == "cast" and kind != tile.dtype:
            text = f"{tile.text} != 0" if kind == torch.bool else None
            text = text or f"{tile.text}.to({language_type(kind)})"
            return self.emit(name, text, tile.axes, tile.level, kind)
        return tile

    def _pointwise(self, step: Step, indices: Indices) -> Tile:
        program, operation = self.program, step.operation
        operands = [
            self.at(value, aligned(indices, program.shape(value)))
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
                texts.append(literal(operand))
                continue
            text = operand.over(axes)
            is_condition = operation == "where" and place == 0
            if wanted not in (None, operand.dtype) and not is_condition:
                text = f"{text}.to({language_type(wanted)})"  # type: ignore[arg-type]
            texts.append(text)
        number = step.inputs[1] if operation == "pow" else None
        exponent = float(number) if isinstance(number, int | float) else None
        text = expression(operation, texts, exponent)
        if operation == "where" and not any(isinstance(o, Tile) for o in operands[1:]):
            text = f"{text}.to({language_type(kind)})"
        return self.emit(identifier(step.name), text, axes, level, kind)

    def _reduction(self, step: Step, indices: Indices) -> Tile:
        source = step.inputs[0]
        shape, reduced = self.program.shape(source), step.settings["axes"]
        # Sums may keep their axes, of size one, or not; those that are left keep their order.
        rest = [i for i, size in zip(indices, step.shape, strict=True) if size != 1]
        where: list[Index] = []
        taken = joined(index.axes for index in rest)
        summed: list[Axis] = []
        for place, size in enumerate(shape):
            if size == 1:
                where.append(Index("0"))
            elif place in reduced:
                summed.append(self.axis(size, joined([taken, summed])))
                where.append(Index.along(summed[-1]))
            else:
                where.append(rest.pop(0))
        return self.reduce(step, self.at(source, tuple(where)), summed)

    def reduce(self, step: Step, tile: Tile, summed: Sequence[Axis]) -> Tile:
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
            whole = self.emit(f"{name}_of", text, axes, tile.level, kind)
        text = whole.text
        functions = {"sum": "tl.sum", "amax": "greatest", "amin": "least", "prod": "product"}
        for axis in own:
            text = f"{functions[operation]}({text}, axis={axes.index(axis)})"
            axes.remove(axis)
        repeats = [axis.size for axis in summed if axis not in tile.axes]
        for size in repeats:
            if operation == "sum":
                text = f"{text} * {size}"
            elif operation == "prod":
                text = f"mathematics.pow({text}, {size})"
        return self.emit(name, text, axes, tile.level, kind)

    def _cat(self, step: Step, indices: Indices) -> Tile:
        axis, kind, start = step.settings["axis"], computed(step.dtype), 0
        index, parts, following = indices[axis], [], 0
        for source in step.inputs:
            size = self.program.shape(source)[axis]
            if index.number is not None and start <= index.number < start + size:
                at = affine(index, 1, -start)
                return self.at(source, (*indices[:axis], at, *indices[axis + 1 :]))
            # What lies outside of this part is not used, but its address must be a valid one.
            inside = f"tl.minimum(tl.maximum({index.text} - {start}, 0), {size - 1})"
            at = self.named(Index(inside if size > 1 else "0", index.axes if size > 1 else ()))
            parts.append((start, self.at(source, (*indices[:axis], at, *indices[axis + 1 :]))))
            start += size
        axes = joined([index.axes, *(tile.axes for _, tile in parts)])
        level = max(tile.level for _, tile in parts)
        text = ""
        for start, tile in reversed(parts):
            own = tile.over(axes)
            if tile.dtype != kind:
                own = f"{own}.to({language_type(kind)})"
            place = spread(index.text, index.axes, axes)
            text = f"tl.where({place} >= {following}, {text}, {own})" if text else own
            following = start
        return self.emit(identifier(step.name), text, axes, level, kind)

    def _constant(self, step: Step, indices: Indices) -> Tile:
        kind = computed(step.dtype)
        values = step.settings.get("values", [step.settings.get("value")])
        if len(set(map(repr, values))) == 1:
            text = f"tl.full((), {literal(values[0])}, {language_type(kind)})"
            return self.emit(identifier(step.name), text, (), Level.ALL, kind)
        index = flat(indices, step.shape, self.named)
        numbers = Index(looked_up([literal(v) for v in values], index, lambda i: i).text)
        text = f"({numbers.text}).to({language_type(kind)})"
        return self.emit(identifier(step.name), text, index.axes, Level.ALL, kind)
