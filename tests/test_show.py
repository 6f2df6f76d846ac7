"""What a layer computes can be read: its programs and the C++ compiled for them."""

import pytest
import torch
from contract_programs import CASES
from torch import nn

import graphattn
from graphattn import Edges
from graphattn.nn import GATv2Conv


def test_it_shows_the_program_and_every_pass_that_was_compiled() -> None:
    case = CASES["softmax"]
    attention = case.layer(3, 5, backend="cpp")
    assert "no program" in graphattn.show(attention)
    edges = Edges.from_edge_index(torch.tensor([[0, 1, 2], [1, 1, 3]]), 4)
    inputs = case.inputs(edges, 3, 5, torch.float32)
    attention(edges, **inputs)
    text = graphattn.show(attention)
    assert "%mul_0 = mul(query, key)" in text
    assert "Forward by target row" in text
    assert "Backward" not in text
    attention(edges, **{name: x.requires_grad_() for name, x in inputs.items()}).sum().backward()
    text = graphattn.show(nn.Sequential(attention))
    assert text.index("Backward by target row") < text.index("Backward by source row")


def test_it_finds_the_attention_of_a_layer() -> None:
    layer = GATv2Conv(4, 3, heads=2)
    layer(torch.randn(3, 4), torch.tensor([[0, 1], [1, 2]]))
    assert "shared attention: [2, 3] float32" in graphattn.show(layer)


def test_it_refuses_what_has_no_attention() -> None:
    with pytest.raises(TypeError, match="must have an EdgeAttention in it, got Linear"):
        graphattn.show(nn.Linear(2, 2))
