"""Runs compiled walks over segments: which library, how much scratch, how many threads."""

import ctypes
import functools

import torch
from torch import Tensor

from graphattn.kernels.cpp.build import load, num_threads
from graphattn.kernels.cpp.expressions import HALVES
from graphattn.kernels.cpp.prelude import prelude
from graphattn.kernels.cpp.segments import SEGMENTS
from graphattn.kernels.cpp.structure import STRUCTURE

_BLOCK = 1 << 13  # rows; longer segments are shared by workers in blocks of so many
_LANES = 16
_KNOWN_COLUMNS = (1, 2, 4, 8, 16)  # get a kernel of their own
_VALUES_PER_THREAD = 1 << 17  # waking another thread costs as much as some ten thousand values
_TYPES = {torch.float32: "float", torch.float64: "double", **HALVES}


@functools.cache
def load_walks(jobs: str, dtype: torch.dtype, num_columns: int) -> ctypes.CDLL:
    """The library of a text that follows ``SEGMENTS``, for an element type.

    Args:
        jobs: C++ text; it says what is reduced and what is written.
        dtype: Of the values: float32, float64, bfloat16 or float16.
        num_columns: Divides 16; 0 for any number.
    """
    text = SEGMENTS.replace("VALUE_TYPE", _TYPES[dtype])
    text = text.replace("NUM_COLUMNS", str(num_columns))
    return load(f"{STRUCTURE}#include <type_traits>\n{prelude(dtype in HALVES)}{text}{jobs}")


class Walked(ctypes.Structure):
    """How rows are cut into segments, as C++ has it."""

    _fields_ = (
        ("ptr", ctypes.c_void_p),
        ("num_segments", ctypes.c_int64),
        ("num_rows", ctypes.c_int64),
        ("num_columns", ctypes.c_int64),
        ("block_rows", ctypes.c_int64),
        ("num_threads", ctypes.c_int),
        ("blocks", ctypes.c_void_p),
        ("slots", ctypes.c_void_p),
    )


def walk(
    jobs: str, name: str, ptr: Tensor, rows: tuple[Tensor, ...], segments: tuple[Tensor, ...] = ()
) -> None:
    """Runs a function of ``jobs`` over segments.

    Args:
        jobs: See ``load_walks``.
        name: The function; it takes a ``Walked``, pointers to ``rows`` and to ``segments``, and
            returns what ``walk`` does.
        ptr: Where segments begin and end, ``(S + 1,)``, int64, contiguous.
        rows: Tensors with a row for each row, ``(E, ...)``, contiguous, all of one shape and type.
        segments: Tensors with a row for each segment, ``(S, ...)``, contiguous, of the same type.

    Raises:
        ValueError: If ``ptr`` does not rise from 0 to the number of rows, or shapes do not fit.
    """
    shape, dtype = rows[0].shape, rows[0].dtype
    num_rows, num_columns, num_segments = shape[0], shape[1:].numel(), ptr.shape[0] - 1
    # The operators can be called by anyone, and not only by the functions that check.
    fits = ptr.dtype == torch.int64 and ptr.ndim == 1 and num_segments >= 0
    fits = fits and all(t.shape == shape and t.dtype == dtype for t in rows)
    of_segments = (num_segments, *shape[1:])
    if not fits or any(t.shape != of_segments or t.dtype != dtype for t in segments):
        got = [(tuple(t.shape), t.dtype) for t in (ptr, *rows, *segments)]
        raise ValueError(f"ptr, rows and segments must fit one another, got {got}")
    num_values = (num_rows + num_segments) * num_columns
    threads = max(1, min(num_threads(), num_values // _VALUES_PER_THREAD))
    walked = Walked(ptr.data_ptr(), num_segments, num_rows, num_columns, _BLOCK, threads)
    if num_rows > _BLOCK:
        # Each long segment has more rows than a block: at most twice as many blocks as fit.
        num_blocks, panels = 2 * (num_rows // _BLOCK), -(-num_columns // _LANES)
        wide = torch.promote_types(dtype, torch.float32)
        slots = torch.empty(2 * num_blocks * panels * _LANES, dtype=wide)
        blocks = torch.empty(4 * num_blocks, dtype=torch.int64)
        walked.blocks, walked.slots = blocks.data_ptr(), slots.data_ptr()
    known = num_columns if num_columns in _KNOWN_COLUMNS else 0
    kernel = getattr(load_walks(jobs, dtype, known), name)
    pointers = (ctypes.c_void_p(tensor.data_ptr()) for tensor in (*rows, *segments))
    if not kernel(ctypes.byref(walked), *pointers):
        raise ValueError(f"ptr must rise from 0 to the number of rows, {num_rows}, and does not")
