"""Watches a user's function while it is recorded: where it stands, and what it must not do."""

import functools
import inspect
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensor,
)
from torch.fx import traceback as fx_traceback
from torch.overrides import TorchFunctionMode

from graphattn.kernels.program.errors import CaptureError

_TORCH = str(Path(torch.__file__).parent) + "/"
_HERE = str(Path(__file__).parent) + "/"
_MAX_CALLS = 4_000  # of PyTorch, by one function; a loop over the edges makes more
# What says nothing of a tensor's values, and so may be asked of any tensor.
_ATTRIBUTES = ("shape", "dtype", "device", "ndim", "size", "dim", "numel", "is_floating_point")
_LOOKS_AT_VALUES = (
    *("__array__", "__bool__", "__complex__", "__float__", "__index__", "__int__"),
    *("item", "numpy", "tolist"),
)
# Calls that return as many tensors as they are told, and the position of their axis.
_TAKES_APART = {
    "unbind": 1,
    "chunk": 2,
    "split": 2,
    "split_with_sizes": 2,
    "tensor_split": 2,
    "unsafe_chunk": 2,
    "unsafe_split": 2,
}


class Watch(TorchFunctionMode):
    """Notes the user's line for every torch call, and refuses what no edge program can do."""

    def __init__(self, function: Callable[..., Any], num_edges: int) -> None:
        super().__init__()
        self.function = function
        self.num_edges = num_edges
        self.num_calls = 0

    def __torch_function__(
        self, call: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        frames = list(_users_frames(sys._getframe(1)))
        place = frames[0] if frames else _name_of(self.function)
        self._refuse(call, args, kwargs, place)
        with fx_traceback.annotate({"place": place}):
            try:
                return call(*args, **kwargs)
            except (DataDependentOutputException, DynamicOutputShapeException) as error:
                raise _looks_at_values(call, place) from error
            except CaptureError:
                raise
            except Exception as error:
                what = str(error).replace(str(self.num_edges), "E")
                raise CaptureError(f"{place}: {_name_of(call)} failed: {what}") from error

    def _refuse(self, call: Any, args: tuple[Any, ...], kwargs: Any, place: str) -> None:
        name = _name_of(call)
        self.num_calls += name not in _ATTRIBUTES
        if self.num_calls > _MAX_CALLS:
            raise CaptureError(
                f"{place}: {name} is the {_MAX_CALLS + 1}th call of PyTorch in one function: a loop"
                " over edges cannot be compiled; compute all edges at once"
            )
        for tensor in _tensors((args, kwargs)):
            if not _is_stand_in(tensor) and name not in _ATTRIBUTES:
                raise CaptureError(_closed_over(self.function, tensor, place))
        if name in _LOOKS_AT_VALUES:
            raise _looks_at_values(call, place)
        if name in _TAKES_APART and self._is_along_edges(args, kwargs, _TAKES_APART[name]):
            raise CaptureError(
                f"{place}: {name} mixes edges: it takes the edges apart, and an edge program treats"
                " each edge alike, however many there are"
            )
        if _is_in_custom_function(sys._getframe(2)):
            raise CaptureError(
                f"{place}: {name} runs inside a torch.autograd.Function, whose backward pass a"
                " program does not record: write the function in plain PyTorch"
            )
        if name not in (*_ATTRIBUTES, "_set_grad_enabled") and not torch.is_grad_enabled():
            raise CaptureError(
                f"{place}: {name} runs under torch.no_grad, which a program does not record: use"
                " .detach() on the tensor instead"
            )

    def _is_along_edges(self, args: tuple[Any, ...], kwargs: Any, position: int) -> bool:
        axis = args[position] if len(args) > position else kwargs.get("dim", 0)
        x = args[0] if args else kwargs.get("input")
        if not isinstance(x, Tensor) or not isinstance(axis, int) or not -x.ndim <= axis < x.ndim:
            return False  # PyTorch says what is wrong
        return x.shape[axis] > 0 and x.shape[axis] % self.num_edges == 0


def _looks_at_values(call: Any, place: str) -> CaptureError:
    return CaptureError(
        f"{place}: {_name_of(call)} looks at the values of a tensor. An edge program is"
        " compiled for all edges at once: use torch.where or a mask instead of if,"
        " while, .item() or boolean indexing"
    )


def _is_stand_in(tensor: Tensor) -> bool:
    # Transforms such as vmap wrap stand-ins; a real tensor stays real however it is wrapped.
    while torch._C._functorch.is_functorch_wrapped_tensor(tensor):
        tensor = torch._C._functorch.get_unwrapped(tensor)
    return isinstance(tensor, FakeTensor)


def _tensors(nested: Any) -> Iterator[Tensor]:
    leaves = torch.utils._pytree.tree_leaves(nested)
    return (leaf for leaf in leaves if isinstance(leaf, Tensor))


def _users_frames(frame: FrameType | None) -> Iterator[str]:
    """File and line of the frames that are the user's, from the innermost on."""
    while frame is not None and not frame.f_code.co_filename.startswith(_HERE):
        name = frame.f_code.co_filename
        if not name.startswith((_TORCH, "<eval_with_key>", "<frozen ")):
            yield f"{name}:{frame.f_lineno}"
        frame = frame.f_back


def _is_in_custom_function(frame: FrameType | None) -> bool:
    apply = torch.autograd.Function.apply.__func__.__code__  # type: ignore[attr-defined]
    while frame is not None and not frame.f_code.co_filename.startswith(_HERE):
        if frame.f_code is apply:
            return True
        frame = frame.f_back
    return False


def _name_of(call: Any) -> str:
    name = getattr(call, "__name__", None) or type(call).__name__
    if name == "__get__":  # an attribute of a tensor
        name = getattr(call.__self__, "__name__", name)
    return str(name)


def _closed_over(function: Callable[..., Any], tensor: Tensor, place: str) -> str:
    name = _name_in(function, tensor)
    what = f"the tensor {name!r}" if name else "a tensor"
    return (
        f"{place}: {what} of shape {tuple(tensor.shape)} is used but not passed in. As a constant"
        f" of the program it would get no gradient: make it an argument of the function and name"
        f" it in shared="
    )


def _name_in(function: Callable[..., Any], tensor: Tensor) -> str | None:
    """The name under which the function reaches the tensor: a variable, or a part of one."""
    for name, value in _reachable(function):
        if value is tensor:
            return name
        parts = value if isinstance(value, dict) else getattr(value, "__dict__", {})
        if isinstance(value, list | tuple):
            parts = dict(enumerate(value))
        if isinstance(value, nn.Module):
            parts = {**parts, **dict(value.named_parameters()), **dict(value.named_buffers())}
        for part, member in parts.items():
            if member is tensor:
                is_attribute = not isinstance(value, dict | list | tuple)
                return f"{name}.{part}" if is_attribute else f"{name}[{part!r}]"
    return None


def _reachable(function: Callable[..., Any]) -> Iterator[tuple[str, Any]]:
    while isinstance(function, functools.partial):
        yield from function.keywords.items()
        yield from ((f"args[{position}]", value) for position, value in enumerate(function.args))
        function = function.func
    if not inspect.isroutine(function):
        yield "self", function
        function = getattr(function, "forward", type(function).__call__)
    if inspect.ismethod(function):
        yield "self", function.__self__
    try:
        closure = inspect.getclosurevars(inspect.unwrap(function))
    except (TypeError, ValueError):  # not written in Python
        return
    yield from {**closure.globals, **closure.nonlocals}.items()
    for name, parameter in inspect.signature(function).parameters.items():
        yield name, parameter.default
