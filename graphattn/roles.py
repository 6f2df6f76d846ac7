"""Names, roles and checks of what is passed to an attention over edges."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from graphattn.kernels.program import RETURNS, UserFunction

# Names that a call of the attention has a meaning for, and so no input can have.
_RESERVED = ("edges", "weights", "dropout", "return_weights", "return_dropped", "return_logits")


def assign_roles(
    names_by_role: dict[str, Iterable[str]], functions: dict[str, UserFunction]
) -> dict[str, str]:
    """The role of each input by name, after checking that names and functions agree."""
    roles: dict[str, str] = {}
    for role, names in names_by_role.items():
        if isinstance(names, str):
            raise TypeError(f"{role} must be a list of names, got the string {names!r}")
        for name in names:
            if name in roles:
                raise ValueError(f"{name!r} must have one role, got {roles[name]} and {role}")
            if name in _RESERVED:
                raise ValueError(f"{name!r} is a name of EdgeAttention's own; choose another")
            roles[name] = role
    used = {name for function in functions.values() for name in function.names}
    for what, function in functions.items():
        for name in function.required:
            if name not in roles:
                raise ValueError(
                    f"the parameter {name!r} of {RETURNS[what][0]} must be named in target=,"
                    " source=, edge= or shared="
                )
    for name in roles:
        if name not in used:
            raise ValueError(f"the {roles[name]} input {name!r} is a parameter of no function")
    return roles


def check_names(
    names: Iterable[str], roles: dict[str, str], functions: dict[str, UserFunction]
) -> None:
    """Refuses names that are no inputs, and asks for those that the functions need."""
    names = list(names)
    for name in names:
        if name not in roles:
            raise TypeError(f"{name!r} is no input; the inputs are {list(roles)}")
    for function in functions.values():
        for name in function.required:
            if name not in names:
                raise TypeError(f"the {roles[name]} input {name!r} is missing")


def check_type(name: str, value: Any, role: str) -> None:
    """Refuses what is no dense floating-point or bool tensor; a shared number is fine."""
    if role == "shared" and isinstance(value, bool | int | float):
        return
    if not isinstance(value, Tensor):
        raise TypeError(f"{name} must be a tensor, got {type(value).__name__}")
    if not (value.is_floating_point() or value.dtype == torch.bool):
        raise TypeError(f"{name} must be floating point or bool, got {value.dtype}")
    if value.layout != torch.strided:
        raise TypeError(f"{name} must be a dense tensor, got {value.layout}")
    if role != "shared" and value.ndim == 0:
        raise ValueError(f"{name} must have one row for each {role}, got ()")


def check_weights(weights: Any, num_edges: int, device: torch.device) -> None:
    """Refuses weights that are no floating-point ``(E, H)``."""
    check_input("weights", weights, "edge", {"edge": num_edges}, device)
    if weights.ndim != 2 or not weights.is_floating_point():
        raise ValueError(
            f"weights must be ({num_edges}, H) floating point, got {tuple(weights.shape)}"
            f" {weights.dtype}"
        )


def check_input(
    name: str, value: Any, role: str, rows: dict[str, int], device: torch.device
) -> None:
    """Refuses a value that is no tensor of the rows that its role asks for.

    Args:
        name: The input's name.
        value: What was passed.
        role: The input's role.
        rows: Number of rows for each role but ``"shared"``.
        device: Where the edges lie.
    """
    check_type(name, value, role)
    if not isinstance(value, Tensor):
        return
    if value.device != device:
        raise ValueError(f"{name} must be on {device} as the edges are, got {value.device}")
    if role != "shared" and value.shape[0] != rows[role]:
        raise ValueError(
            f"{name} must have one row for each {role}, {rows[role]}, got {tuple(value.shape)}"
        )
