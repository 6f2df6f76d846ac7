"""What all passes have in common in the source, with places in angle brackets for the rest."""

PRELUDE = """\
import triton
import triton.language as tl

from graphattn.kernels.triton.mathematics import mathematics


@triton.jit
def greatest(x, axis: tl.constexpr):
    return tl.max(x, axis) + tl.sum(tl.where(x != x, x, 0), axis)  # a maximum passes NaN over


@triton.jit
def least(x, axis: tl.constexpr):
    return tl.min(x, axis) + tl.sum(tl.where(x != x, x, 0), axis)


@triton.jit
def is_drawn(weight, keep):
    # By Philox, for this seed and counter, against the number from which on a weight is kept.
    low, high = weight.to(tl.uint32), (weight >> 32).to(tl.uint32)
    number, _, _, _ = tl.philox(tl.load(keep), low, high, low * 0, low * 0)
    return number.to(tl.int64) >= tl.load(keep + 1)


@triton.jit
def _times(x, y):
    return x * y


@triton.jit
def product(x, axis: tl.constexpr):
    return tl.reduce(x, axis, _times)
"""
PASS = """
@triton.jit(do_not_specialize=["num_rows", "num_pieces"])
def <name>(
    <parameters>
    SCALE: tl.constexpr,
    BLOCK: tl.constexpr,
    PIECE: tl.constexpr,
    PIECES: tl.constexpr,
):
    # <comment>
    <axes>
    <all>
    for turn in range(<stop>):
        # A piece of a row: all of its edges, or a run of them where there are many.
        piece = <first> + turn
        is_piece = piece < num_pieces
        <end> = tl.load(row_of_piece + piece, mask=is_piece, other=num_rows)
        is_row = <end> < num_rows  # else the piece is spare
        <end> = tl.minimum(<end>, num_rows - 1)
        row_first = tl.load(ptr + <end>)
        row_last = tl.load(ptr + <end> + 1)
        part_of_row = piece - tl.load(first_piece + <end>)
        first = row_first + part_of_row * PIECE
        last = tl.where(is_row, tl.minimum(first + PIECE, row_last), first)
        <row>
        for start in range(first, last, BLOCK):
            position = start + tl.arange(0, BLOCK).to(tl.int64)
            is_edge = position < last
            <edge>
        if is_row:
            if row_last - row_first <= PIECE:
                <finish>
            else:
                part = parts + (tl.load(first_slot + <end>) + part_of_row) * <row_size>
                <park>
    <sums>
"""
MERGE = """
@triton.jit(do_not_specialize=["num_rows"])
def <name>_merge(
    <parameters>
):
    # Rows of many pieces: what they found, merged in order.
    <end> = tl.load(split_rows + tl.program_id(0))
    if <end> < num_rows:
        <axes>
        <all>
        <clear>
        for slot in range(tl.load(first_slot + <end>), tl.load(first_slot + <end> + 1)):
            part = parts + slot * <row_size>
            <fetch>
            <merge>
        <finish>
"""


def filled(template: str, places: dict[str, list[str]]) -> str:
    """Fills places in angle brackets; what stands in a line of its own keeps the indentation."""
    lines = []
    for line in template.splitlines():
        word = line.strip()
        if word.startswith("<") and word.endswith(">") and word[1:-1] in places:
            indentation = line[: len(line) - len(line.lstrip())]
            inner = [part for text in places[word[1:-1]] for part in text.splitlines()]
            lines += [indentation + part for part in inner]
        else:
            for key, value in places.items():
                line = line.replace(f"<{key}>", value[0] if value else "")
            lines.append(line)
    return "\n".join(lines).strip("\n")
