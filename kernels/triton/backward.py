"""The backward passes of an edge program in Triton: one by target row, one by source row.

The pass by target leaves, for each edge and head, the weight after dropout and the gradient of the
logit (of the program's weight, where there is no softmax); the pass by source reads them.
"""

import math

from graphattn.kernels.edge_attention.rows import End
from graphattn.kernels.program import Program
from graphattn.kernels.program.names import identifier
from graphattn.kernels.triton.contractions import summed_product
from graphattn.kernels.triton.expressions import language_type, pointer_type
from graphattn.kernels.triton.forward import ends, kept_by_dropout, stored_for_edges, types_of_edges
from graphattn.kernels.triton.frame import Field, Frame, Parameters, Source, input_parameters
from graphattn.kernels.triton.moves import Indices, flat
from graphattn.kernels.triton.printer import Printer
from graphattn.kernels.triton.tiles import (
    EDGES,
    Level,
    Tile,
    joined,
    mask_over,
    spread,
)

_COMMENTS = {
    "target": "Backward by target row: the weights again, then gradients of target, edge, shared.",
    "source": "Backward by source row, from the weights and gradients that the other pass left.",
}


def backward_pass(end: End, derivative: Program) -> Source:
    """The Triton of a backward pass.

    Args:
        end: ``"target"`` or ``"source"``: by whose rows it walks.
        derivative: Of what ran forward, by those inputs whose gradients this pass forms.

    Raises:
        TypeError: If the program has an element type that this backend does not know.
    """
    return _Backward(end, derivative).source()


class _Backward:
    def __init__(self, end: End, derivative: Program) -> None:
        self.end, self.program, self.outputs = end, derivative, derivative.outputs
        self.other: End = "source" if end == "target" else "target"
        self.heads = derivative.num_heads
        # What the weights are made from, and get their gradient through.
        self.name = "logits" if derivative.reduction == "softmax" else "weights"
        rows = {
            end: (end, Level.ROW),
            self.other: (self.other, Level.EDGE),
            "edge": ("edge", Level.EDGE),
            "shared": ("", Level.ALL),
        }
        given = {
            "grad.message": self._grad_message,
            "grad.logits": self._grad_logits,
            "grad.weights": self._grad_weights,
            "grad.edge_output": self._grad_edge_output,
        }
        self.printer = Printer(derivative, rows, given)
        self.frame = Frame(
            name=f"backward_by_{end}",
            comment=_COMMENTS[end],
            end=end,
            printer=self.printer,
            sum_dtype=derivative.sum_dtype,
            parameters=[*input_parameters(derivative), *self._arriving(), *self._made()],
        )
        # Tiles of a number for every head: of a row, and of an edge.
        self.own = self.printer.canonical((1, self.heads))
        self.row_axes = joined(index.axes for index in self.own)
        self.axes = joined([(EDGES,), self.row_axes])
        self.kind = language_type(derivative.sum_dtype)

    def source(self) -> Source:
        ends(self.frame, self.other)
        if self.program.reduction != "edges" and self.end == "target":
            self._row()
            self._pull()
        elif self.program.reduction != "edges":
            self._left()
        if self.name != "logits" or self.program.reduction == "edges":
            self._arriving_logits()
        for output, value in self.outputs.items():
            if output.startswith("grad."):
                self._gradient(output.removeprefix("grad."), value)
        return self.frame.source()

    def _gradient(self, name: str, value: str) -> None:
        """Sums what each edge adds to the gradient of an input, or writes it."""
        role, shape = self.program.inputs[name].role, self.program.shape(value)
        variable, frame = identifier(name), self.frame
        if role == "edge":
            tile = self.printer.tile(value)
            stored_for_edges(frame, f"gradient_{variable}", tile, shape, is_optional=False)
            return
        field = Field.of(self.printer, f"sum_of_{variable}", shape)
        own = self._summed(value, field)
        frame.do(f"{field.name} += {own}")
        if role == "shared":
            frame.sums.append((field, f"partial_{variable}"))
            return
        frame.fields.append(field)
        frame.merge.append(f"{field.name} += other_{field.name}")
        pointer = f"gradient_{variable} + {self.end} * {field.size}"
        frame.finish.append(field.stored(pointer, field.name))

    def _summed(self, value: str, field: Field) -> str:
        """A value summed over the edges of a tile, over the axes of a field."""
        indices = self.printer.canonical(self.program.shape(value))
        tile = summed_product(self.printer, value, indices)
        if tile is not None:
            return tile.over(field.axes)
        tile = self.printer.at(value, indices)
        if EDGES not in tile.axes:
            count = f"tl.minimum(last - start, BLOCK).to({self.kind})"
            return f"{tile.over(field.axes)} * {count}"
        axes = joined([(EDGES,), field.axes])
        is_edge = spread("is_edge", (EDGES,), tile.axes)
        summed = f"tl.sum(tl.where({is_edge}, {tile.text}, 0), axis=0)"
        rest = tuple(axis for axis in tile.axes if axis != EDGES)
        self.printer.widest = max(self.printer.widest, math.prod(a.padded for a in axes[1:]))
        return spread(summed, rest, field.axes) if rest else summed

    def _row(self) -> None:
        """What belongs to a target: what its softmax takes off the gradient of each weight.

        That is the sum over its edges of weight times the gradient of the weight: the gradient of
        the output times the output, and what arrived at the weights themselves.
        """
        frame, program, heads = self.frame, self.program, self.heads
        shape = (1, heads, program.channels)
        grad_output, output = (
            self._of_targets(name, self.printer.canonical(shape))
            for name in ("grad_output", "output")
        )
        channels = [axis for axis in grad_output.axes if axis not in self.row_axes]
        given = f"{grad_output.text} * {output.text}"
        if channels:
            given = (
                f"tl.where({mask}, {given}, 0)" if (mask := mask_over(grad_output.axes)) else given
            )
            given = f"tl.sum({given}, axis={grad_output.axes.index(channels[0])})"
        rows = Field.of(self.printer, "delta_of", (1, heads))
        lines = [
            f"delta_of = {given}",
            "if delta is not None:",
            f"    delta_of += {rows.loaded(f'delta + target * {heads}')}",
        ]
        if program.reduction == "softmax":
            lines += [
                f"largest = {rows.loaded(f'norm + 2 * target * {heads}')}",
                f"total = {rows.loaded(f'norm + (2 * target + 1) * {heads}')}",
                'shift_of = tl.where(largest == float("-inf"), 0, largest)',
            ]
        elif program.reduction == "sum":
            lines.append(f"total = {rows.loaded(f'norm + target * {heads}')}")
        if program.reduction != "none":
            lines += [
                "is_empty = total == 0",  # unlike an infinite total, whose gradients are NaN
                "factor_of = tl.where(is_empty, 0, 1 / total)",
            ]
        frame.do(*lines, level=Level.ROW)

    def _pull(self) -> None:
        """The weights of a tile's edges again, and from the gradient of each that of its logit."""
        frame, reduction = self.frame, self.program.reduction
        made, message = (self.printer.tile(self.outputs[n]) for n in (self.name, "message"))
        of_row = {
            name: spread(name, self.row_axes, self.axes)
            for name in ("shift_of", "factor_of", "delta_of", "is_empty")
        }
        is_edge = spread("is_edge", (EDGES,), self.axes)
        value = f"{made.over(self.axes)}.to({self.kind})"
        weight = {
            "softmax": f"tl.exp({value} - {of_row['shift_of']}) * {of_row['factor_of']}",
            "sum": f"{value} * {of_row['factor_of']}",
            "none": value,
        }[reduction]
        # A weight of zero has a gradient of zero whatever it is multiplied by: a row of -inf has
        # NaN there.
        gradient = {
            "softmax": f"tl.where(made == 0, 0, made * (pulled - {of_row['delta_of']}))",
            "sum": f"tl.where({of_row['is_empty']}, 0,"
            f" (pulled - {of_row['delta_of']}) * {of_row['factor_of']})",
            "none": "pulled",
        }[reduction]
        pull = self._pulled(message)
        state = self._state_place()
        frame.do(
            f"made = tl.where({is_edge}, {weight}, 0)",
            f"pulled = tl.where({is_edge}, {pull.over(self.axes)}, 0).to({self.kind})",
            "weight = made",
            *kept_by_dropout(self.printer, self.heads, self.axes, "weight", "pulled"),
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
            f"    tl.store(state + {state('position', 0)}, weight, mask={mask})",
            f"    tl.store(state + {state('position', 1)}, grad_of_{self.name}, mask={mask})",
        )

    def _left(self) -> None:
        """What the pass by target left for the edges of a tile."""
        state, mask = self._state_place(), mask_over(self.axes)
        self.frame.do(
            "there = tl.load(twin + position, mask=is_edge, other=0).to(tl.int64)",
            f"weight = tl.load(state + {state('there', 0)}, mask={mask}, other=0)",
            f"grad_of_{self.name} = tl.load(state + {state('there', 1)}, mask={mask}, other=0)",
        )

    def _arriving_logits(self) -> None:
        if "logits" not in self.outputs:
            return
        shape = ", ".join(axis.extent for axis in self.axes)
        self.frame.do(
            f"grad_of_logits = tl.zeros(({shape},), {self.kind})",
            "if all_grad_logits is not None:",
            f"    grad_of_logits += {self._of_edges('all_grad_logits')}",
        )

    def _pulled(self, message: Tile) -> Tile:
        """The gradient of the output times the message, for every head."""
        printer, shape = self.printer, (1, self.heads, self.program.channels)
        grad_output = self._of_targets("grad_output", printer.canonical(shape))
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

    def _state_place(self):  # type: ignore[no-untyped-def]
        heads, at = self.heads, self.own[1]

        def place(row: str, number: int) -> str:
            text = spread(f"{row} * {2 * heads}", (EDGES,), self.axes)
            if at.number != 0:
                text += f" + {spread(at.text, at.axes, self.axes)}"
            return f"{text} + {heads}" if number else text

        return place

    def _of_edges(self, pointer: str) -> str:
        """A number for every edge and head, in the order of the structure."""
        at = self.own[1]
        text = spread(f"edge * {self.heads}", (EDGES,), self.axes)
        if at.number != 0:
            text += f" + {spread(at.text, at.axes, self.axes)}"
        mask = mask_over(self.axes)
        return f"tl.load({pointer} + {text}, mask={mask}, other=0).to({self.kind})"

    def _of_targets(self, name: str, indices: Indices) -> Tile:
        """The gradient of the output, or the output, at some positions."""
        key = (f"@{name}", tuple(index.text for index in indices))
        if key not in self.printer.tiles:
            shape = (1, self.heads, self.program.channels)
            at = flat(indices, shape, self.printer.named)
            row, dtype = self.printer.rows["target"], self.program.sum_dtype
            size = self.heads * self.program.channels
            self.printer.tiles[key] = self.printer.load(name, f"all_{name}", row, size, at, dtype)
        return self.printer.tiles[key]

    def _grad_message(self, indices: Indices) -> Tile:
        """The gradient of a message is that of the output times the weight after dropout."""
        printer, dtype = self.printer, self.program.sum_dtype
        weight = Tile("weight", self.axes, Level.EDGE, dtype)
        weight = printer.selected(weight, self.own, indices[:2])
        output = self._of_targets("grad_output", indices)
        axes = joined([weight.axes, output.axes])
        product = f"{weight.over(axes)} * {output.over(axes)}"
        return printer.emit("grad_of_message", product, axes, Level.EDGE, dtype)

    def _grad_logits(self, indices: Indices) -> Tile:
        tile = Tile("grad_of_logits", self.axes, Level.EDGE, self.program.sum_dtype)
        return self.printer.selected(tile, self.own, indices)

    def _grad_weights(self, indices: Indices) -> Tile:
        tile = Tile("grad_of_weights", self.axes, Level.EDGE, self.program.sum_dtype)
        return self.printer.selected(tile, self.own, indices)

    def _grad_edge_output(self, indices: Indices) -> Tile:
        value = self.outputs["edge_output"]
        shape, dtype = self.program.shape(value), self.program.dtype(value)
        at = flat(indices, shape, self.printer.named)
        row = self.printer.rows["edge"]
        size = self.program.size(value)
        return self.printer.load(
            "grad_of_edge_output", "all_grad_edge_output", row, size, at, dtype
        )

    def _arriving(self) -> Parameters:
        types = types_of_edges(self.program)
        # Weights are returned in the type of the logits where they are made from them.
        weights = types["weights" if "weights" in self.outputs else "logits"]
        sums = pointer_type(self.program.sum_dtype)
        of_targets = ("all_grad_output", "all_output", "norm", "delta")
        return [
            *((name, sums) for name in of_targets),
            ("keep", "*u8"),
            ("all_grad_weights", weights),
            ("all_grad_logits", types["logits"]),
            ("all_grad_edge_output", types["edge_output"]),
            ("state", sums),
        ]

    def _made(self) -> Parameters:
        """The gradients, and the parts of shared ones that instances have found."""
        specs = self.program.inputs
        names = [o.removeprefix("grad.") for o in self.outputs if o.startswith("grad.")]
        whole = [(f"gradient_{identifier(n)}", pointer_type(specs[n].dtype)) for n in names]
        sums = pointer_type(self.program.sum_dtype)
        return whole + [
            (f"partial_{identifier(n)}", sums) for n in names if specs[n].role == "shared"
        ]
