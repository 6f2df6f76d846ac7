"""The kernels that walk segments: short ones whole, long ones in pieces."""

# They take functions of a ``Job`` as constants: see there. Pointers come in tuples, so that a job
# may read what it likes.

import triton
import triton.language as tl


@triton.jit
def add(state, other):
    """Combines sums."""
    return (state[0] + other[0],)


@triton.jit
def total(state):
    """Folds a sum."""
    return (tl.sum(state[0], 0, keep_dims=True),)


@triton.jit
def as_it_is(tiles, own, mask):
    """Lifts sums: no row is zero."""
    return tiles


@triton.jit
def _columns(row, TILE: tl.constexpr):
    column = tl.program_id(1) * TILE.columns + tl.arange(0, TILE.columns)[None, :]
    return column, row * TILE.num_columns + column, column < TILE.num_columns


@triton.jit
def _load(pointers, places, mask, TILE: tl.constexpr):
    return tl.tuple([tl.load(x + places, mask=mask, other=0).to(TILE.sum_type) for x in pointers])


@triton.jit
def _rows(start, end, column, TILE: tl.constexpr):
    row = start + tl.arange(0, TILE.rows)[:, None]
    return row * TILE.num_columns + column, (row < end) & (column < TILE.num_columns)


@triton.jit
def _lifted(start, end, column, rows, own, LIFT: tl.constexpr, TILE: tl.constexpr):
    places, mask = _rows(start, end, column, TILE)
    return LIFT(_load(rows, places, mask, TILE), own, mask)


@triton.jit
def _reduce(
    begin,
    end,
    column,
    rows,
    own,
    LIFT: tl.constexpr,
    COMBINE: tl.constexpr,
    FOLD: tl.constexpr,
    TILE: tl.constexpr,
):
    state = _lifted(begin, end, column, rows, own, LIFT, TILE)
    for start in range(begin + TILE.rows, end, TILE.rows):
        state = COMBINE(state, _lifted(start, end, column, rows, own, LIFT, TILE))
    return FOLD(state)


@triton.jit
def _write(
    begin, end, column, rows, own, state, count, results, WRITE: tl.constexpr, TILE: tl.constexpr
):
    for start in range(begin, end, TILE.rows):
        places, mask = _rows(start, end, column, TILE)
        tile = WRITE(_load(rows, places, mask, TILE), own, state, count)
        tl.store(results + places, tile.to(results.dtype.element_ty), mask=mask)


@triton.jit
def _store(pointers, places, mask, state):
    for i in tl.static_range(len(pointers)):
        tl.store(pointers[i] + places, state[i].to(pointers[i].dtype.element_ty), mask=mask)


@triton.jit
def short_segments(
    ptr,
    rows,
    own,
    of_rows,
    of_segments,
    LIFT: tl.constexpr,
    COMBINE: tl.constexpr,
    FOLD: tl.constexpr,
    FINISH: tl.constexpr,
    WRITE: tl.constexpr,
    PIECE: tl.constexpr,
    TILE: tl.constexpr,
):
    """A segment for each program, from first row to last; long ones are left out."""
    segment = tl.program_id(0).to(tl.int64)
    begin, end = tl.load(ptr + segment), tl.load(ptr + segment + 1)
    if end - begin <= PIECE:
        column, place, is_column = _columns(segment, TILE)
        given = _load(own, place, is_column, TILE)
        count = (end - begin).to(TILE.sum_type)
        state = ()
        if LIFT is not None:
            state = _reduce(begin, end, column, rows, given, LIFT, COMBINE, FOLD, TILE)
        if FINISH is not None:
            _store((of_segments,), place, is_column, (FINISH(state, count),))
        if WRITE is not None:
            _write(begin, end, column, rows, given, state, count, of_rows, WRITE, TILE)


@triton.jit
def _piece(ptr, first_piece, segment, PIECE: tl.constexpr):
    begin, end = tl.load(ptr + segment), tl.load(ptr + segment + 1)
    start = begin + (tl.program_id(0) - tl.load(first_piece + segment)) * PIECE
    return start, tl.minimum(start + PIECE, end), end - begin


@triton.jit(do_not_specialize=["num_segments"])
def reduce_pieces(
    ptr,
    segment_of_piece,
    first_piece,
    num_segments,
    rows,
    own,
    states,
    LIFT: tl.constexpr,
    COMBINE: tl.constexpr,
    FOLD: tl.constexpr,
    PIECE: tl.constexpr,
    TILE: tl.constexpr,
):
    """The state of each piece."""
    piece = tl.program_id(0).to(tl.int64)
    segment = tl.load(segment_of_piece + piece)
    if segment < num_segments:  # else the place is free
        begin, end, _ = _piece(ptr, first_piece, segment, PIECE)
        column, own_place, is_column = _columns(segment, TILE)
        given = _load(own, own_place, is_column, TILE)
        state = _reduce(begin, end, column, rows, given, LIFT, COMBINE, FOLD, TILE)
        _store(states, piece * TILE.num_columns + column, is_column, state)


@triton.jit(do_not_specialize=["num_segments"])
def merge_pieces(
    ptr,
    segment_of_piece,
    first_piece,
    num_segments,
    states,
    merged,
    of_segments,
    MERGE: tl.constexpr,
    COMBINE: tl.constexpr,
    FOLD: tl.constexpr,
    FINISH: tl.constexpr,
    TILE: tl.constexpr,
):
    """The state of each long segment, where that of its first piece was."""
    piece = tl.program_id(0).to(tl.int64)
    segment = tl.load(segment_of_piece + piece)
    if (segment < num_segments) & (piece == tl.load(first_piece + segment)):
        column, place, is_column = _columns(piece, TILE)
        last = tl.load(first_piece + segment + 1)
        state = _reduce(piece, last, column, states, (), MERGE, COMBINE, FOLD, TILE)
        _store(merged, place, is_column, state)
        if FINISH is not None:
            count = tl.load(ptr + segment + 1) - tl.load(ptr + segment)
            result = FINISH(state, count.to(TILE.sum_type))
            _store((of_segments,), segment * TILE.num_columns + column, is_column, (result,))


@triton.jit(do_not_specialize=["num_segments"])
def write_pieces(
    ptr,
    segment_of_piece,
    first_piece,
    num_segments,
    rows,
    own,
    merged,
    of_rows,
    WRITE: tl.constexpr,
    PIECE: tl.constexpr,
    TILE: tl.constexpr,
):
    """The rows of each piece."""
    segment = tl.load(segment_of_piece + tl.program_id(0))
    if segment < num_segments:
        begin, end, size = _piece(ptr, first_piece, segment, PIECE)
        column, own_place, is_column = _columns(segment, TILE)
        given = _load(own, own_place, is_column, TILE)
        place = tl.load(first_piece + segment) * TILE.num_columns + column
        state = _load(merged, place, is_column, TILE)
        count = size.to(TILE.sum_type)
        _write(begin, end, column, rows, given, state, count, of_rows, WRITE, TILE)
