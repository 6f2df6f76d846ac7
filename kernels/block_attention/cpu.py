"""Dot-product attention inside sets on the CPU: calls of the compiled passes."""

import ctypes

import torch
from torch import Tensor

from graphattn.kernels.block_attention.source import SOURCE
from graphattn.kernels.cpp.build import load, num_threads

_TYPES = {torch.float32: "float", torch.float64: "double"}
_POINTERS = ("target_ptr", "source_ptr", "pairs", "query", "key", "value")


class _Call(ctypes.Structure):
    """What the passes go by, as C++ has it."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in ("num_sets", "heads", "width", "value_width")),
        *((name, ctypes.c_void_p) for name in _POINTERS),
        *((name, ctypes.c_int64) for name in ("query_stride", "key_stride", "value_stride")),
        *((name, ctypes.c_double) for name in ("scale", "factor")),
        *((name, ctypes.c_int64) for name in ("seed", "threshold")),
        *((name, ctypes.c_int64) for name in ("num_threads", "sets_at_once")),
    )


def block_attention(
    query: Tensor, key: Tensor, value: Tensor, target_ptr: Tensor, source_ptr: Tensor,
    seed: int, threshold: int,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """See ``op``."""
    call = _Launch(query, key, value, target_ptr, source_ptr, seed, threshold)
    out = query.new_empty(*query.shape[:2], value.shape[2])
    norm = query.new_empty(*query.shape[:2], 2)
    call("forward", out, norm)
    return out, norm


def block_attention_backward(
    grad: Tensor, query: Tensor, key: Tensor, value: Tensor, target_ptr: Tensor,
    source_ptr: Tensor, out: Tensor, norm: Tensor, seed: int, threshold: int,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """See ``op``."""
    call = _Launch(query, key, value, target_ptr, source_ptr, seed, threshold)
    gradients = tuple(x.new_empty(x.shape) for x in (query, key, value))
    call("backward", out.contiguous(), norm.contiguous(), grad.contiguous(), *gradients)
    return gradients[0], gradients[1], gradients[2]


class _Launch:
    """One call; holds the tensors, so that nothing is freed while a pass reads it."""

    def __init__(
        self, query: Tensor, key: Tensor, value: Tensor, target_ptr: Tensor, source_ptr: Tensor,
        seed: int, threshold: int,
    ) -> None:  # fmt: skip
        pairs = target_ptr.diff() * source_ptr.diff()
        self._rows = tuple(_in_rows(x) for x in (query, key, value))
        self._held = (target_ptr.contiguous(), source_ptr.contiguous(), pairs.cumsum(0) - pairs)
        threads, (heads, width) = num_threads(), query.shape[1:]
        self._call = _Call(
            len(pairs), heads, width, value.shape[2],
            *(x.data_ptr() for x in (*self._held, *self._rows)),
            *(x.stride(0) for x in self._rows),
            width**-0.5 if width else 1.0, 2**32 / (2**32 - threshold),
            seed, threshold,
            threads, max(1, len(pairs) * heads // (64 * threads)),
        )  # fmt: skip

    def __call__(self, name: str, *tensors: Tensor) -> None:
        library = load(SOURCE.replace("VALUE_TYPE", _TYPES[self._rows[0].dtype]))
        pointers = (ctypes.c_void_p(x.data_ptr()) for x in tensors)
        getattr(library, name)(ctypes.byref(self._call), *pointers)


def _in_rows(x: Tensor) -> Tensor:
    """As it is, if the heads of each row lie one after another, as in a part of a wider matrix."""
    is_whole = x.stride(2) == 1 and x.stride(1) == x.shape[2]
    return x if is_whole else x.contiguous()
