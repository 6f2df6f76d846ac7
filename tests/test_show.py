"""What a layer computes can be read: its programs and the C++ compiled for them."""

import pytest
import torch
from torch import Tensor, nn

import graphattn
from graphattn import EdgeAttention, Edges
from graphattn.nn import GATv2Conv


def score(query: Tensor, key: Tensor) -> Tensor:
    return (query * key).sum(-1)


def test_it_shows_the_program_and_every_pass_that_was_compiled() -> None:
    attention = EdgeAttention(
        score, lambda value: value, target=["query"], source=["key", "value"], backend="cpp"
    )
    assert "no program" in graphattn.show(attention)
    rows = {name: torch.randn(4, 2, 3, requires_grad=True) for name in ("query", "key", "value")}
    edges = Edges.from_edge_index(torch.tensor([[0, 1, 2], [1, 1, 3]]), 4)
    with torch.no_grad():
        attention(edges, **rows)
    text = graphattn.show(attention)
    assert "%mul_0 = mul(query, key)" in text
    assert "Forward by target row" in text
    assert "Backward" not in text
    attention(edges, **rows).sum().backward()
    text = graphattn.show(nn.Sequential(attention))
    assert text.index("Backward by target row") < text.index("Backward by source row")


def test_it_finds_the_attention_of_a_layer() -> None:
    layer = GATv2Conv(4, 5, heads=3)
    layer(torch.randn(3, 4), torch.tensor([[0, 1], [1, 2]]))
    assert "shared attention: [3, 5] float32" in graphattn.show(layer)


def test_it_refuses_what_has_no_attention() -> None:
    with pytest.raises(TypeError, match="must have an EdgeAttention in it, got Linear"):
        graphattn.show(nn.Linear(2, 2))
