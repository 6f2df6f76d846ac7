"""The backward passes of an edge program in Triton: one by target row, one by source row.

The pass by target leaves, for each edge and head, the weight after dropout and the gradient of the
logit (of the program's weight, where there is no softmax); the pass by source reads them.
"""

from graphattn.kernels.edge_attention.rows import End, Layout
from graphattn.kernels.program import Program
from graphattn.kernels.program.names import identifier
from graphattn.kernels.triton.contractions import summed_product
from graphattn.kernels.triton.expressions import pointer_type
from graphattn.kernels.triton.forward import (
    ends,
    keep_parameter,
    stored_for_edges,
    types_of_edges,
)
from graphattn.kernels.triton.frame import Field, Frame, Parameters, Source, input_parameters
from graphattn.kernels.triton.moves import Indices, flat
from graphattn.kernels.triton.printer import Printer
from graphattn.kernels.triton.pulls import Pulls
from graphattn.kernels.triton.tiles import EDGES, Level, Tile, joined, spread

_COMMENTS = {
    "target": "Backward by target row: the weights again, then gradients of target, edge, shared.",
    "source": "Backward by source row, from the weights and gradients that the other pass left.",
}


def backward_pass(end: End, derivative: Program, layout: Layout = "edges") -> Source:
    """The Triton of a backward pass.

    Args:
        end: ``"target"`` or ``"source"``: by whose rows it walks.
        derivative: Of what ran forward, by those inputs whose gradients this pass forms.
        layout: How edges are found.

    Raises:
        TypeError: If the program has an element type that this backend does not know.
    """
    return _Backward(end, derivative, layout).source()


class _Backward:
    def __init__(self, end: End, derivative: Program, layout: Layout) -> None:
        self.end, self.program, self.outputs = end, derivative, derivative.outputs
        self.other: End = "source" if end == "target" else "target"
        rows = {
            end: (end, Level.ROW),
            self.other: (self.other, Level.EDGE),
            "edge": ("edge", Level.EDGE),
            "shared": ("", Level.ALL),
        }
        given = {
            "grad.message": self._grad_message,
            "grad.logits": lambda indices: self._of_heads("grad_of_logits", indices),
            "grad.weights": lambda indices: self._of_heads("grad_of_weights", indices),
            "grad.edge_output": self._grad_edge_output,
        }
        self.printer = Printer(derivative, rows, given)
        self.frame = Frame(
            name=f"backward_by_{end}",
            comment=_COMMENTS[end],
            end=end,
            printer=self.printer,
            sum_dtype=derivative.sum_dtype,
            parameters=[
                *input_parameters(derivative),
                *self._arriving(layout),
                *self._made(),
            ],
            layout=layout,
        )
        self.pulls = Pulls(self.printer, derivative)

    def source(self) -> Source:
        ends(self.frame)
        # Pairs of blocks have no memory: the pass by source makes their weights again.
        is_made = self.end == "target" or self.frame.layout == "blocks"
        if self.program.reduction != "edges" and is_made:
            self.pulls.row(self.frame)
            self.pulls.pull(self.frame)
        elif self.program.reduction != "edges":
            self.pulls.left(self.frame)
        if self.program.reduction != "softmax" and "logits" in self.outputs:
            self.pulls.arriving_logits(self.frame)
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
        printer, kind = self.printer, self.pulls.kind
        indices = printer.canonical(self.program.shape(value))
        tile = summed_product(printer, value, indices)
        if tile is not None:
            return tile.over(field.axes)
        tile = printer.at(value, indices)
        text = tile.text
        if tile.dtype != self.program.sum_dtype:
            text = f"{text}.to({kind})"
        if EDGES not in tile.axes:
            count = f"tl.minimum(last - start, BLOCK).to({kind})"
            return f"{spread(text, tile.axes, field.axes)} * {count}"
        summed = f"tl.sum(tl.where({spread('is_edge', (EDGES,), tile.axes)}, {text}, 0), axis=0)"
        return spread(summed, tile.axes[1:], field.axes)

    def _of_heads(self, name: str, indices: Indices) -> Tile:
        """A number for every edge and head, at some positions."""
        tile = Tile(name, self.pulls.axes, Level.EDGE, self.program.sum_dtype)
        return self.printer.selected(tile, self.pulls.own, indices)

    def _grad_message(self, indices: Indices) -> Tile:
        """The gradient of a message is that of the output times the weight after dropout."""
        weight = self._of_heads("weight", indices[:2])
        output = self.pulls.of_targets("grad_output", indices)
        axes = joined([weight.axes, output.axes])
        product = f"{weight.over(axes)} * {output.over(axes)}"
        return self.printer.emit(
            "grad_of_message", product, axes, Level.EDGE, self.program.sum_dtype
        )

    def _grad_edge_output(self, indices: Indices) -> Tile:
        value = self.outputs["edge_output"]
        shape, dtype = self.program.shape(value), self.program.dtype(value)
        at = flat(indices, shape, self.printer.named)
        row = self.printer.rows["edge"]
        size = self.program.size(value)
        return self.printer.load(
            "grad_of_edge_output", "all_grad_edge_output", row, size, at, dtype
        )

    def _arriving(self, layout: Layout) -> Parameters:
        types = types_of_edges(self.program)
        # Weights are returned in the type of the logits where they are made from them.
        weights = types["weights" if "weights" in self.outputs else "logits"]
        sums = pointer_type(self.program.sum_dtype)
        of_targets = ("all_grad_output", "all_output", "norm", "delta")
        return [
            *((name, sums) for name in of_targets),
            keep_parameter(layout),
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
