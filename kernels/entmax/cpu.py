"""Entmax over segments on the CPU: checks of the structure and calls of the compiled loops."""

import ctypes
from typing import Any

import torch
from torch import Tensor

from graphattn.kernels.cpp.build import load, num_threads
from graphattn.kernels.entmax import reference
from graphattn.kernels.entmax.source import SOURCE

_MAX_CHUNKS = 64  # many more than threads, so that all have work to the end
_MIN_EDGES = 1024  # fewer are not worth a chunk of their own
_TYPES = {
    torch.float32: "float",
    torch.float64: "double",
    torch.int32: "int32_t",
    torch.int64: "int64_t",
}


def entmax(logits: Tensor, ptr: Tensor, order: Tensor, alpha: Tensor) -> Tensor:
    """The weights; see ``op.entmax``.

    Raises:
        ValueError: If ``ptr`` does not rise from 0 to ``E``.
        IndexError: If ``order`` does not hold each row once.
        CompilerNotFoundError: If there is no C++ compiler.
        CompilationError: If the compiler fails.
    """
    library = _library(logits.dtype, order.dtype)
    logits, ptr, order, alpha = (t.contiguous() for t in (logits, ptr, order, alpha))
    _check(library, ptr, order)
    weights = torch.empty_like(logits)
    scratch = torch.empty(logits.shape[0], dtype=torch.float64)
    _launch(library.forward, logits, ptr, order, alpha, [logits, weights, scratch])
    return weights


def entmax_backward(
    grad: Tensor, weights: Tensor, ptr: Tensor, order: Tensor, alpha: Tensor, want_alpha: bool
) -> tuple[Tensor, Tensor]:
    """Gradients of the logits, ``(E, H)``, and of alpha, ``(H,)`` or, if not wanted, ``(0,)``."""
    library = _library(weights.dtype, order.dtype)
    grad, weights, ptr, order, alpha = (t.contiguous() for t in (grad, weights, ptr, order, alpha))
    _check(library, ptr, order)
    of_logits = torch.empty_like(weights)
    num_chunks = _num_chunks(ptr, order)
    by_chunk, of_alpha = None, alpha.new_empty(0)
    if want_alpha:
        by_chunk = alpha.new_empty(num_chunks, alpha.shape[0])
        of_alpha = torch.empty_like(alpha)
    tensors = [grad, weights, of_logits, by_chunk, of_alpha if want_alpha else None]
    _launch(library.backward, weights, ptr, order, alpha, tensors)
    return of_logits, of_alpha


def _library(value: torch.dtype, index: torch.dtype) -> ctypes.CDLL:
    text = SOURCE.replace("VALUE_TYPE", _TYPES[value])
    return load(text.replace("INDEX_TYPE", _TYPES[index]))


def _num_chunks(ptr: Tensor, order: Tensor) -> int:
    num_segments, num_edges = ptr.shape[0] - 1, order.shape[0]
    return max(1, min(_MAX_CHUNKS, num_edges // _MIN_EDGES, num_segments))


def _check(library: ctypes.CDLL, ptr: Tensor, order: Tensor) -> None:
    num_segments, num_edges = ptr.shape[0] - 1, order.shape[0]
    seen = torch.zeros(num_edges, dtype=torch.uint8)
    is_sound = library.is_sound(
        ctypes.c_int64(num_segments),
        ctypes.c_int64(num_edges),
        *(ctypes.c_void_p(t.data_ptr()) for t in (ptr, order, seen)),
    )
    if not is_sound:
        reference.check_rows(ptr, order)  # slower, and says what is wrong


def _launch(
    kernel: Any,
    values: Tensor,
    ptr: Tensor,
    order: Tensor,
    alpha: Tensor,
    tensors: list[Tensor | None],
) -> None:
    kernel(
        ctypes.c_int64(_num_chunks(ptr, order)),
        ctypes.c_int(num_threads()),
        ctypes.c_int64(ptr.shape[0] - 1),
        ctypes.c_int64(values.shape[1]),
        *(ctypes.c_void_p(t.data_ptr()) for t in (ptr, order, alpha)),
        *(ctypes.c_void_p(None if t is None else t.data_ptr()) for t in tensors),
    )
