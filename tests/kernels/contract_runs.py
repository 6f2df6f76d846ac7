"""Runs a program under contract on a structure, and compares all that comes out."""

import copy
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from contract_programs import Case
from torch import Tensor

from graphattn.attention import EdgeAttention
from graphattn.edges import Edges
from graphattn.normalizers.symmetric import SymmetricDegree

# Relative to the largest number expected, and absolute: those of torch.testing, and how many times
# these are allowed.
TOLERANCES = {
    torch.float64: (1e-7, 1e-7),
    torch.float32: (1.3e-6, 1e-5),
    torch.bfloat16: (1.6e-2, 1e-5),
    torch.float16: (1e-3, 1e-5),
}
FACTORS = {
    torch.float64: 1.0,
    # Rows of 20,000 edges, whose terms cancel; plain PyTorch in float32 is off by as much.
    torch.float32: 8.0,
    # What is returned is rounded, and the gradients of 20,000 weights arrive rounded.
    torch.bfloat16: 2.0,
    torch.float16: 4.0,
}
RETURNED = ("return_weights", "return_dropped", "return_logits")
HUB_EDGES = 20_000  # so many that several chunks share the hub's row


def random_edges(num_sources: int, num_targets: int, num_edges: int) -> Tensor:
    return torch.stack(
        [torch.randint(num_sources, (num_edges,)), torch.randint(num_targets, (num_edges,))]
    )


def structures(*, square: bool) -> dict[str, Edges]:
    """Structures by what is hard about them; ``square`` ones have as many sources as targets."""
    torch.manual_seed(5)
    num_sources, num_targets = (9, 9) if square else (9, 7)
    assorted = random_edges(num_sources - 1, num_targets - 2, 60)  # some ends have no edges
    assorted[1, :25] = 3  # a hub
    assorted[:, -6:] = assorted[:, :6]  # some edges twice
    ends = torch.arange(HUB_EDGES) % num_targets, torch.full((HUB_EDGES,), 4)
    made = {
        "assorted": (assorted, num_sources, num_targets),
        "one edge": (torch.tensor([[3], [1]]), 4, 4),
        "no edges": (torch.empty(2, 0, dtype=torch.int64), 4, 4),
        "no nodes": (torch.empty(2, 0, dtype=torch.int64), 0, 0),
        "no sources": (torch.empty(2, 0, dtype=torch.int64), 0, 3),
        "no targets": (torch.empty(2, 0, dtype=torch.int64), 3, 0),
        "target star": (torch.stack(ends), num_sources, num_targets),
        "source star": (torch.stack(ends[::-1]), num_sources, num_targets),
    }
    return {
        name: Edges.from_edge_index(index, *sizes)
        for name, (index, *sizes) in made.items()
        if not square or sizes[0] == sizes[1]
    }


@dataclass(frozen=True)
class Run:
    """What a call returned, and the gradients of a fixed combination of that.

    Attributes:
        results: In the order in which the attention returns them.
        gradients: By the names of inputs and parameters.
    """

    results: list[Tensor]
    gradients: dict[str, Tensor]

    def tensors(self) -> dict[str, Tensor]:
        return {f"result {i}": x for i, x in enumerate(self.results)} | self.gradients


def is_square(case: Case) -> bool:
    return isinstance(case.normalizer(1), SymmetricDegree)


def run(
    layer: EdgeAttention,
    edges: Edges,
    inputs: dict[str, Tensor],
    *,
    cotangent_type: torch.dtype | None = None,
    **options: Any,
) -> Run:
    """Forward and backward; the same dropout and cotangents for the same shapes.

    Args:
        layer: The attention.
        edges: The structure.
        inputs: By name; all that are floating point get gradients.
        cotangent_type: Cotangents are rounded to it first.
        **options: Of the call.
    """
    leaves = {name: x for name, x in inputs.items() if x.is_floating_point()}
    leaves = {name: x.detach().requires_grad_() for name, x in leaves.items()}
    torch.manual_seed(3)
    results = layer(edges, **{**inputs, **leaves}, **options)
    results = list(results) if isinstance(results, tuple) else [results]
    torch.manual_seed(4)
    cotangents = [
        torch.randn(x.shape, dtype=torch.float64).to(cotangent_type or x.dtype).to(x.dtype)
        for x in results
    ]
    wanted = leaves | dict(layer.named_parameters())
    gradients = torch.autograd.grad(results, list(wanted.values()), cotangents, allow_unused=True)
    return Run(
        [x.detach() for x in results],
        {name: x for name, x in zip(wanted, gradients, strict=True) if x is not None},
    )


def pair(
    case: Case, heads: int, channels: int, dtype: torch.dtype
) -> tuple[EdgeAttention, EdgeAttention]:
    """The compiled attention, and the definition in float64 with the same, rounded, parameters."""
    compiled = case.layer(heads, channels, backend="cpp").to(dtype)
    reference = case.layer(heads, channels, backend="reference", check=False)
    reference.load_state_dict(copy.deepcopy(compiled.state_dict()))
    return compiled, reference.to(dtype).double()


def wide(inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: x.double() if x.is_floating_point() else x for name, x in inputs.items()}


def assert_near(actual: Run, expected: Run, dtype: torch.dtype) -> None:
    """The same up to rounding errors; ``expected`` is in float64."""
    ours, theirs = actual.tensors(), expected.tensors()
    assert ours.keys() == theirs.keys()
    rtol, atol = TOLERANCES[dtype]
    allowed = FACTORS[dtype] * (atol + rtol * largest(theirs.values()))
    for name, x in theirs.items():
        assert ours[name].dtype == dtype, name
        found = ours[name].double()
        assert torch.equal(found.isnan(), x.isnan()), name
        error = largest([torch.where(found == x, 0, found - x)], least=0.0)
        assert error <= allowed, f"{name} is off by {error:.3g}, of which {allowed:.3g} is allowed"


def largest(tensors: Iterable[Tensor], least: float = 1.0) -> float:
    """The size of the largest number in all of them, and ``least`` at least.

    Gradients are sums whose terms may cancel; what they are rounded by is relative to the terms.
    """
    sizes = [float(x.nan_to_num(0.0).abs().max()) for x in tensors if x.numel()]
    return max([least, *sizes])


def assert_equal(actual: Run, expected: Run) -> None:
    """The same bits."""
    for name, x in expected.tensors().items():
        assert torch.equal(actual.tensors()[name].nan_to_num(7.0), x.nan_to_num(7.0)), name


@contextmanager
def threads(number: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)
