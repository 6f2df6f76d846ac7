"""Checks of edge attention: every program against the definition in float64, and its bits."""

import copy
from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor

from benchmarks.gpu.checks import Check, compare, compare_bits, wide
from benchmarks.gpu.machine import Machine
from benchmarks.gpu.programs import ATTENTIONS, LAYERS, NORMALIZERS, Attention
from benchmarks.graphs import with_hubs
from graphattn import EdgeAttention, Edges
from graphattn.kernels.edge_attention.rows import PIECE
from graphattn.normalizers import is_fused

_HALVES = (torch.bfloat16, torch.float16)
_HUB_EDGES = PIECE + 40  # so many that two instances of a kernel share the hub's row
_ODD_WIDTHS = (3, 5)  # heads and channels that fill no tile


def program_checks(machine: Machine, *, is_quick: bool) -> Iterator[Check]:
    """The checks.

    Args:
        machine: Where.
        is_quick: Whether half precision is tried with a few programs only.
    """
    widths = (2, 4) if machine.is_interpreted else (8, 16)
    made = _structures(machine)
    assorted = made.pop("assorted")

    def check(
        name: str, dtype: torch.dtype, edges: Edges = assorted, widths: tuple[int, int] = widths
    ) -> partial[str]:
        return partial(_check, ATTENTIONS[name], edges, dtype, widths)

    for name in ATTENTIONS:
        yield Check(f"{name}, float32", check(name, torch.float32))
    for dtype in _HALVES:
        for name in ("GATv2", "perceptron", "sink softmax") if is_quick else _in_halves():
            yield Check(f"{name}, {_short(dtype)}", check(name, dtype))
    few = ("GATv2",) if is_quick else tuple(LAYERS)
    for name in few:
        yield Check(f"{name}, float64", check(name, torch.float64))
        odd = check(name, torch.float32, widths=_ODD_WIDTHS)
        yield Check(f"{name}, float32, {_ODD_WIDTHS[0]} heads x {_ODD_WIDTHS[1]}", odd)
        for structure, edges in made.items():
            yield Check(f"{name}, float32, {structure}", check(name, torch.float32, edges))
    twice = assorted if machine.is_interpreted else _large(machine)
    for name in (*few, "perceptron"):
        run = partial(_check_bits, ATTENTIONS[name], twice, widths)
        yield Check(f"{name}, float32, twice", run)


def _in_halves() -> list[str]:
    # Between the steps of a normalizer that does not fuse, logits are rounded: those of sparse ones
    # then lie on the other side of a threshold. `segment_checks` has these in half precision.
    return [n for n in ATTENTIONS if n not in NORMALIZERS or is_fused(ATTENTIONS[n].normalizer(1))]


def _short(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _structures(machine: Machine) -> dict[str, Edges]:
    num_nodes, num_edges, num_hub = (6, 14, 5) if machine.is_interpreted else (300, 6000, 2000)
    generator = torch.Generator().manual_seed(5)
    assorted = torch.randint(num_nodes - 1, (2, num_edges), generator=generator)  # a node is alone
    assorted[1, :num_hub] = 2
    assorted[:, -3:] = assorted[:, :3]  # some edges twice
    ends = torch.stack([torch.arange(_HUB_EDGES) % num_nodes, torch.full((_HUB_EDGES,), 2)])
    nothing = torch.empty(2, 0, dtype=torch.int64)
    made = {
        "assorted": (assorted, num_nodes, num_nodes),
        "two kinds of nodes": (assorted % 4, num_nodes, 5),
        f"{_HUB_EDGES} edges into a node": (ends, num_nodes, num_nodes),
        f"{_HUB_EDGES} edges out of a node": (ends.flip(0), num_nodes, num_nodes),
        "one edge": (torch.tensor([[3], [1]]), 4, 4),
        "no edges": (nothing, 4, 4),
        "no nodes": (nothing, 0, 0),
    }
    return {
        name: Edges.from_edge_index(index.to(machine.device), *sizes)
        for name, (index, *sizes) in made.items()
    }


def _large(machine: Machine) -> Edges:
    index = with_hubs(20_000, 300_000, torch.Generator().manual_seed(0))
    return Edges.from_edge_index(index.to(machine.device), 20_000)


def _check(attention: Attention, edges: Edges, dtype: torch.dtype, widths: tuple[int, int]) -> str:
    compiled = attention.layer(*widths, backend="triton").to(edges.device, dtype)
    reference = attention.layer(*widths, backend="reference", check=False).to(edges.device)
    # Both have the same rounded parameters and inputs.
    reference.load_state_dict(copy.deepcopy(compiled.state_dict()))
    inputs = attention.inputs(edges, *widths, dtype)
    actual = run(compiled, edges, inputs, dtype)
    expected = run(reference.to(dtype).double(), edges, wide(inputs), dtype)
    return compare(actual, expected, dtype)


def _check_bits(attention: Attention, edges: Edges, widths: tuple[int, int]) -> str:
    layer = attention.layer(*widths, backend="triton").to(edges.device)
    inputs = attention.inputs(edges, *widths, torch.float32)
    first, second = (run(layer, edges, inputs, torch.float32) for _ in range(2))
    return compare_bits(first, second)


def run(
    layer: EdgeAttention, edges: Edges, inputs: dict[str, Tensor], cotangent_type: torch.dtype
) -> dict[str, Tensor]:
    """What attention returns, and the gradients of a fixed combination of that.

    Args:
        layer: The attention; called with dropout, and to return its weights.
        edges: The structure.
        inputs: By name; all that are floating point get gradients.
        cotangent_type: Cotangents are rounded to it first.

    Returns:
        Results by number, gradients by the names of inputs and parameters.
    """
    leaves = {name: x for name, x in inputs.items() if x.is_floating_point()}
    leaves = {name: x.detach().requires_grad_() for name, x in leaves.items()}
    torch.manual_seed(3)  # the same dropout in every run
    results: tuple[Any, ...] = layer(
        edges, **{**inputs, **leaves}, dropout=0.3, return_weights=True
    )
    generator = torch.Generator().manual_seed(4)
    cotangents = [
        torch.randn(x.shape, generator=generator, dtype=torch.float64).to(cotangent_type).to(x)
        for x in results
    ]
    wanted = leaves | dict(layer.named_parameters())
    gradients = torch.autograd.grad(results, list(wanted.values()), cotangents, allow_unused=True)
    found = {f"result {number}": x.detach() for number, x in enumerate(results)}
    return found | {
        f"gradient of {name}": x for name, x in zip(wanted, gradients, strict=True) if x is not None
    }
