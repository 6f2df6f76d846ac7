"""Gradients of compiled programs: of inputs that depend on one another, and only where needed."""

import torch
from contract_programs import CASES, plain
from contract_runs import structures

from graphattn.attention import EdgeAttention


def test_second_derivatives_of_inputs_that_depend_on_one_another() -> None:
    edges = structures(square=True)["assorted"]
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
        x = torch.randn(edges.num_sources, 3, 5, dtype=torch.float64, requires_grad=True)
        logit = x.square().sum(-1)
        out = layer(edges, own=logit, other=2 * logit, value=x)
        (first,) = torch.autograd.grad(out.square().sum(), x, create_graph=True)
        found.append((first.detach(), *torch.autograd.grad(first.square().sum(), x)))
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_only_what_needs_a_gradient_gets_one() -> None:
    case, edges = CASES["masked"], structures(square=True)["assorted"]
    layer, inputs = case.layer(3, 5, backend="cpp"), case.inputs(edges, 3, 5, torch.float32)
    inputs["key"].requires_grad_()
    layer(edges, **inputs).sum().backward()
    assert inputs["key"].grad is not None
    assert inputs["query"].grad is None
    assert inputs["value"].grad is None
