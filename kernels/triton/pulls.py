"""The Triton of a backward pass by which an edge's weight gets its gradient."""

from graphattn.kernels.program import Program
from graphattn.kernels.triton.expressions import language_type
from graphattn.kernels.triton.forward import kept_by_dropout
from graphattn.kernels.triton.frame import Frame, whole
from graphattn.kernels.triton.moves import Indices, affine, flat
from graphattn.kernels.triton.printer import Printer
from graphattn.kernels.triton.tiles import (
    EDGES,
    Index,
    Level,
    Tile,
    joined,
    mask_over,
    place,
    spread,
)


class Pulls:
    """Weights of edges and their gradients, as statements of a pass.

    Args:
        printer: Of the values of an edge.
        program: A derivative.

    Attributes:
        name: What weights are made from, and get their gradient through.
        own: Where a tile of a number for every head is read.
        axes: Of a tile of a number for every edge and head.
    """

    def __init__(self, printer: Printer, program: Program) -> None:
        self.printer, self.program, self.outputs = printer, program, program.outputs
        self.heads = program.num_heads
        self.name = "logits" if program.reduction == "softmax" else "weights"
        self.own = printer.canonical((1, self.heads))
        self.row_axes = joined(index.axes for index in self.own)
        self.axes = joined([(EDGES,), self.row_axes])
        self.kind = language_type(program.sum_dtype)
        self.of_row: dict[str, Tile] = {}  # what belongs to a target

    def row(self, frame: Frame) -> None:
        """What belongs to a target: what its softmax takes off the gradient of each weight.

        That is the sum over its edges of weight times the gradient of the weight: the gradient of
        the output times the output, and what arrived at the weights themselves.
        """
        program, heads, at = self.program, self.heads, self.own[1]
        if frame.layout == "blocks":  # formed outside, where rows of the output are at hand
            self.of_row["delta_of"] = self._number("delta_of", "delta", heads, at)
        else:
            self._delta(frame)
        if program.reduction == "none":
            return
        if program.reduction == "softmax":
            largest = self._number("largest_of", "norm", 2 * heads, at)
            total = self._number("total_of", "norm", 2 * heads, affine(at, 1, heads))
            shift = f'tl.where({largest.text} == float("-inf"), 0, {largest.text})'
            self._emit("shift_of", shift, largest)
        else:
            total = self._number("total_of", "norm", heads, at)
        # Unlike an infinite total, whose gradients are NaN.
        is_empty = self._emit("is_empty", f"{total.text} == 0", total)
        self._emit("factor_of", f"tl.where({is_empty.text}, 0, 1 / {total.text})", total)

    def _delta(self, frame: Frame) -> None:
        printer, row = self.printer, self.printer.rows["target"]
        everything = printer.canonical((1, self.heads, self.program.channels))
        grad_output, output = (
            self.of_targets(name, everything) for name in ("grad_output", "output")
        )
        channels = [axis for axis in grad_output.axes if axis not in self.row_axes]
        given = f"{grad_output.text} * {output.text}"
        if channels:
            mask = mask_over(grad_output.axes)
            given = f"tl.where({mask}, {given}, 0)" if mask else given
            given = f"tl.sum({given}, axis={grad_output.axes.index(channels[0])})"
        delta = printer.emit("delta_of", given, self.row_axes, row[1], self.program.sum_dtype)
        arrived, *_ = printer.loaded("delta", row, self.heads, self.own[1], delta.dtype)
        frame.do("if delta is not None:", f"    {delta.text} += {arrived}", level=Level.ROW)
        self.of_row["delta_of"] = delta

    def _number(self, name: str, pointer: str, size: int, at: Index) -> Tile:
        """A number that belongs to every head of a target."""
        row = self.printer.rows["target"]
        return self.printer.load(name, pointer, row, size, at, self.program.sum_dtype)

    def _emit(self, name: str, text: str, like: Tile) -> Tile:
        dtype = self.program.sum_dtype
        self.of_row[name] = self.printer.emit(name, text, like.axes, like.level, dtype)
        return self.of_row[name]

    def pull(self, frame: Frame) -> None:
        """The weights of a tile's edges again, and from the gradient of each that of its logit."""
        reduction = self.program.reduction
        made, message = (self.printer.tile(self.outputs[n]) for n in (self.name, "message"))
        of_row = {name: tile.over(self.axes) for name, tile in self.of_row.items()}
        is_edge = spread("is_edge", (EDGES,), self.axes)
        value = f"{whole(made, self.axes)}.to({self.kind})"
        # A weight of zero has a gradient of zero whatever it is multiplied by: a row of -inf has
        # NaN there.
        if reduction == "softmax":
            weight = f"tl.exp({value} - {of_row['shift_of']}) * {of_row['factor_of']}"
            gradient = f"tl.where(made == 0, 0, made * (pulled - {of_row['delta_of']}))"
        elif reduction == "sum":
            weight = f"{value} * {of_row['factor_of']}"
            gradient = f"(pulled - {of_row['delta_of']}) * {of_row['factor_of']}"
            gradient = f"tl.where({of_row['is_empty']}, 0, {gradient})"
        else:
            weight, gradient = value, "pulled"
        pull = self._pulled(message)
        frame.do(
            f"made = tl.where({is_edge}, {weight}, 0)",
            f"pulled = tl.where({is_edge}, {whole(pull, self.axes)}, 0).to({self.kind})",
            "weight = made",
            *kept_by_dropout(frame, self.heads, self.axes, "weight", "pulled"),
            "if all_grad_weights is not None:",
            f"    pulled += {self._of_edges('all_grad_weights')}",
            f"grad_of_{self.name} = {gradient}",
        )
        if reduction == "softmax":
            frame.do(
                "if all_grad_logits is not None:",
                f"    grad_of_logits += {self._of_edges('all_grad_logits')}",
            )
        mask = mask_over(self.axes)
        frame.do(
            "if state is not None:",
            f"    tl.store({self._state('position', 0)}, weight, mask={mask})",
            f"    tl.store({self._state('position', 1)}, grad_of_{self.name}, mask={mask})",
        )

    def left(self, frame: Frame) -> None:
        """What the pass by target left for the edges of a tile."""
        mask = mask_over(self.axes)
        frame.do(
            "there = tl.load(twin + position, mask=is_edge, other=0).to(tl.int64)",
            f"weight = tl.load({self._state('there', 0)}, mask={mask}, other=0)",
            f"grad_of_{self.name} = tl.load({self._state('there', 1)}, mask={mask}, other=0)",
        )

    def arriving_logits(self, frame: Frame) -> None:
        """The gradient of logits that no weights are made from: what arrived at them."""
        shape = "".join(f"{axis.extent}, " for axis in self.axes)
        frame.do(
            f"grad_of_logits = tl.zeros(({shape}), {self.kind})",
            "if all_grad_logits is not None:",
            f"    grad_of_logits += {self._of_edges('all_grad_logits')}",
        )

    def of_targets(self, name: str, indices: Indices) -> Tile:
        """The gradient of the output, or the output, at some positions."""
        key = (f"@{name}", tuple(index.text for index in indices))
        if key not in self.printer.tiles:
            shape = (1, self.heads, self.program.channels)
            at = flat(indices, shape, self.printer.named)
            row, dtype = self.printer.rows["target"], self.program.sum_dtype
            size = self.heads * self.program.channels
            self.printer.tiles[key] = self.printer.load(name, f"all_{name}", row, size, at, dtype)
        return self.printer.tiles[key]

    def _pulled(self, message: Tile) -> Tile:
        """The gradient of the output times the message, for every head."""
        printer, shape = self.printer, (1, self.heads, self.program.channels)
        grad_output = self.of_targets("grad_output", printer.canonical(shape))
        axes = joined([grad_output.axes, message.axes])
        product = f"{grad_output.over(axes)} * {message.over(axes)}"
        channels = [axis for axis in axes if axis != EDGES and axis not in self.row_axes]
        level = max(grad_output.level, message.level)
        made = printer.emit("pull_of", product, axes, level, self.program.sum_dtype)
        if not channels:
            return made
        rest = [axis for axis in axes if axis not in channels]
        text = f"tl.sum({printer.masked(made, '0')}, axis={axes.index(channels[0])})"
        return printer.emit("pull", text, rest, level, self.program.sum_dtype)

    def _state(self, row: str, number: int) -> str:
        """Where the numbers of a row of the state lie: the weight, 0, or its gradient, 1."""
        start = place(row, 2 * self.heads, self.own[1], self.axes)
        return f"state + {start} + {self.heads}" if number else f"state + {start}"

    def _of_edges(self, pointer: str) -> str:
        """A number for every edge and head, in the order of the structure."""
        number = f"{pointer} + {place('edge', self.heads, self.own[1], self.axes)}"
        return f"tl.load({number}, mask={mask_over(self.axes)}, other=0).to({self.kind})"
