"""Layers take an Edges in place of an edge list: one structure for a whole network."""

from typing import Any

import pytest
import torch
from drop_in_graphs import bipartite_edges
from torch import Tensor, nn

from graphattn import Edges
from graphattn.nn import (
    ExphormerLayer,
    GATConv,
    GatedGCNLayer,
    GATv2Conv,
    GraphTransformerLayer,
    GRITLayer,
    MatformerConv,
    SANLayer,
    TransformerConv,
)

LAYERS = [GATConv, GATv2Conv, TransformerConv]


@pytest.fixture
def edge_index() -> Tensor:
    return bipartite_edges(8, 8, 30)


def has_loops(kind: type[nn.Module]) -> bool:
    return kind is not TransformerConv


@pytest.mark.parametrize("kind", LAYERS)
def test_an_edges_gives_what_its_edge_list_gives(kind: Any, edge_index: Tensor) -> None:
    layer, x, edge_attr = kind(4, 3, heads=2, edge_dim=2), torch.randn(8, 4), torch.randn(30, 2)
    edges = Edges.from_edge_index(edge_index, 8, 8, self_loops=has_loops(kind))
    expected, (used, weights) = layer(x, edge_index, edge_attr, return_attention_weights=True)
    out, (ours, our_weights) = layer(x, edges, edge_attr, return_attention_weights=True)
    assert torch.equal(out, expected)
    assert torch.equal(ours, used)
    assert torch.equal(our_weights, weights)


@pytest.mark.parametrize("kind", LAYERS)
def test_an_edges_between_two_sets(kind: Any) -> None:
    layer = kind((4, 5), 3)
    x, edge_index = (torch.randn(6, 4), torch.randn(9, 5)), bipartite_edges(6, 9, 20)
    edges = Edges.from_edge_index(edge_index, 6, 9, self_loops=has_loops(kind))
    assert torch.equal(layer(x, edges), layer(x, edge_index))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"num_sources": 9}, "num_sources=8, got 9"),
        ({"num_targets": 9}, "num_targets=8, got 9"),
        ({"flow": "target_to_source"}, "flow='source_to_target', got 'target_to_source'"),
        ({"self_loops": False}, "self_loops=True, got False"),
    ],
)
def test_an_edges_must_fit_the_layer(
    change: dict[str, Any], words: str, edge_index: Tensor
) -> None:
    options = {"num_sources": 8, "num_targets": 8, "self_loops": True, **change}
    edges = Edges.from_edge_index(edge_index, **options)
    with pytest.raises(ValueError, match=words):
        GATConv(4, 3)(torch.randn(8, 4), edges)


WITHIN_ONE_SET: dict[str, tuple[nn.Module, dict[str, Tensor]]] = {
    "graph transformer": (GraphTransformerLayer(8, 2), {}),
    "Exphormer": (ExphormerLayer(8, 2, 8), {}),
    "GRIT": (GRITLayer(8, 2), {"degree": torch.ones(9)}),
    "SAN": (SANLayer(8, 2), {"is_real": torch.ones(20, dtype=torch.bool)}),
    "gated convolution": (GatedGCNLayer(8), {}),
    "Matformer": (MatformerConv(8, 8), {}),
}


@pytest.mark.parametrize("name", WITHIN_ONE_SET)
@pytest.mark.parametrize("num_rows", [6, 9])
def test_an_edges_between_two_sets_is_refused_where_nodes_are_one(name: str, num_rows: int) -> None:
    layer, others = WITHIN_ONE_SET[name]
    edges = Edges.from_edge_index(bipartite_edges(6, 9, 20), 6, 9)
    message = "edge_index must be among one set of nodes, got 6 sources and 9 targets"
    with pytest.raises(ValueError, match=message):
        layer(torch.randn(num_rows, 8), edges, torch.randn(20, 8), **others)


def test_hooks_on_messages_ask_for_an_edge_list(edge_index: Tensor) -> None:
    layer = GATv2Conv(4, 3)
    layer.register_message_forward_hook(lambda *_: None)
    edges = Edges.from_edge_index(edge_index, 8, 8, self_loops=True)
    with pytest.raises(ValueError, match="edge_index must be an edge list, not Edges"):
        layer(torch.randn(8, 4), edges)
