"""Structures made outside of ``torch.func`` and inference mode, so as to be kept and read."""

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch._functorch.pyfunctorch import temporarily_clear_interpreter_stack

from graphattn.dynamo import unseen
from graphattn.kernels.cpp.fallback import is_inside_transform

_Function = TypeVar("_Function", bound=Callable[..., Any])


def outside_transforms(function: _Function) -> _Function:
    """Marks a function of indices that makes part of a structure.

    Inside ``torch.func.grad`` and its like, tensors that are made come wrapped: they have no memory
    that a kernel could read, and are dead once the transform is over. So all of ``torch.func`` is
    put aside while the function runs. So is inference mode: no derivative may ever read what is
    made in it. The function must copy what it keeps of its arguments. Dynamo does not look into it:
    structures are made between two graphs.

    Raises:
        ValueError: If an index was batched by ``vmap``: a structure has one size.
    """

    @unseen
    @functools.wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        is_ordinary = not (is_inside_transform() or torch.is_inference_mode_enabled())
        if torch.compiler.is_compiling() or is_ordinary:
            return function(*args, **kwargs)
        args = tuple(_plain(x) for x in args)
        kwargs = {name: _plain(x) for name, x in kwargs.items()}
        with torch.inference_mode(False), temporarily_clear_interpreter_stack():
            return function(*args, **kwargs)

    return run  # type: ignore[return-value]


def _plain(x: Any) -> Any:
    while isinstance(x, Tensor) and torch._C._functorch.is_functorch_wrapped_tensor(x):
        if torch._C._functorch.is_batchedtensor(x):
            raise ValueError(
                "an index of a structure must not be mapped by torch.vmap, got one of"
                f" {tuple(x.shape)} for each entry: join the graphs or sets to one batch instead"
            )
        x = torch._C._functorch.get_unwrapped(x)
    return x
