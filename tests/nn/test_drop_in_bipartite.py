"""Sources and targets of different kinds: pairs, a missing half, sizes, flow and lazy widths."""

from typing import Any

import pytest
import torch
from drop_in_cases import (
    LAYERS,
    SELF_LOOPING,
    Call,
    assert_drop_in,
    layer_pair,
    layer_types,
    run,
    tensors_in,
)
from drop_in_graphs import bipartite_edges
from torch_geometric import EdgeIndex

SIZES = [(9, 5), (5, 9), (6, 6), (1, 8), (8, 1)]


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("in_channels", [4, (4, 4), (4, 6)], ids=str)
@pytest.mark.parametrize("name", LAYERS)
def test_pairs_of_features(name: str, in_channels: Any, sizes: tuple[int, int]) -> None:
    sources, targets = sizes
    width = in_channels if isinstance(in_channels, int) else in_channels[1]
    pair = layer_pair(name, in_channels, heads=2)
    x = (torch.randn(sources, 4), torch.randn(targets, width))
    assert_drop_in(pair, Call(x, bipartite_edges(sources, targets, 20)))


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("name", LAYERS)
def test_pairs_with_edge_features(name: str, sizes: tuple[int, int]) -> None:
    sources, targets = sizes
    # Where targets outnumber sources, their layers cannot average into loops: fill with a number.
    fill = {"fill_value": 0.5} if targets > sources and name in SELF_LOOPING else {}
    pair = layer_pair(name, (4, 6), heads=2, edge_dim=3, **fill)
    x = (torch.randn(sources, 4), torch.randn(targets, 6))
    assert_drop_in(pair, Call(x, bipartite_edges(sources, targets, 20), torch.randn(20, 3)))


@pytest.mark.parametrize("name", LAYERS)
def test_a_list_serves_as_a_pair(name: str) -> None:
    ours, theirs = layer_pair(name, heads=2)
    x = [torch.randn(6, 4), torch.randn(5, 4)]
    edge_index = bipartite_edges(6, 5, 20)
    torch.testing.assert_close(ours(x, edge_index), theirs(x, edge_index))


@pytest.mark.parametrize("sizes", [(0, 4), (4, 0), (0, 0)])
@pytest.mark.parametrize("name", LAYERS)
def test_pairs_with_an_empty_side(name: str, sizes: tuple[int, int]) -> None:
    x = (torch.randn(sizes[0], 4), torch.randn(sizes[1], 4))
    pair = layer_pair(name, heads=2)
    assert_drop_in(pair, Call(x, torch.zeros(2, 0, dtype=torch.int64)))


@pytest.mark.parametrize("name", LAYERS)
def test_a_pair_with_a_rectangular_structure(name: str) -> None:
    edge_index = bipartite_edges(6, 5, 40).unique(dim=1).contiguous()
    x = (torch.randn(6, 4), torch.randn(5, 4))
    adjacency = torch.sparse_coo_tensor(
        edge_index.flip(0), torch.ones(edge_index.shape[1]), (5, 6)
    ).coalesce()
    for structure in (EdgeIndex(edge_index, sparse_size=(6, 5)), adjacency):
        assert_drop_in(layer_pair(name, heads=2), Call(x, structure))


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("self_loops", [False, True])
@pytest.mark.parametrize("in_channels", [4, (4, 6)], ids=str)
def test_gat_conv_without_target_features(
    in_channels: Any, self_loops: bool, residual: bool
) -> None:
    pair = layer_pair(
        "GATConv", in_channels, heads=2, edge_dim=2, add_self_loops=self_loops, residual=residual
    )
    x = (torch.randn(6, 4), None)
    assert_drop_in(pair, Call(x, bipartite_edges(6, 6, 20), torch.randn(20, 2)))


@pytest.mark.parametrize("self_loops", [False, True])
@pytest.mark.parametrize(("second", "size"), [(6, (6, 6)), (4, (6, 4)), (None, (6, 4))])
def test_gat_conv_with_a_size(second: int | None, size: tuple[int, int], self_loops: bool) -> None:
    pair = layer_pair("GATConv", heads=2, add_self_loops=self_loops)
    x = (torch.randn(6, 4), None if second is None else torch.randn(second, 4))
    assert_drop_in(pair, Call(x, bipartite_edges(6, size[1], 20), options={"size": size}))


@pytest.mark.parametrize("size", [(6, 5), (5, 6), (7, 7)])
def test_gat_conv_refuses_a_size_that_contradicts_the_features(size: tuple[int, int]) -> None:
    ours, _ = layer_pair("GATConv")
    with pytest.raises(ValueError, match="size"):
        ours(torch.randn(6, 4), bipartite_edges(5, 5, 20), size=size)


@pytest.mark.parametrize("name", ["GATv2Conv", "TransformerConv"])
def test_other_layers_refuse_missing_target_features(name: str) -> None:
    for layer in layer_pair(name):
        with pytest.raises((AssertionError, TypeError, ValueError)):
            layer((torch.randn(6, 4), None), bipartite_edges(6, 6, 20))


@pytest.mark.parametrize("in_channels", [4, (4, 6)], ids=str)
@pytest.mark.parametrize("name", LAYERS)
def test_pairs_against_the_flow(name: str, in_channels: Any) -> None:
    # Messages run from the second row to the first, but x[0] is what is sent all the same.
    width = in_channels if isinstance(in_channels, int) else in_channels[1]
    pair = layer_pair(name, in_channels, heads=2, edge_dim=2, flow="target_to_source")
    x = (torch.randn(6, 4), torch.randn(6, width))
    assert_drop_in(pair, Call(x, bipartite_edges(6, 6, 20), torch.randn(20, 2)))


@pytest.mark.parametrize("name", LAYERS)
def test_rectangular_pairs_against_the_flow(name: str) -> None:
    # PyG's GAT layers give a row for each source here, rather than for each target.
    ours, theirs = layer_pair(name, heads=2, flow="target_to_source")
    x, edge_index = (torch.randn(7, 4), torch.randn(5, 4)), bipartite_edges(5, 5, 20)
    out = ours(x, edge_index)
    assert out.shape == (5, 6)
    torch.testing.assert_close(out, theirs(x, edge_index)[:5], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("in_channels", "as_pair"), [(-1, False), ((-1, -1), True), ((4, -1), True), ((-1, 6), True)]
)
@pytest.mark.parametrize("name", LAYERS)
def test_lazy_widths(name: str, in_channels: Any, as_pair: bool) -> None:
    layers = []
    for kind in layer_types(name):
        torch.manual_seed(3)
        layers.append(kind(in_channels, 3, heads=2, edge_dim=-1))
    ours, theirs = layers
    x: Any = torch.randn(6, 4)
    if as_pair:
        x = (x, torch.randn(6, 6))
    call = Call(x, bipartite_edges(6, 6, 20), torch.randn(20, 2))
    for layer in layers:
        torch.manual_seed(4)  # the first call draws the parameters
        layer(call.x, call.edge_index, call.edge_attr)
    for (key, mine), (peer_key, peer) in zip(
        ours.state_dict().items(), theirs.state_dict().items(), strict=True
    ):
        assert key == peer_key
        assert torch.equal(mine, peer), key
    assert repr(ours) == repr(theirs)
    assert_drop_in((ours, theirs), call)


@pytest.mark.parametrize("name", LAYERS)
def test_a_lazy_layer_takes_the_weights_of_a_finished_one(name: str) -> None:
    ours, theirs = layer_pair(name, heads=2)
    lazy = layer_types(name)[0](-1, 3, heads=2)
    lazy.load_state_dict(theirs.state_dict())
    call = Call(torch.randn(6, 4), bipartite_edges(6, 6, 20))
    first, second = (tensors_in(run(layer, call).returned) for layer in (lazy, ours))
    assert all(torch.equal(one, other) for one, other in zip(first, second, strict=True))
