"""Reductions of weighted messages: PyTorch Geometric's, sets as graphs, order, nothing to read."""

import pytest
import torch
from drop_in_graphs import bipartite_edges
from sizes import LargestTensor
from torch import Tensor
from torch.testing import assert_close
from torch_geometric.nn import DegreeScalerAggregation

from graphattn import Blocks, streamed
from graphattn.edges import Edges
from graphattn.nn.sets.pna_attention import (
    PNAAttention,
    degree_scaled,
    mean_log_degree,
    message_statistics,
)

C, HEADS = 8, 2
SIZES = [4, 0, 1, 20]


@pytest.fixture
def layer() -> PNAAttention:
    return PNAAttention(C, HEADS, 1.3).double()


def elements(size: int) -> Tensor:
    return torch.randn(size, C, dtype=torch.float64, requires_grad=True)


def test_reductions_and_scalers_are_those_of_pytorch_geometric() -> None:
    degree = torch.tensor([3, 0, 1, 7, 2])
    ptr = torch.cat([torch.zeros(1, dtype=torch.int64), degree.cumsum(0)])
    message = torch.randn(13, 6, dtype=torch.float64, requires_grad=True)
    with torch.no_grad():
        message[4:6] = message[4]  # no spread
    delta = float(torch.tensor([1.0, 2.0, 3.0, 7.0]).log1p().double().mean())
    peer = DegreeScalerAggregation(
        ["mean", "min", "max", "std"],
        ["identity", "amplification", "attenuation"],
        torch.tensor([0, 1, 1, 1, 0, 0, 0, 1]),
    ).double()
    expected = peer(message, torch.arange(5).repeat_interleave(degree), dim_size=5)
    found = degree_scaled(message_statistics(message, ptr), degree, delta)
    assert found.shape == (5, 3, 4, 6)
    assert not found[1].any()
    assert_close(found.flatten(1), expected, atol=1e-6, rtol=1e-6)  # its own are of float32
    cotangent = torch.randn_like(expected)
    own, others = (
        torch.autograd.grad(x, message, cotangent)[0] for x in (found.flatten(1), expected)
    )
    assert_close(own, others, atol=1e-5, rtol=1e-5)


def by_hand(layer: PNAAttention, x: Tensor, edges: Edges) -> Tensor:
    query, key, value = layer.lin_qkv(x).unflatten(-1, (3, HEADS, -1)).unbind(1)
    rows = []
    for node in range(edges.num_targets):
        own = edges.source[edges.target == node]
        logits = (query[node] * key[own]).sum(-1) / (C / HEADS) ** 0.5
        message = logits.softmax(0).unsqueeze(-1) * value[own]  # (d, H, C)
        if len(own):
            spread = message.var(0, correction=0)
            spread = torch.where(spread > 1e-5, spread, 0).sqrt()
            four = torch.stack([message.mean(0), message.amin(0), message.amax(0), spread])
        else:
            four = value.new_zeros(4, *value.shape[1:])
        factor = torch.tensor(len(own) + 1.0).double().log() / layer.mean_log_degree
        back = 1 / factor if len(own) else 0
        rows.append(torch.stack([four, four * factor, four * back]).flatten())
    return layer.lin_out(torch.stack(rows))


def test_it_is_the_formula_on_a_graph(layer: PNAAttention) -> None:
    edges = Edges.from_edge_index(bipartite_edges(9, 9, 30), 10)  # the last node has none
    x = elements(10)
    found, expected = layer(x, edges), by_hand(layer, x, edges)
    assert_close(found, expected)
    assert_close(found[9], layer.lin_out.bias)
    inputs, cotangent = [x, *layer.parameters()], torch.randn_like(found)
    own = torch.autograd.grad(found, inputs, cotangent)
    for one, another in zip(own, torch.autograd.grad(expected, inputs, cotangent), strict=True):
        assert_close(one, another)


def test_sets_are_complete_graphs_and_made_in_pieces(
    layer: PNAAttention, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streamed, "PAIRS", 50)
    blocks = Blocks.from_ptr(torch.tensor([0, *SIZES]).cumsum(0))
    x = elements(sum(SIZES))
    found, expected = layer(x, blocks), layer(x, blocks.edges())
    assert_close(found, expected)
    inputs, cotangent = [x, *layer.parameters()], torch.randn_like(found)
    own = torch.autograd.grad(found, inputs, cotangent)
    for one, another in zip(own, torch.autograd.grad(expected, inputs, cotangent), strict=True):
        assert_close(one, another)
    with LargestTensor() as made:
        layer(x, blocks).sum().backward()
    assert made.numel < blocks.num_edges * C


def test_a_set_gives_the_same_alone_in_a_batch_and_in_any_order(layer: PNAAttention) -> None:
    blocks = Blocks.from_ptr(torch.tensor([0, *SIZES]).cumsum(0))
    x = elements(sum(SIZES))
    for own, expected in zip(x.split(SIZES), layer(x, blocks).split(SIZES), strict=True):
        order = torch.randperm(len(own))
        alone = Blocks.from_ptr(torch.tensor([0, len(own)]))
        assert_close(layer(own[order], alone), expected[order])


def test_mean_of_logarithms_is_over_targets() -> None:
    edges = Edges.from_edge_index(torch.tensor([[0, 1, 2], [0, 0, 1]]), 3)
    assert_close(mean_log_degree(edges), float(torch.tensor([2.0, 1.0, 0.0]).log1p().mean()))
    assert mean_log_degree(Blocks.from_ptr(torch.tensor([0, 0]))) == 1


def test_bad_input_is_named(layer: PNAAttention) -> None:
    blocks = Blocks.from_ptr(torch.tensor([0, 3]))
    with pytest.raises(ValueError, match=r"x must be \(3, 8\), got \(2, 8\)"):
        layer(elements(2), blocks)
    with pytest.raises(TypeError, match="structure must be Blocks or Edges, got int"):
        layer(elements(3), 3)
    with pytest.raises(ValueError, match="the same elements as targets and as sources"):
        layer(elements(3), Blocks.from_ptr(torch.tensor([0, 2]), torch.tensor([0, 3])))
    with pytest.raises(ValueError, match="mean_log_degree must be positive, got 0"):
        PNAAttention(C, HEADS, 0)
    with pytest.raises(ValueError, match="heads must divide channels = 8, got 3"):
        PNAAttention(C, 3)
