"""Functions that Triton takes from the device's own library, and its interpreter from PyTorch."""

import functools
from typing import Any

import torch
import triton
import triton.language as tl
from triton.language.extra import libdevice

NAMES = (
    *("acos", "acosh", "asin", "asinh", "atan", "atan2", "atanh", "cosh", "erfc", "expm1", "log10"),
    *("log1p", "pow", "rint", "sinh", "tan", "tanh", "trunc"),
)
_IN_PYTORCH = {"rint": torch.round}


class _Interpreted:
    """The functions for Triton's interpreter, which knows no device library."""

    def __init__(self) -> None:
        for name in NAMES:
            function = _IN_PYTORCH.get(name) or getattr(torch, name)
            setattr(self, name, functools.partial(_on_arrays, function))


def _on_arrays(function: Any, x: tl.tensor, *others: tl.tensor) -> tl.tensor:
    from triton.runtime.interpreter import TensorHandle

    tensors = (x, *others)
    given = [torch.as_tensor(y.handle.data, dtype=torch.float64) for y in tensors]
    with torch.no_grad():
        result = function(*given)
    array = result.numpy().astype(x.handle.data.dtype)
    is_block = any(y.type.is_block() for y in tensors)  # a scalar has an array of one element
    kind = tl.block_type(x.dtype, list(array.shape)) if is_block else x.dtype
    return tl.tensor(TensorHandle(array, x.handle.dtype), kind)


mathematics: Any = _Interpreted() if triton.knobs.runtime.interpret else libdevice
