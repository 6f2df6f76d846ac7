"""Gradients of compiled programs equal those of the reference, of any order."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from compiled_programs import PROGRAMS, SHAPES, C, E, H, N, attention, edges_with_a_hub, plain
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

from graphattn.attention import EdgeAttention
from graphattn.edges import Edges


@pytest.fixture
def edges() -> Edges:
    return edges_with_a_hub()


def results_and_gradients(
    layer: EdgeAttention, edges: Edges, inputs: dict[str, Tensor], **options: Any
) -> tuple[list[Tensor], list[Tensor]]:
    """All that a call returns, and the gradients of a fixed combination of it."""
    given = {name: x.clone().requires_grad_() for name, x in inputs.items()}
    torch.manual_seed(3)
    results = layer(edges, **given, **options)
    results = list(results) if isinstance(results, tuple) else [results]
    torch.manual_seed(4)
    total = sum((result * torch.randn(result.shape).to(result)).sum() for result in results)
    wanted = [*given.values(), *layer.parameters()]
    return results, list(torch.autograd.grad(total, wanted))


def assert_same_gradients(
    name: str, edges: Edges, dtype: torch.dtype = torch.float32, **options: Any
) -> None:
    compiled, names = attention(PROGRAMS[name], "cpp")
    reference, _ = attention(PROGRAMS[name], "reference")
    inputs = {key: torch.randn(SHAPES[key], dtype=dtype) for key in names}
    wide = {key: x.double() for key, x in inputs.items()}
    compiled.to(dtype)
    actual = results_and_gradients(compiled, edges, inputs, **options)
    reference.double()
    expected = results_and_gradients(reference, edges, wide, **options)
    for ours, theirs in zip(actual, expected, strict=True):
        for a, b in zip(ours, theirs, strict=True):
            # Sums over hundreds of edges: single rounding errors are relative to the largest.
            scale = float(b.detach().abs().max()) + 1
            torch.testing.assert_close(a, b.to(dtype), rtol=1e-5, atol=1e-5 * scale)
    compiled.float()


@pytest.mark.parametrize("name", PROGRAMS)
def test_gradients_equal_those_of_the_reference_in_float64(name: str, edges: Edges) -> None:
    assert_same_gradients(name, edges)


@pytest.mark.parametrize("name", PROGRAMS)
def test_joint_gradients_of_everything_that_is_returned(name: str, edges: Edges) -> None:
    flags = dict.fromkeys(("return_weights", "return_dropped", "return_logits"), True)
    assert_same_gradients(name, edges, **flags)


@pytest.mark.parametrize("name", ["product", "channel-wise with an edge output", "two layers"])
def test_dropout_drops_what_the_reference_drops(name: str, edges: Edges) -> None:
    flags = dict.fromkeys(("return_weights", "return_dropped"), True)
    assert_same_gradients(name, edges, dropout=0.4, **flags)
    assert_same_gradients(name, edges, dropout=1.0)


def test_gradients_in_float64(edges: Edges) -> None:
    assert_same_gradients("many moves", edges, torch.float64, return_weights=True)


@pytest.mark.parametrize("name", ["product", "channel-wise with an edge output", "gaussian"])
def test_first_and_second_derivatives_by_finite_differences(name: str) -> None:
    edges = Edges.from_edge_index(torch.randint(0, N - 4, (2, E)), N, N)
    layer, names = attention(PROGRAMS[name], "cpp")
    inputs = [torch.randn(SHAPES[key], dtype=torch.float64, requires_grad=True) for key in names]

    def run(*tensors: Tensor) -> Any:
        return layer(edges, return_weights=True, **dict(zip(names, tensors, strict=True)))

    assert gradcheck(run, inputs, fast_mode=True)
    assert gradgradcheck(run, inputs, fast_mode=True)


def test_a_gradient_penalty_reaches_every_input_and_parameter(edges: Edges) -> None:
    found = []
    for backend in ("cpp", "reference"):
        layer, names = attention(PROGRAMS["two layers"], backend)
        torch.manual_seed(5)
        inputs = {key: torch.randn(SHAPES[key], requires_grad=True) for key in names}
        out = layer(edges, **inputs)
        first = torch.autograd.grad(out.square().sum(), list(inputs.values()), create_graph=True)
        penalty = sum(gradient.square().sum() for gradient in first)
        wanted = [*inputs.values(), *layer.parameters()]
        found.append(torch.autograd.grad(penalty, wanted))
    for ours, theirs in zip(*found, strict=True):
        assert theirs.abs().max() > 0
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_second_derivatives_of_inputs_that_depend_on_one_another(edges: Edges) -> None:
    # As in GATConv: the logits are made from the values, and both are inputs.
    found = []
    for backend in ("cpp", "reference"):
        layer = EdgeAttention(
            lambda own, other: (own + other).tanh(),
            plain,
            target=["own"],
            source=["other", "value"],
            backend=backend,
        )
        torch.manual_seed(7)
        x = torch.randn(N, H, C, dtype=torch.float64, requires_grad=True)
        logit = x.square().sum(-1)
        out = layer(edges, own=logit, other=2 * logit, value=x)
        (first,) = torch.autograd.grad(out.square().sum(), x, create_graph=True)
        found.append((first.detach(), *torch.autograd.grad(first.square().sum(), x)))
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_only_what_needs_a_gradient_gets_one(edges: Edges) -> None:
    layer, names = attention(PROGRAMS["product"], "cpp")
    inputs = {key: torch.randn(SHAPES[key]) for key in names}
    inputs["key"].requires_grad_()
    layer(edges, **inputs).sum().backward()
    assert inputs["key"].grad is not None
    assert inputs["query"].grad is None
    assert inputs["value"].grad is None


def star(end: str) -> Edges:
    others, hub = torch.arange(5000) % N, torch.full((5000,), 3)
    rows = (others, hub) if end == "target" else (hub, others)
    return Edges.from_edge_index(torch.stack(rows), N, N)


@pytest.mark.parametrize(
    "structure", [edges_with_a_hub, lambda: star("target"), lambda: star("source")]
)
def test_the_same_bits_for_any_number_of_threads(structure: Callable[[], Edges]) -> None:
    edges = structure()
    layer, names = attention(PROGRAMS["cosine"], "cpp")
    inputs = {key: torch.randn(SHAPES[key]) for key in names}
    before = torch.get_num_threads()
    runs = []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            runs.append(results_and_gradients(layer, edges, inputs, return_weights=True))
    finally:
        torch.set_num_threads(before)
    for results, gradients in runs[1:]:
        for ours, first in zip(results + gradients, runs[0][0] + runs[0][1], strict=True):
            assert torch.equal(ours, first)


def test_rows_without_weight_have_gradients_of_exactly_zero(edges: Edges) -> None:
    logits = torch.randn(E, 2)
    logits[edges.target == 0] = -torch.inf
    logits.requires_grad_()
    value = torch.randn(N, 2, 4, requires_grad=True)
    layer = EdgeAttention(
        lambda logits: logits, plain, edge=["logits"], source=["value"], backend="cpp"
    )
    layer(edges, logits=logits, value=value).square().sum().backward()
    assert logits.grad is not None
    assert value.grad is not None
    assert not logits.grad[edges.target == 0].any()
    assert value.grad.isfinite().all()


def test_nan_stays_in_its_row_and_head(edges: Edges) -> None:
    logits = torch.randn(E, 2)
    edge = int((edges.target == edges.target[40]).nonzero()[0])
    logits[edge, 1] = torch.nan
    logits.requires_grad_()
    layer = EdgeAttention(
        lambda logits: logits, plain, edge=["logits"], source=["value"], backend="cpp"
    )
    out = layer(edges, logits=logits, value=torch.randn(N, 2, 4))
    out.sum().backward()
    assert logits.grad is not None
    row = edges.target == edges.target[40]
    assert logits.grad[row][:, 1].isnan().all()
    assert logits.grad[:, 0].isfinite().all()
    assert logits.grad[~row].isfinite().all()


def test_an_empty_structure_and_empty_sides() -> None:
    for num_sources, num_targets in ((4, 3), (0, 3), (4, 0), (0, 0)):
        edges = Edges.from_edge_index(
            torch.empty(2, 0, dtype=torch.int64), num_sources, num_targets
        )
        layer, _ = attention(PROGRAMS["product"], "cpp")
        inputs = {
            "query": torch.randn(num_targets, H, C, requires_grad=True),
            "key": torch.randn(num_sources, H, C, requires_grad=True),
            "value": torch.randn(num_sources, H, C, requires_grad=True),
        }
        out = layer(edges, **inputs)
        assert torch.equal(out, torch.zeros(num_targets, H, C))
        out.sum().backward()
        for x in inputs.values():
            assert x.grad is not None
            assert torch.equal(x.grad, torch.zeros_like(x))


def test_a_bipartite_structure() -> None:
    edge_index = torch.stack([torch.randint(0, 7, (40,)), torch.randint(0, 4, (40,))])
    edges = Edges.from_edge_index(edge_index, 7, 4)
    gradients = []
    for backend in ("cpp", "reference"):
        layer, _ = attention(PROGRAMS["product"], backend)
        torch.manual_seed(6)
        inputs = {
            "query": torch.randn(4, H, C),
            "key": torch.randn(7, H, C),
            "value": torch.randn(7, H, C),
        }
        gradients.append(results_and_gradients(layer, edges, inputs)[1])
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
