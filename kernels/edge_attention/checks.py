"""What operators need besides the passes: plans from text, shapes of results, checks."""

import functools
from collections.abc import Sequence

import torch
from torch import Tensor

from graphattn.kernels.edge_attention.plan import SINK, Call, Plan
from graphattn.kernels.program import InputSpec, Program
from graphattn.kernels.program.serialize import from_text


@functools.lru_cache(maxsize=1024)
def plan_of(text: str, device: str = "cpu") -> Plan:
    """The plan of a program, from its text; the same one as long as it is used.

    Args:
        text: The program.
        device: Type of the device that it runs on.
    """
    return Plan(from_text(text), "triton" if device == "cuda" else "cpp")


def result_names(program: Program, want_weights: bool, want_logits: bool) -> list[str]:
    """What the forward pass returns, in this order."""
    flags = {
        "output": program.reduction != "edges",
        "norm": program.reduction in ("softmax", "sum"),
        "weights": want_weights,
        "logits": want_logits,
        "edge_output": "edge_output" in program.outputs,
    }
    return [name for name, is_wanted in flags.items() if is_wanted]


def result_kind(program: Program, name: str) -> tuple[tuple[int, ...], torch.dtype]:
    """Shape of a row of a result, and its element type; the output has the type of sums."""
    if name == "output":
        return (program.num_heads, program.channels), program.sum_dtype
    if name == "norm":
        is_pair = program.reduction == "softmax"
        return (2, program.num_heads) if is_pair else (program.num_heads,), program.sum_dtype
    value = program.outputs.get(name, program.outputs.get("logits", ""))
    return program.shape(value)[1:], program.dtype(value)


def named_inputs(
    program: Program, inputs: Sequence[Tensor], num_rows: dict[str, int], device: torch.device
) -> dict[str, Tensor]:
    """Inputs by name, after checking that a kernel may read them.

    Args:
        program: The program.
        inputs: In its order, and the logit of a sink, ``(H,)``, if there is one.
        num_rows: Number of rows for the roles ``"target"``, ``"source"`` and ``"edge"``.
        device: Where the edges lie.

    Raises:
        TypeError: If an element type is not the program's.
        ValueError: If their number, a shape or a device does not fit.
    """
    specs = dict(program.inputs)
    if program.reduction == "softmax" and len(inputs) == len(specs) + 1:
        specs[SINK] = InputSpec("shared", (program.num_heads,), inputs[-1].dtype)
    if len(inputs) != len(specs):
        raise ValueError(f"inputs must be {len(specs)} tensors, {list(specs)}, got {len(inputs)}")
    for (name, spec), x in zip(specs.items(), inputs, strict=True):
        rows = () if spec.role == "shared" else (num_rows[spec.role],)
        _check(name, x, rows + spec.shape, spec.dtype, device)
    return dict(zip(specs, inputs, strict=True))


def check_results(program: Program, results: dict[str, Tensor | None], call: Call) -> None:
    """Refuses results, or gradients of results, that are not as the forward pass makes them."""
    by_target = call.by_target
    num_targets, num_edges = by_target.ptr.shape[0] - 1, by_target.num_edges
    for name, x in results.items():
        rows = num_targets if name in ("output", "norm") else num_edges
        if x is not None:
            row, dtype = result_kind(program, name)
            _check(name, x, (rows, *row), dtype, by_target.ptr.device)


def _check(
    name: str, x: Tensor, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device
) -> None:
    if x.dtype != dtype:
        raise TypeError(f"{name} must be {dtype}, got {x.dtype}")
    if x.device != device:
        raise ValueError(f"{name} must be on {device}, where the edges are, got {x.device}")
    if tuple(x.shape) != shape:
        raise ValueError(f"{name} must be {shape}, got {tuple(x.shape)}")
