"""Values, attention weights and gradients of the drop-in layers on many graphs and dtypes."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from drop_in_cases import (
    LAYERS,
    SELF_LOOPING,
    TOLERANCES,
    Call,
    Result,
    assert_close,
    assert_drop_in,
    assert_same,
    assert_same_structure,
    layer_pair,
    run,
    tensors_in,
)
from drop_in_graphs import GRAPHS, bipartite_edges
from torch import Tensor


@pytest.mark.parametrize("with_edges", [False, True], ids=["no features", "edge features"])
@pytest.mark.parametrize("graph", GRAPHS)
@pytest.mark.parametrize("name", LAYERS)
def test_same_on_every_kind_of_graph(name: str, graph: str, with_edges: bool) -> None:
    num_nodes, edge_index = GRAPHS[graph]()
    edge_attr = torch.randn(edge_index.shape[1], 2) if with_edges else None
    pair = layer_pair(name, heads=2, edge_dim=2 if with_edges else None)
    assert_drop_in(pair, Call(torch.randn(num_nodes, 4), edge_index, edge_attr))


@pytest.mark.parametrize("graph", GRAPHS)
@pytest.mark.parametrize("name", SELF_LOOPING)
def test_same_on_every_kind_of_graph_without_added_loops(name: str, graph: str) -> None:
    num_nodes, edge_index = GRAPHS[graph]()
    pair = layer_pair(name, heads=2, add_self_loops=False)
    assert_drop_in(pair, Call(torch.randn(num_nodes, 4), edge_index))


# For these, other tests have kernels; the contract of all programs has further widths.
@pytest.mark.parametrize(
    ("name", "heads", "channels", "edge_dim"),
    [
        ("GATConv", 8, 8, None),
        ("GATConv", 1, 7, None),
        ("GATConv", 2, 6, 2),
        ("GATv2Conv", 8, 16, None),
        ("GATv2Conv", 1, 64, None),
        ("GATv2Conv", 4, 4, 2),
        ("TransformerConv", 4, 8, None),
        ("TransformerConv", 3, 8, 2),
    ],
)
def test_same_for_many_widths(name: str, heads: int, channels: int, edge_dim: int | None) -> None:
    pair = layer_pair(name, 4, channels, heads=heads, edge_dim=edge_dim)
    edge_attr = None if edge_dim is None else torch.randn(90, edge_dim)
    assert_drop_in(pair, Call(torch.randn(20, 4), bipartite_edges(20, 20, 90), edge_attr))


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize("name", LAYERS)
def test_same_on_a_larger_graph_with_hubs_at_both_ends(name: str) -> None:
    edge_index = bipartite_edges(400, 400, 3000)
    edge_index[1, ::4] = 17
    edge_index[0, 1::4] = 399
    pair = layer_pair(name, heads=2, edge_dim=2, dropout=0.2)
    assert_drop_in(pair, Call(torch.randn(400, 4), edge_index, torch.randn(3000, 2)))


@pytest.mark.parametrize("scale", [1e-3, 30.0, 1e3])
@pytest.mark.parametrize("name", LAYERS)
def test_same_for_small_and_large_scores(name: str, scale: float) -> None:
    pair = layer_pair(name, heads=2)
    with torch.no_grad():
        for layer in pair:
            for key, parameter in layer.named_parameters():
                if "att" in key or "query" in key:
                    parameter.mul_(scale)
    # Scores of a thousand carry rounding errors of 1e-4, which the exponential keeps.
    tolerance = TOLERANCES[torch.float32] * max(1.0, scale)
    call = Call(torch.randn(9, 4), bipartite_edges(9, 9, 40), None, {})
    ours, theirs = (run(layer, call) for layer in pair)
    assert_same(ours, theirs, tolerance)


@pytest.mark.parametrize("asked", [True, False, None, 1, 0])
@pytest.mark.parametrize("name", LAYERS)
def test_attention_weights_come_in_the_same_form(name: str, asked: Any) -> None:
    ours, theirs = layer_pair(name, heads=2)
    call = Call(
        torch.randn(6, 4),
        bipartite_edges(6, 6, 15),
        options={"return_attention_weights": asked},
    )
    assert_same(run(ours, call), run(theirs, call))


def test_transformer_conv_returns_the_very_edge_index_it_was_given() -> None:
    ours, _ = layer_pair("TransformerConv")
    edge_index = bipartite_edges(6, 6, 15)
    _, (used, _) = ours(torch.randn(6, 4), edge_index, return_attention_weights=True)
    assert used is edge_index


@pytest.mark.parametrize("name", LAYERS)
def test_a_loss_on_the_attention_weights_alone_has_the_same_gradients(name: str) -> None:
    pair = layer_pair(name, heads=2, edge_dim=2)
    x, edge_attr = torch.randn(6, 4), torch.randn(15, 2)
    gradients = []
    for layer in pair:
        features, edges = x.clone().requires_grad_(), edge_attr.clone().requires_grad_()
        _, (_, weights) = layer(
            features, bipartite_edges(6, 6, 15), edges, return_attention_weights=True
        )
        loss = -(weights.clamp(min=1e-6).log() * weights).sum()
        gradients.append(torch.autograd.grad(loss, (features, edges)))
    for ours, theirs, what in zip(*gradients, ("x", "edge_attr"), strict=True):
        assert_close(ours, theirs, what)


@pytest.mark.parametrize("name", LAYERS)
def test_weights_of_every_target_and_head_sum_to_one(name: str) -> None:
    ours, _ = layer_pair(name, heads=2)
    edge_index = bipartite_edges(6, 6, 15)
    _, (used, weights) = ours(torch.randn(6, 4), edge_index, return_attention_weights=True)
    sums = torch.zeros(6, 2).index_add(0, used[1], weights)
    expected = torch.zeros(6).index_fill(0, used[1], 1.0)[:, None].expand(6, 2)
    torch.testing.assert_close(sums, expected)


@pytest.mark.parametrize("with_edges", [False, True], ids=["no features", "edge features"])
@pytest.mark.parametrize("name", LAYERS)
def test_same_in_float64(name: str, with_edges: bool) -> None:
    ours, theirs = layer_pair(name, heads=2, edge_dim=2 if with_edges else None)
    edge_attr = torch.randn(40, 2).double() if with_edges else None
    call = Call(torch.randn(9, 4).double(), bipartite_edges(9, 9, 40), edge_attr)
    assert_drop_in((ours.double(), theirs.double()), call)


def assert_as_precise(low: Result, peer: Result, precise: Result) -> None:
    """Same dtypes as the peer, and no further from float64 than about twice its error."""
    assert_same_structure(low.returned, peer.returned)
    low_tensors, peer_tensors, precise_tensors = (
        dict(enumerate(tensors_in(result.returned))) | result.gradients
        for result in (low, peer, precise)
    )
    for key, expected in precise_tensors.items():
        assert low_tensors[key].dtype == peer_tensors[key].dtype
        scale = max(1.0, expected.abs().max().item())
        error, peer_error = (
            (tensors[key].detach().double() - expected).abs().max().item()
            for tensors in (low_tensors, peer_tensors)
        )
        assert error <= 2 * peer_error + TOLERANCES[torch.bfloat16] * scale, key


@pytest.mark.parametrize("name", LAYERS)
def test_bfloat16_is_as_close_to_float64_as_its_peer(name: str) -> None:
    ours, theirs = (layer.bfloat16() for layer in layer_pair(name, 4, 8, heads=2, edge_dim=2))
    x, edge_attr = torch.randn(9, 4).bfloat16(), torch.randn(40, 2).bfloat16()
    options = {"return_attention_weights": True}
    call = Call(x, bipartite_edges(9, 9, 40), edge_attr, options)
    low, peer = run(ours, call), run(theirs, call)
    wide = Call(x.double(), call.edge_index, edge_attr.double(), options)
    assert_as_precise(low, peer, run(theirs.double(), wide))


@pytest.mark.parametrize("with_edges", [True], ids=["edge features"])
@pytest.mark.parametrize("name", LAYERS)
def test_autocast_gives_the_same_dtypes_as_precisely(name: str, with_edges: bool) -> None:
    ours, theirs = layer_pair(name, 4, 8, heads=2, edge_dim=2 if with_edges else None)
    x, edge_attr = torch.randn(9, 4), torch.randn(40, 2) if with_edges else None
    options = {"return_attention_weights": True}
    call = Call(x, bipartite_edges(9, 9, 40), edge_attr, options)
    with torch.autocast("cpu", torch.bfloat16):
        low, peer = run(ours, call), run(theirs, call)
    wide_edges = None if edge_attr is None else edge_attr.double()
    wide = Call(x.double(), call.edge_index, wide_edges, options)
    assert_as_precise(low, peer, run(theirs.double(), wide))


# By the inputs of its program that a set asks gradients of, it is a compiler run of its own.
ASKED_FOR = [
    ("GATConv", {"x", "bias", "lin.weight"}),
    ("GATConv", {"att_src"}),
    ("GATConv", {"att_dst", "att_edge", "lin_edge.weight", "edge_attr"}),
    ("GATv2Conv", {"x", "bias"}),
    ("GATv2Conv", {"lin_l.weight", "lin_l.bias"}),
    ("GATv2Conv", {"lin_r.weight", "lin_r.bias", "att", "lin_edge.weight", "edge_attr"}),
    ("TransformerConv", {"x", "lin_skip.weight", "lin_skip.bias"}),
    ("TransformerConv", {"lin_key.weight", "lin_key.bias", "lin_value.weight", "lin_value.bias"}),
    ("TransformerConv", {"lin_query.weight", "lin_query.bias", "lin_edge.weight", "edge_attr"}),
]


@pytest.mark.parametrize(("name", "asked_for"), ASKED_FOR)
def test_gradients_do_not_depend_on_which_others_are_asked_for(
    name: str, asked_for: set[str]
) -> None:
    ours, _ = layer_pair(name, heads=2, edge_dim=2)
    edge_index, cotangent = bipartite_edges(9, 9, 40), torch.randn(9, 6)
    leaves = {"x": torch.randn(9, 4), "edge_attr": torch.randn(40, 2)}
    leaves |= dict(ours.named_parameters())

    def gradients(wanted: set[str]) -> dict[str, Tensor]:
        for key, leaf in leaves.items():
            leaf.requires_grad_(key in wanted)
            leaf.grad = None
        (ours(leaves["x"], edge_index, leaves["edge_attr"]) * cotangent).sum().backward()
        return {key: leaf.grad for key, leaf in leaves.items() if leaf.grad is not None}

    together = gradients(set(leaves))
    assert together.keys() == leaves.keys()
    alone = gradients(asked_for)
    assert alone.keys() == asked_for
    for key in asked_for:
        assert_close(alone[key], together[key], key)


@pytest.mark.parametrize("name", LAYERS)
def test_backward_may_run_twice_and_adds_up(name: str) -> None:
    ours, _ = layer_pair(name, heads=2)
    x = torch.randn(9, 4, requires_grad=True)
    total = ours(x, bipartite_edges(9, 9, 40)).square().sum()
    total.backward(retain_graph=True)
    assert x.grad is not None
    once = x.grad.clone()
    total.backward()
    torch.testing.assert_close(x.grad, 2 * once)


@pytest.mark.parametrize("name", LAYERS)
def test_no_grad_and_inference_mode_give_the_same_values(name: str) -> None:
    ours, _ = layer_pair(name, heads=2)
    x, edge_index = torch.randn(9, 4), bipartite_edges(9, 9, 40)
    expected = ours(x, edge_index)
    assert expected.requires_grad
    with torch.no_grad():
        quiet = ours(x, edge_index)
    with torch.inference_mode():
        inferred = ours(x.clone(), edge_index.clone())
    assert not quiet.requires_grad
    assert inferred.is_inference()
    assert_close(quiet, expected.detach(), "no_grad")
    assert_close(inferred.clone(), expected.detach(), "inference_mode")
