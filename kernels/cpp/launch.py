"""Calls a compiled pass on raw pointers."""

import ctypes
from collections.abc import Sequence

import torch
from torch import Tensor

from graphattn.kernels.cpp.build import load, num_threads
from graphattn.kernels.edge_attention.rows import Rows


class Kernel:
    """A compiled pass.

    Args:
        source: The text of ``walk.Pass.source``.
        row_size: Elements that a row gathers.
        sum_dtype: Their type.
    """

    def __init__(self, source: str, row_size: int, sum_dtype: torch.dtype) -> None:
        self.source, self.row_size, self.sum_dtype = source, row_size, sum_dtype
        self.run = load(source).run
        self.run.restype = None

    def __call__(self, rows: Rows, scale: float, tensors: Sequence[Tensor | None]) -> None:
        """Runs the pass over rows, with as many threads as PyTorch has now.

        Args:
            rows: The edges it walks.
            scale: What dropout multiplies a kept weight by.
            tensors: The rest of its parameters, contiguous; ``None`` for a null pointer.
        """
        chunks, parts = rows.chunks, None
        if chunks.shares_rows:
            parts = torch.empty(2 * chunks.count * self.row_size, dtype=self.sum_dtype)
        if self.run.argtypes is None:
            number = ctypes.c_float if self.sum_dtype == torch.float32 else ctypes.c_double
            pointers = [ctypes.c_void_p] * len(tensors)
            self.run.argtypes = [
                *(ctypes.c_int64, ctypes.c_int, *[ctypes.c_void_p] * 7, number),
                *pointers,
            ]
        # The tensors are held here, so that nothing is freed while the kernel reads it.
        held = (chunks.rows, chunks.cuts, parts, rows.ptr, rows.neighbor, rows.order, rows.twin)
        self.run(
            chunks.count,
            num_threads(),
            *(None if t is None else t.data_ptr() for t in held),
            scale,
            *(None if t is None else t.data_ptr() for t in tensors),
        )
