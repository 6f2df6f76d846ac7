"""Calls a compiled pass on raw pointers."""

import ctypes
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from graphattn.kernels.cpp.build import load, num_threads
from graphattn.kernels.cpp.walk import Pass, translation_unit
from graphattn.kernels.edge_attention.rows import Rows


class Kernel:
    """A compiled pass.

    Args:
        function: The C function.
        made: What it was printed from.
        sum_dtype: The type of sums.
    """

    def __init__(self, function: Any, made: Pass, sum_dtype: torch.dtype) -> None:
        self.run, self.source, self.sum_dtype = function, made.source(), sum_dtype
        self.row_size = sum(size for _, size in made.fields)
        self.run.restype = None

    def num_parts(self, rows: Rows) -> int:
        """How many chunks leave a part of what is summed over all edges."""
        return rows.chunks.count

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


def compiled(passes: Sequence[Pass], sum_dtype: torch.dtype) -> list[Kernel]:
    """Passes of one program, compiled together: a compiler takes most of its time to start.

    Raises:
        CompilerNotFoundError: If there is no C++ compiler.
        CompilationError: If the compiler fails.
    """
    library = load(translation_unit(passes))
    return [Kernel(getattr(library, one.name), one, sum_dtype) for one in passes]
