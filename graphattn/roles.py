"""Names, roles and checks of what is passed to an attention over edges."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from graphattn.kernels.program import UserFunction

# What each function is called in errors, and the shape it must return.
RETURNS = {
    "logits": ("score", "(E, H)", 2),
    "message": ("message", "(E, H, C)", 3),
    "edge_output": ("edge_output", "(E, ...)", None),
}
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
    if role == "shared" and isinstance(value, bool | int | float):
        return
    if not isinstance(value, Tensor):
        raise TypeError(f"{name} must be a tensor, got {type(value).__name__}")
    if not (value.is_floating_point() or value.dtype == torch.bool):
        raise TypeError(f"{name} must be floating point or bool, got {value.dtype}")
    if value.device != device:
        raise ValueError(f"{name} must be on {device} as the edges are, got {value.device}")
    if role != "shared" and (value.ndim == 0 or value.shape[0] != rows[role]):
        raise ValueError(
            f"{name} must have one row for each {role}, {rows[role]}, got {tuple(value.shape)}"
        )
