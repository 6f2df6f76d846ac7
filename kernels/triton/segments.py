"""Walks over runs of consecutive rows on a GPU: reductions of each run, then its rows."""

# A short segment is the work of one program: it reduces the rows, then writes them while the cache
# still holds them. A long one is cut into pieces: one launch reduces each piece, the next merges
# what was found of a segment in the order of its pieces, a third writes the rows. No program reads
# what another one writes in the same launch, so the bits are the same in every run.

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from graphattn.kernels.triton.available import on_device
from graphattn.kernels.triton.segment_kernels import (
    merge_pieces,
    reduce_pieces,
    short_segments,
    write_pieces,
)

PIECE = 512  # rows; longer segments are shared by programs in pieces of so many
_MOST_COLUMNS = 64  # of a tile
_THREADS = (32, 128)  # that work on a tile: at least, at most
_VALUES_OF_A_THREAD = {32: 8, 64: 2}  # at most; by bits, since powers of doubles fill registers


@dataclass(frozen=True)
class Job:
    """What is reduced over a segment and what becomes of its rows, as functions for Triton.

    A state is a tuple of tiles, with a row for each row or one for all. ``tiles`` are those of the
    rows, zero where ``mask`` is false; ``own`` are those of the segment, of one row. All are
    float32, or float64 if the rows are.

    Attributes:
        lift: ``lift(tiles, own, mask)``, the state of each row by itself, that of no row where
            ``mask`` is false.
        merge: ``merge(tiles, own, mask)``, the same of what is known of a piece in place of a row.
        combine: ``combine(state, other)``, the state of two sets of rows.
        fold: ``fold(state)``, that of all rows of a tile together.
        finish: ``finish(state, count)``, the result of a segment of ``count`` rows.
        write: ``write(tiles, own, state, count)``, the results of its rows.
        num_tiles: Of a state; 0 where nothing is reduced.
    """

    lift: Any = None
    merge: Any = None
    combine: Any = None
    fold: Any = None
    finish: Any = None
    write: Any = None
    num_tiles: int = 1


class Tile(NamedTuple):
    """How many rows and columns a program looks at together, and of how many columns in all.

    Attributes:
        sum_type: Triton's name for the type that everything is computed in.
        num_columns: Of the tensors.
        rows: A power of two.
        columns: A power of two.
    """

    sum_type: Any
    num_columns: int
    rows: int
    columns: int

    @classmethod
    def of(cls, sum_type: Any, num_columns: int, mean_rows: float) -> "Tile":
        """The tile for segments of so many rows: one of more would be empty for the most part."""
        least, most = _THREADS
        most *= _VALUES_OF_A_THREAD[sum_type.primitive_bitwidth]
        columns = min(triton.next_power_of_2(num_columns), _MOST_COLUMNS)
        rows = min(triton.next_power_of_2(max(1, round(mean_rows))), most // columns)
        return cls(sum_type, num_columns, max(1, least // columns, rows), columns)

    @property
    def num_panels(self) -> int:
        """How many tiles lie beside one another."""
        panels: int = triton.cdiv(self.num_columns, self.columns)
        return panels

    @property
    def options(self) -> dict[str, Any]:
        """How a kernel for this tile is compiled."""
        num_threads = (
            self.rows * self.columns // _VALUES_OF_A_THREAD[self.sum_type.primitive_bitwidth]
        )
        return {"num_warps": max(1, num_threads // 32), "enable_fp_fusion": True}


class Pieces(NamedTuple):
    """Long segments cut into pieces; there are places for as many as there can be.

    Attributes:
        segment: Of each piece, ``(P,)``, int64; the number of segments for a place that is free.
        first: The first piece of each segment, ``(S + 1,)``, int64; a short one has none.
    """

    segment: Tensor
    first: Tensor


def cut(ptr: Tensor, num_rows: int) -> Pieces:
    """Cuts long segments without waiting for the device to say how long they are.

    Args:
        ptr: Segment boundaries, ``(S + 1,)``, int64.
        num_rows: ``E``; what is allocated depends on it and ``S`` alone.
    """
    sizes = ptr.diff()
    counts = torch.where(sizes > PIECE, (sizes + (PIECE - 1)) // PIECE, 0)
    first = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
    # Each long segment has more rows than a piece: at most twice as many pieces as fit.
    places = torch.arange(2 * (num_rows // PIECE), device=ptr.device)
    return Pieces(torch.searchsorted(first, places, right=True) - 1, first)


def walk(
    job: Job,
    ptr: Tensor,
    rows: tuple[Tensor, ...],
    own: tuple[Tensor, ...] = (),
    *,
    of_rows: Tensor | None = None,
    of_segments: Tensor | None = None,
) -> None:
    """Runs a job over segments.

    Args:
        job: What to do.
        ptr: Where segments begin and end, ``(S + 1,)``, int64, contiguous; checked by the caller.
        rows: What the job reads of rows, ``(E, ...)`` each, contiguous, of one shape and type.
        own: What it reads of segments, ``(S, ...)`` each, contiguous, of the same type.
        of_rows: Takes what ``job.write`` gives, ``(E, ...)``.
        of_segments: Takes what ``job.finish`` gives, ``(S, ...)``.

    Raises:
        ValueError: If shapes or types do not fit one another.
    """
    like = _check(ptr, (*rows, of_rows), (*own, of_segments))
    num_rows, num_columns, num_segments = like.shape[0], like.shape[1:].numel(), ptr.shape[0] - 1
    if num_segments == 0 or num_columns == 0:
        return
    wide = torch.promote_types(like.dtype, torch.float32)
    sum_type = tl.float64 if wide == torch.float64 else tl.float32
    combining = {"COMBINE": job.combine, "FOLD": job.fold}
    finishing = {"of_segments": of_segments, "FINISH": job.finish}
    reading = {"rows": rows, "own": own, "PIECE": PIECE}
    tile = Tile.of(sum_type, num_columns, num_rows / num_segments)
    results = {"of_rows": of_rows, "WRITE": job.write, **finishing}
    launch(
        short_segments, tile, num_segments, ptr, LIFT=job.lift, **reading, **combining, **results
    )
    if num_rows <= PIECE:
        return
    pieces = cut(ptr, num_rows)
    tile, count = Tile.of(sum_type, num_columns, PIECE), pieces.segment.shape[0]
    place = (tile, count, ptr, *pieces, num_segments)
    states, merged = (
        tuple(ptr.new_empty(count, num_columns, dtype=wide) for _ in range(job.num_tiles))
        for _ in range(2)
    )
    if job.lift is not None:
        launch(reduce_pieces, *place, states=states, LIFT=job.lift, **reading, **combining)
        merging = {"states": states, "merged": merged, "MERGE": job.merge}
        launch(merge_pieces, *place, **merging, **combining, **finishing)
    if job.write is not None:
        launch(write_pieces, *place, merged=merged, of_rows=of_rows, WRITE=job.write, **reading)


def launch(kernel: Any, tile: Tile, count: int, ptr: Tensor, /, *others: Any, **named: Any) -> None:
    """Runs a kernel of Triton for each panel of so many segments or pieces of them.

    Args:
        kernel: Takes ``ptr``, the other arguments, those with names, and the tile as ``TILE``.
        tile: What a program looks at together.
        count: Of segments or pieces.
        ptr: Where segments begin and end; says which device the kernel runs on.
        others: Arguments by position.
        named: Arguments by name.
    """
    with on_device(ptr.device):
        kernel[(count, tile.num_panels)](ptr, *others, TILE=tile, **named, **tile.options)


def _check(
    ptr: Tensor, rows: tuple[Tensor | None, ...], segments: tuple[Tensor | None, ...]
) -> Tensor:
    """A tensor of rows; refuses what does not fit, since anyone can call an operator."""
    of_rows, of_segments = ([t for t in x if t is not None] for x in (rows, segments))
    like, tensors = of_rows[0], (ptr, *of_rows, *of_segments)
    shapes = [like.shape] * len(of_rows) + [(ptr.shape[0] - 1, *like.shape[1:])] * len(of_segments)
    fits = ptr.dtype == torch.int64 and ptr.ndim == 1 and ptr.shape[0] > 0
    same = all(t.dtype == like.dtype and t.device == ptr.device for t in tensors[1:])
    if not fits or not same or [t.shape for t in tensors[1:]] != shapes:
        got = [(tuple(t.shape), t.dtype, str(t.device)) for t in tensors]
        raise ValueError(f"ptr, rows and segments must fit one another, got {got}")
    return like
