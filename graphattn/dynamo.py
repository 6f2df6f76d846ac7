"""How Dynamo, the first stage of `torch.compile`, is to take functions that it cannot look into."""

from collections.abc import Callable
from typing import Any, TypeVar

import torch

_Function = TypeVar("_Function", bound=Callable[..., Any])


def constant(function: _Function) -> _Function:
    """Marks a function that is called while a graph is made, its result then being a constant.

    Its arguments are names, sizes, types and numbers, which Dynamo guards, or objects, which it
    guards by identity.
    """
    return torch._dynamo.assume_constant_result(function)


def unseen(function: _Function) -> _Function:
    """Marks a function that Dynamo leaves alone."""
    return torch.compiler.disable(function)


def known(number: Any) -> Any:
    """A number that Dynamo knows, in parts of which ``number_of`` makes it again.

    Dynamo takes a number that has changed for a symbol, which stands for any, and hands no symbols
    to a ``constant`` function. The parts are asked of the symbol in ways that need its value, which
    Dynamo then guards.
    """
    if isinstance(number, bool | str):
        return number
    if isinstance(number, float):
        return ("float", number.hex())
    return -known_size(-number) if number < 0 else known_size(number)


def known_size(size: int) -> int:
    """A size that Dynamo knows, likewise."""
    return hash(size)  # the size itself


def number_of(parts: Any) -> Any:
    """The number that ``known`` took apart."""
    return float.fromhex(parts[1]) if isinstance(parts, tuple) else parts
