"""All forms in which the drop-in layers take a graph, and graphs that change or vanish."""

import gc
from typing import Any

import pytest
import torch
from drop_in_cases import LAYERS, SELF_LOOPING, Call, assert_drop_in, layer_pair
from drop_in_graphs import bipartite_edges
from torch import Tensor
from torch_geometric import EdgeIndex

NUM_NODES = 7


@pytest.fixture
def edge_index() -> Tensor:
    """Thirteen different edges of a graph of seven nodes; the last node has none."""
    flat = torch.randperm(36)[:13]
    return torch.stack([flat // 6, flat % 6])


def _options(name: str, self_loops: bool) -> dict[str, Any]:
    return {"add_self_loops": self_loops} if name in SELF_LOOPING else {}


LAYERS_AND_LOOPS = [(name, True) for name in LAYERS] + [(name, False) for name in SELF_LOOPING]


@pytest.mark.parametrize("sort_order", [None, "row", "col"])
@pytest.mark.parametrize(("name", "self_loops"), LAYERS_AND_LOOPS)
@pytest.mark.parametrize("flow", ["source_to_target", "target_to_source"])
def test_edge_index_objects(
    name: str, self_loops: bool, sort_order: Any, flow: str, edge_index: Tensor
) -> None:
    structure = EdgeIndex(edge_index, sparse_size=(NUM_NODES, NUM_NODES))
    if sort_order is not None:
        structure, _ = structure.sort_by(sort_order)
    pair = layer_pair(name, heads=2, edge_dim=3, flow=flow, **_options(name, self_loops))
    assert_drop_in(pair, Call(torch.randn(NUM_NODES, 4), structure, torch.randn(13, 3)))


@pytest.mark.parametrize("name", LAYERS)
def test_undirected_edge_index_objects(name: str, edge_index: Tensor) -> None:
    both = torch.cat([edge_index, edge_index.flip(0)], dim=1).unique(dim=1).contiguous()
    structure = EdgeIndex(
        both, sparse_size=(NUM_NODES, NUM_NODES), is_undirected=True, sort_order="row"
    )
    assert_drop_in(layer_pair(name, heads=2), Call(torch.randn(NUM_NODES, 4), structure))


@pytest.mark.parametrize(("name", "self_loops"), LAYERS_AND_LOOPS)
@pytest.mark.parametrize("layout", ["coo", "csr"])
def test_transposed_sparse_adjacencies(
    name: str, self_loops: bool, layout: str, edge_index: Tensor
) -> None:
    size = (NUM_NODES, NUM_NODES)
    adjacency = torch.sparse_coo_tensor(edge_index.flip(0), torch.rand(13), size).coalesce()
    if layout == "csr":
        adjacency = adjacency.to_sparse_csr()
    pair = layer_pair(name, heads=2, **_options(name, self_loops))
    assert_drop_in(pair, Call(torch.randn(NUM_NODES, 4), adjacency))


@pytest.mark.parametrize(("name", "self_loops"), LAYERS_AND_LOOPS)
def test_values_of_a_sparse_adjacency_serve_as_edge_features(
    name: str, self_loops: bool, edge_index: Tensor
) -> None:
    size = (NUM_NODES, NUM_NODES, 3)
    adjacency = torch.sparse_coo_tensor(edge_index.flip(0), torch.randn(13, 3), size).coalesce()
    ours, theirs = layer_pair(name, heads=2, edge_dim=3, **_options(name, self_loops))
    x = torch.randn(NUM_NODES, 4)
    expected = theirs(x, adjacency)
    without = theirs(x, adjacency.indices().flip(0), torch.zeros(13, 3))
    assert not torch.allclose(expected, without)
    torch.testing.assert_close(ours(x, adjacency), expected)


@pytest.mark.parametrize("name", LAYERS)
def test_sparse_adjacencies_have_one_flow(name: str, edge_index: Tensor) -> None:
    adjacency = torch.sparse_coo_tensor(edge_index, torch.ones(13), (7, 7)).coalesce()
    ours, _ = layer_pair(name, flow="target_to_source")
    with pytest.raises(ValueError, match="target_to_source"):
        ours(torch.randn(NUM_NODES, 4), adjacency)


@pytest.mark.parametrize(("name", "self_loops"), LAYERS_AND_LOOPS)
def test_int32_edge_index(name: str, self_loops: bool, edge_index: Tensor) -> None:
    # Without added loops the gradients of PyG's own layers are wrong in int32; they get int64.
    ours, theirs = layer_pair(name, heads=2, **_options(name, self_loops))
    x = torch.randn(NUM_NODES, 4, requires_grad=True)
    out, expected = ours(x, edge_index.int()), theirs(x, edge_index)
    torch.testing.assert_close(out, expected, rtol=1e-5, atol=1e-5)
    pull = torch.randn_like(out)
    gradients = [torch.autograd.grad(result, x, pull)[0] for result in (out, expected)]
    torch.testing.assert_close(*gradients, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("name", "self_loops"), LAYERS_AND_LOOPS)
def test_the_returned_edges_have_the_type_that_pyg_gives_them(
    name: str, self_loops: bool, edge_index: Tensor
) -> None:
    ours, theirs = layer_pair(name, heads=2, **_options(name, self_loops))
    call = (torch.randn(NUM_NODES, 4), edge_index.int())
    (_, (used, _)), (_, (expected, _)) = (
        layer(*call, return_attention_weights=True) for layer in (ours, theirs)
    )
    assert used.dtype == expected.dtype
    assert torch.equal(used, expected)


@pytest.mark.parametrize("name", LAYERS)
def test_strided_inputs(name: str, edge_index: Tensor) -> None:
    x = torch.randn(4, 2 * NUM_NODES).t()[::2]
    edge_attr = torch.randn(1, 3).expand(13, 3)
    rows = edge_index.t().contiguous().t()
    assert not any(tensor.is_contiguous() for tensor in (x, rows, edge_attr))
    pair = layer_pair(name, heads=2, edge_dim=3)
    assert_drop_in(pair, Call(x, rows, edge_attr))


@pytest.mark.parametrize("name", LAYERS)
def test_a_graph_changed_in_place_is_seen(name: str, edge_index: Tensor) -> None:
    pair = layer_pair(name, heads=2)
    x = torch.randn(NUM_NODES, 4)
    assert_drop_in(pair, Call(x, edge_index))
    edge_index[:, :5] = torch.tensor([[6, 6, 5, 4, 3], [0, 1, 6, 6, 6]])
    assert_drop_in(pair, Call(x, edge_index))


@pytest.mark.parametrize("name", LAYERS)
def test_a_new_graph_in_the_memory_of_an_old_one_is_seen(name: str) -> None:
    ours, theirs = layer_pair(name, heads=2)
    x = torch.randn(NUM_NODES, 4)
    addresses = set()
    for _ in range(40):
        edge_index = torch.randint(NUM_NODES, (2, 13))
        addresses.add(id(edge_index))
        torch.testing.assert_close(ours(x, edge_index), theirs(x, edge_index))
        del edge_index
        gc.collect(0)
    assert len(addresses) < 40  # otherwise nothing was tested


@pytest.mark.parametrize("name", LAYERS)
def test_one_graph_serves_layers_with_and_without_loops_and_both_flows(name: str) -> None:
    edge_index, x = bipartite_edges(NUM_NODES, NUM_NODES, 20), torch.randn(NUM_NODES, 4)
    for self_loops in (True, False, True):
        for flow in ("source_to_target", "target_to_source"):
            pair = layer_pair(name, flow=flow, **_options(name, self_loops))
            assert_drop_in(pair, Call(x, edge_index))


@pytest.mark.parametrize("name", LAYERS)
def test_one_graph_serves_batches_of_different_numbers_of_nodes(name: str) -> None:
    edge_index, pair = bipartite_edges(5, 5, 20), layer_pair(name, heads=2)
    for num_nodes in (5, 9, 6, 5):
        assert_drop_in(pair, Call(torch.randn(num_nodes, 4), edge_index))


@pytest.mark.parametrize("name", LAYERS)
def test_graphs_made_in_inference_mode(name: str) -> None:
    # Inference tensors have no version: whatever remembers structures must not remember these.
    ours, theirs = layer_pair(name, heads=2)
    with torch.inference_mode():
        x, edge_index = torch.randn(NUM_NODES, 4), bipartite_edges(NUM_NODES, NUM_NODES, 20)
        torch.testing.assert_close(ours(x, edge_index), theirs(x, edge_index))
        edge_index.copy_(edge_index.flip(0))
        torch.testing.assert_close(ours(x, edge_index), theirs(x, edge_index))
