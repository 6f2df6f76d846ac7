"""Gives Triton's interpreter, on tensors of the CPU, what a GPU would run by Triton."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

import torch

from graphattn.compiled import Compiled
from graphattn.kernels.entmax import triton as entmax
from graphattn.kernels.segment_reduce import triton as segment_reduce
from graphattn.kernels.segment_softmax import triton as segment_softmax

_OPERATIONS: dict[str, Callable[..., Any]] = {
    "segment_softmax": segment_softmax.segment_softmax,
    "segment_softmax_backward": segment_softmax.segment_softmax_backward,
    "segment_reduce": segment_reduce.segment_reduce,
    "segment_expand": segment_reduce.segment_expand,
    "segment_extreme_backward": segment_reduce.segment_extreme_backward,
    "entmax": entmax.entmax,
    "entmax_backward": entmax.entmax_backward,
}


@contextmanager
def triton_on_cpu() -> Iterator[None]:
    """Takes Triton's kernels on the CPU wherever the library would take C++ ones.

    Layers and attention do so within the context, operations on segments in this process from now
    on: PyTorch cannot take back what an operation was given.
    """
    for name, kernel in _OPERATIONS.items():
        torch.library.register_kernel(f"graphattn::{name}", "cpu", kernel)
    with ExitStack() as stack:
        stack.enter_context(patch.object(Compiled, "_backend", lambda own, inputs: "triton"))
        stack.enter_context(patch("graphattn.compiled.is_available", lambda: True))
        yield
