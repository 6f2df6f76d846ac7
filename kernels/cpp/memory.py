"""Memory for what kernels write: large pages where the system gives them."""

import ctypes
import functools
import mmap
import sys
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

# Fresh memory comes in pages, and each is cleared by the system at first touch: for 87 MB, 30 ms in
# pages of 4 KiB and 6 ms in pages of 2 MiB.
_SMALLEST = 1 << 22  # bytes


def empty(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """A tensor on the CPU whose values are not set, as ``torch.empty`` makes it."""
    made = torch.empty(shape, dtype=dtype)
    size = made.numel() * made.element_size()
    advise = _advise()
    if size >= _SMALLEST and advise is not None:
        start = -made.data_ptr() % mmap.PAGESIZE  # whole pages only
        end = size - (made.data_ptr() + size) % mmap.PAGESIZE
        # A hint: where the system does not take it, nothing is lost.
        advise(made.data_ptr() + start, end - start, mmap.MADV_HUGEPAGE)
    return made


@functools.cache
def _advise() -> Callable[..., Any] | None:
    if sys.platform != "linux" or not hasattr(mmap, "MADV_HUGEPAGE"):
        return None
    advise = ctypes.CDLL(None).madvise
    advise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    return advise
