"""Calls a compiled pass on raw pointers."""

import ctypes
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from graphattn.kernels.cpp.build import num_threads
from graphattn.kernels.edge_attention.rows import Rows


def launch(kernel: Any, rows: Rows, scale: float, tensors: Sequence[Tensor | None]) -> None:
    """Runs a pass over rows, with as many threads as PyTorch has now.

    Args:
        kernel: The C function of the pass.
        rows: The edges it walks.
        scale: What dropout multiplies a kept weight by.
        tensors: The rest of its parameters, contiguous; ``None`` for a null pointer. The caller
            holds them, so that nothing is freed while the kernel reads it.
    """
    structure = (rows.chunks, rows.ptr, rows.neighbor, rows.order)
    kernel(
        ctypes.c_int64(rows.chunks.shape[0] - 1),
        ctypes.c_int(num_threads()),
        ctypes.c_double(scale),
        *(ctypes.c_void_p(t.data_ptr()) for t in structure),
        *(ctypes.c_void_p(None if t is None else t.data_ptr()) for t in tensors),
    )
