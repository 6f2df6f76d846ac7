"""The forward pass of an edge program in Triton: one walk over the edges into each target."""

import math

from graphattn.kernels.edge_attention.rows import Layout
from graphattn.kernels.program import Program
from graphattn.kernels.triton.expressions import language_type, pointer_type
from graphattn.kernels.triton.frame import Field, Frame, Source, input_parameters, whole
from graphattn.kernels.triton.moves import flat
from graphattn.kernels.triton.printer import Printer
from graphattn.kernels.triton.tiles import (
    EDGES,
    Axis,
    Level,
    Tile,
    joined,
    mask_over,
    place,
    spread,
)


def forward_pass(program: Program, layout: Layout = "edges") -> Source:
    """The Triton of the forward pass.

    Args:
        program: What every edge computes.
        layout: How edges are found.

    Raises:
        TypeError: If the program has an element type that this backend does not know.
    """
    rows = {
        "target": ("target", Level.ROW),
        "source": ("source", Level.EDGE),
        "edge": ("edge", Level.EDGE),
        "shared": ("", Level.ALL),
    }
    frame = Frame(
        name="forward",
        comment="Forward by target row: logits, weights in one walk, weighted sum.",
        end="target",
        printer=Printer(program, rows, {}),
        sum_dtype=program.sum_dtype,
        parameters=[
            *input_parameters(program),
            keep_parameter(layout),
            ("sink", pointer_type(program.sum_dtype)),
            ("out", pointer_type(program.sum_dtype)),
            ("norm", pointer_type(program.sum_dtype)),
            *((f"all_{name}", pointer_type(program.sum_dtype)) for name in ("logits", "weights")),
            ("all_edge_output", types_of_edges(program)["edge_output"]),
        ],
        layout=layout,
    )
    ends(frame)
    tiles = {name: frame.printer.tile(value) for name, value in program.outputs.items()}
    for name in ("logits", "weights", "edge_output"):
        if name in tiles:
            value = program.outputs[name]
            stored_for_edges(
                frame, f"all_{name}", tiles[name], program.shape(value), name != "edge_output"
            )
    if program.reduction == "edges":
        return frame.source()
    heads = (1, program.num_heads)
    if program.reduction == "softmax":
        _softmax(frame, tiles["logits"], Field.of(frame.printer, "total", heads))
    else:
        _sum(frame, tiles["weights"], program, Field.of(frame.printer, "total", heads))
    _messages(frame, tiles["message"], program)
    _finish(frame, program)
    return frame.source()


def types_of_edges(program: Program) -> dict[str, str]:
    """The kind of pointer for each result that edges have; some kind where there is none."""
    return {
        name: pointer_type(program.dtype(program.outputs[name]))
        if name in program.outputs
        else "*fp32"
        for name in ("logits", "weights", "edge_output")
    }


def ends(frame: Frame) -> None:
    """Finds the other ends of a tile's edges, and where these stand in the structure."""
    other = "source" if frame.end == "target" else "target"
    if frame.layout == "edges":
        frame.do(
            f"{other} = tl.load(neighbor + position, mask=is_edge, other=0).to(tl.int64)",
            "edge = tl.load(order + position, mask=is_edge, other=0).to(tl.int64)",
        )
        return
    # The neighbors of a row follow one another, and the edges stand target by target.
    frame.do(f"neighbor_of_first = tl.load(neighbor + {frame.end})", level=Level.ROW)
    frame.do(f"{other} = neighbor_of_first + position - row_first")
    if frame.end == "target":
        frame.do("edge = position")
        return
    frame.do("place = tl.load(order + source)", level=Level.ROW)
    frame.do("edge = tl.load(twin + target, mask=is_edge, other=0) + place")


def keep_parameter(layout: Layout) -> tuple[str, str]:
    """Name and kind of what says which weights dropout keeps.

    That is a byte for each of them; in blocks, a seed and the number from which on it is kept.
    """
    return ("keep", "*u8" if layout == "edges" else "*i64")


def stored_for_edges(
    frame: Frame, pointer: str, tile: Tile, shape: tuple[int, ...], is_optional: bool
) -> None:
    """Writes a value of every edge, in the order of the structure."""
    printer = frame.printer
    indices = printer.canonical(shape)
    at = flat(indices, shape, printer.named)
    axes = joined([(EDGES,), at.axes, tile.axes])
    to = f"{pointer} + {place('edge', math.prod(shape), at, axes)}"
    text = f"tl.store({to}, {tile.over(axes)}, mask={mask_over(axes)})"
    frame.do(*([f"if {pointer} is not None:", f"    {text}"] if is_optional else [text]))


def kept_by_dropout(frame: Frame, heads: int, axes: tuple[Axis, ...], *names: str) -> list[str]:
    """Statements that apply dropout to variables with a number for every edge and head."""
    weight = place("edge", heads, frame.printer.canonical((1, heads))[1], axes)
    kept = f"tl.load(keep + {weight}, mask={mask_over(axes)}, other=0)"
    if frame.layout == "blocks":
        kept = f"is_drawn({weight}, keep)"
    return [
        "if keep is not None:",
        f"    factor = {kept}.to({names[0]}.dtype) * SCALE",
        *(f"    {name} = {name} * factor" for name in names),
    ]


def _softmax(frame: Frame, logits: Tile, total: Field) -> None:
    largest = Field("largest", total.axes, total.at, total.size, 'float("-inf")')
    axes = joined([(EDGES,), total.axes])
    text = whole(logits, axes)
    kind = language_type(frame.sum_dtype)
    is_edge = spread("is_edge", (EDGES,), axes)
    frame.fields += [largest, total]
    # A shift is finite even where all logits are -inf, so that -inf less -inf never arises. A NaN
    # is perhaps not in the maximum, but in the sums, which it has spoilt.
    frame.do(
        f'logit = tl.where({is_edge}, {text}, float("-inf")).to({kind})',
        "now = tl.maximum(largest, tl.max(logit, axis=0))",
        'shift = tl.where(now == float("-inf"), 0, now)',
        "rescale = tl.exp(largest - shift)",
        f"weight = tl.where({is_edge}, tl.exp(logit - {spread('shift', total.axes, axes)}), 0)",
        "total = total * rescale + tl.sum(weight, axis=0)",
        "largest = now",
    )
    frame.merge += [
        "now = tl.maximum(largest, other_largest)",
        'shift = tl.where(now == float("-inf"), 0, now)',
        "rescale = tl.exp(largest - shift)",
        "other_rescale = tl.exp(other_largest - shift)",
        "largest = now",
        "total = total * rescale + other_total * other_rescale",
    ]


def _sum(frame: Frame, weights: Tile, program: Program, total: Field) -> None:
    axes = joined([(EDGES,), total.axes])
    text = whole(weights, axes)
    is_edge = spread("is_edge", (EDGES,), axes)
    frame.do(f"weight = tl.where({is_edge}, {text}, 0).to({language_type(frame.sum_dtype)})")
    if program.reduction == "sum":
        frame.fields.append(total)
        frame.do("total += tl.sum(weight, axis=0)")
        frame.merge.append("total += other_total")


def _messages(frame: Frame, message: Tile, program: Program) -> None:
    heads = joined([index.axes for index in frame.printer.canonical((1, program.num_heads))])
    by_head = joined([(EDGES,), heads])
    frame.do(*kept_by_dropout(frame, program.num_heads, by_head, "weight"))
    shape = program.shape(program.outputs["message"])
    field = Field.of(frame.printer, "sum", shape)
    axes = joined([(EDGES,), field.axes])
    value = message.over(axes)
    frame.fields.append(field)
    product = f"{spread('weight', by_head, axes)} * {value}"
    product = f"tl.where({spread('is_edge', (EDGES,), axes)}, {product}, 0)"
    is_softmax = program.reduction == "softmax"
    rescaled = f" * {spread('rescale', heads, field.axes)}" if is_softmax else ""
    frame.do(f"sum = sum{rescaled} + tl.sum({product}, axis=0)")
    other = f" * {spread('other_rescale', heads, field.axes)}" if is_softmax else ""
    frame.merge.append(f"sum = sum{rescaled} + other_sum{other}")


def _finish(frame: Frame, program: Program) -> None:
    heads = program.num_heads
    sums = next(field for field in frame.fields if field.name == "sum")
    total = Field.of(frame.printer, "total", (1, heads))
    out = f"out + target * {sums.size}"
    if program.reduction == "none":
        frame.finish.append(sums.stored(out, "sum"))
        return
    is_empty, divided = (spread(name, total.axes, sums.axes) for name in ("is_empty", "factor"))
    if program.reduction == "sum":
        frame.finish += [
            f"divisor = total + {program.epsilon!r}",
            "is_empty = divisor == 0",
            sums.stored(
                out,
                f"tl.where({is_empty}, 0, sum / {spread('divisor', total.axes, sums.axes)})",
            ),
            total.stored(f"norm + target * {heads}", "divisor"),
        ]
        return
    frame.finish += [
        "shifted = largest",
        "whole = total",
        "rescale = tl.full(total.shape, 1, total.dtype)"
        if total.axes
        else "rescale = total * 0 + 1",
        "if sink is not None:",
        f"    own = {total.loaded('sink')}",
        "    shifted = tl.maximum(largest, own, propagate_nan=tl.PropagateNan.ALL)",
        '    shift = tl.where(shifted == float("-inf"), 0, shifted)',
        "    rescale = tl.exp(largest - shift)",
        "    whole = total * rescale + tl.exp(own - shift)",
        "is_empty = whole == 0",
        "factor = tl.where(is_empty, 0, rescale / whole)",
        sums.stored(out, f"tl.where({is_empty}, 0, sum * {divided})"),
        total.stored(f"norm + 2 * target * {heads}", "shifted"),
        total.stored(f"norm + (2 * target + 1) * {heads}", "whole"),
    ]
