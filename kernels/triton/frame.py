"""The frame of every pass: pieces of rows in parallel, tiles of edges in a loop, no atomics."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from graphattn.kernels.edge_attention.rows import End, Layout
from graphattn.kernels.program import Program
from graphattn.kernels.program.names import identifier
from graphattn.kernels.triton.expressions import language_type, pointer_type
from graphattn.kernels.triton.moves import flat
from graphattn.kernels.triton.printer import Printer
from graphattn.kernels.triton.templates import MERGE, PASS, PRELUDE, filled
from graphattn.kernels.triton.tiles import Axis, Index, Level, Tile, joined, mask_over, spread

Parameters = list[tuple[str, str]]


@dataclass(frozen=True)
class Field:
    """What a pass gathers over a row's edges.

    Attributes:
        name: Of the variable.
        axes: Of its tile.
        at: Where each of its elements lies among ``size`` in memory.
        size: Number of elements.
        first: What it is before any edge.
    """

    name: str
    axes: tuple[Axis, ...]
    at: Index
    size: int
    first: str = "0"

    @staticmethod
    def of(printer: Printer, name: str, shape: Sequence[int], first: str = "0") -> "Field":
        """A field for values of this shape."""
        indices = printer.canonical(shape)
        at, axes = flat(indices, shape, printer.named), joined(index.axes for index in indices)
        return Field(name, axes, at, math.prod(shape), first)

    def position(self) -> str:
        """``at``, over the axes of the tile."""
        return spread(self.at.text, self.at.axes, self.axes)

    def stored(self, pointer: str, value: str) -> str:
        """A statement that writes the elements of a tile to where ``pointer`` says."""
        there = mask_over(self.axes)
        mask = f", mask={there}" if there else ""
        return f"tl.store({pointer} + {self.position()}, {value}{mask})"

    def loaded(self, pointer: str) -> str:
        """An expression that reads them."""
        there = mask_over(self.axes)
        mask = f", mask={there}, other=0" if there else ""
        return f"tl.load({pointer} + {self.position()}{mask})"


@dataclass(frozen=True)
class Source:
    """The source of a pass.

    Attributes:
        name: Of its kernel; that by which parts of rows are merged is called ``{name}_merge``.
        text: Python source of both.
        parameters: Names and kinds of the kernel's parameters, as Triton's signatures have them.
        merge_parameters: Those of the other.
        row_size: Number of elements that a part of a row leaves.
        sum_dtype: Their type.
        is_grouped: Whether an instance works on many pieces, to sum something over all edges.
        widest: Elements that an edge has in the largest tile.
        least_edges: Of a tile.
    """

    name: str
    text: str
    parameters: tuple[tuple[str, str], ...]
    merge_parameters: tuple[tuple[str, str], ...]
    row_size: int
    sum_dtype: torch.dtype
    is_grouped: bool
    widest: int
    least_edges: int


@dataclass
class Frame:
    """A pass in the making.

    Attributes:
        name: Of the pass.
        comment: What it computes.
        end: The end of the edges that its rows are.
        printer: Of the values of an edge.
        sum_dtype: Type of sums.
        parameters: But for those that every pass has: names and kinds.
        layout: How edges are found.
        fields: What is gathered over a row's edges.
        sums: What is gathered over all edges of an instance, and the pointer it is written to.
        merge: Statements that add ``other_NAME`` of every field to ``NAME``.
        finish: Statements that write what a row's edges gave.
    """

    name: str
    comment: str
    end: End
    printer: Printer
    sum_dtype: torch.dtype
    parameters: Parameters
    layout: Layout = "edges"
    fields: list[Field] = field(default_factory=list)
    sums: list[tuple[Field, str]] = field(default_factory=list)
    merge: list[str] = field(default_factory=list)
    finish: list[str] = field(default_factory=list)

    def do(self, *lines: str, level: Level = Level.EDGE) -> None:
        """Adds statements."""
        self.printer.lines[level] += lines

    def source(self) -> Source:
        """The text of the pass, and of the kernel that merges parts of rows."""
        given: Parameters = [*_OF_ROWS, ("parts", pointer_type(self.sum_dtype)), *self.parameters]
        merge_given: Parameters = [*_OF_MERGE, given[-len(self.parameters) - 1], *self.parameters]
        own = self._fill(PASS, given)
        merge = self._fill(MERGE, merge_given) if self.fields else ""
        return Source(
            name=self.name,
            text="\n\n".join(filter(None, [PRELUDE, own, merge])) + "\n",
            parameters=(*given, *((name, "constexpr") for name in _CONSTANTS)),
            merge_parameters=tuple(merge_given),
            row_size=sum(field.size for field in self.fields),
            sum_dtype=self.sum_dtype,
            is_grouped=bool(self.sums),
            widest=self.printer.widest,
            least_edges=16 if self.printer.uses_dot else 1,
        )

    def _fill(self, template: str, parameters: Parameters) -> str:
        lines = self.printer.lines
        places: dict[str, list[str]] = {
            "name": [self.name],
            "comment": [self.comment],
            "end": [self.end],
            "parameters": [name + "," for name, _ in parameters],
            "axes": self._axes(),
            "all": [*lines[Level.ALL], *(self._clear(field) for field, _ in self.sums)],
            "row": [*lines[Level.ROW], *map(self._clear, self.fields)],
            "edge": lines[Level.EDGE],
            "clear": [*map(self._clear, self.fields)],
            "finish": self.finish or ["pass"],
            "park": [self._parked(f, k).stored("part", f.name) for k, f in enumerate(self.fields)]
            or ["pass"],
            "fetch": [
                f"other_{f.name} = {self._parked(f, k).loaded('part')}"
                for k, f in enumerate(self.fields)
            ],
            "merge": self.merge,
            "sums": [
                f.stored(f"{pointer} + tl.program_id(0) * {f.size}", f.name)
                for f, pointer in self.sums
            ],
            "first": ["tl.program_id(0) * PIECES" if self.sums else "tl.program_id(0)"],
            "stop": ["PIECES" if self.sums else "1"],
            "row_size": [str(sum(field.size for field in self.fields))],
        }
        return filled(template, places)

    def _axes(self) -> list[str]:
        made = sorted(
            (a for axes in self.printer.axes.values() for a in axes), key=lambda a: a.order
        )
        lines = []
        for axis in made:
            lines.append(f"{axis.name} = tl.arange(0, {axis.padded})")
            if axis.is_padded:
                lines.append(f"{axis.mask} = {axis.name} < {axis.size}")
        return lines

    def _clear(self, field: Field) -> str:
        shape = ", ".join(axis.extent for axis in field.axes) + ("," if field.axes else "")
        return f"{field.name} = tl.full(({shape}), {field.first}, {language_type(self.sum_dtype)})"

    def _parked(self, field: Field, number: int) -> Field:
        before = sum(other.size for other in self.fields[:number])
        text = f"{field.at.text} + {before}" if before else field.at.text
        return Field(field.name, field.axes, Index(text, field.at.axes), field.size)


def whole(tile: Tile, axes: tuple[Axis, ...]) -> str:
    """A tile as an expression that has all of some axes, also those that it is the same along."""
    if tile.axes == axes:
        return tile.text
    return f"tl.broadcast_to({tile.over(axes)}, ({''.join(axis.extent + ', ' for axis in axes)}))"


def input_parameters(program: Program) -> Parameters:
    """Names and kinds of a kernel's parameters for the inputs of a program, in their order."""
    return [
        (f"{spec.role}_{identifier(name)}", pointer_type(spec.dtype))
        for name, spec in program.inputs.items()
        if spec.role in ("target", "source", "edge", "shared")
    ]


_OF_ROWS: Parameters = [
    ("row_of_piece", "*i64"),
    ("first_piece", "*i64"),
    ("first_slot", "*i64"),
    ("ptr", "*i64"),
    ("neighbor", "*i32"),
    ("order", "*i32"),
    ("twin", "*i32"),
    ("num_rows", "i64"),
    ("num_pieces", "i64"),
]
_OF_MERGE: Parameters = [("split_rows", "*i64"), ("first_slot", "*i64"), ("num_rows", "i64")]
_CONSTANTS = ("SCALE", "BLOCK", "PIECE", "PIECES")
