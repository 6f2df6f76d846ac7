"""Gradients of compiled programs: of inputs that depend on one another, and only where needed."""

import torch
from attention_cases import attention, bipartite, inputs_for
from contract_programs import CASES
from contract_runs import structures


def test_second_derivatives_of_inputs_that_depend_on_one_another() -> None:
    edges = structures(square=True)["assorted"]
    # As in GATConv: the logits are made from the values, and both are inputs.
    found = []
    for backend in ("cpp", "reference"):
        layer = CASES["softmax"].layer(2, 3, backend=backend)
        torch.manual_seed(7)
        x = torch.randn(edges.num_sources, 2, 3, dtype=torch.float64, requires_grad=True)
        logit = x.square().sum(-1)
        out = layer(edges, query=x, key=2 * x, value=x, bias=logit[edges.source])
        (first,) = torch.autograd.grad(out.square().sum(), x, create_graph=True)
        found.append((first.detach(), *torch.autograd.grad(first.square().sum(), x)))
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_only_what_needs_a_gradient_gets_one() -> None:
    edges = bipartite()
    inputs, wanted = inputs_for(edges), ("query", "key", "bias")
    for name in wanted:
        inputs[name].requires_grad_()
    attention(backend="cpp")(edges, **inputs).sum().backward()
    assert [name for name, x in inputs.items() if x.grad is not None] == list(wanted)
