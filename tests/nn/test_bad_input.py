"""Bad input is refused by name, with what must hold and what came; NaN stays where it belongs."""

from typing import Any

import pytest
import torch
from drop_in_cases import LAYERS, SELF_LOOPING
from drop_in_graphs import bipartite_edges
from torch import Tensor, nn

import graphattn.nn


def make(name: str, **options: Any) -> nn.Module:
    layer: nn.Module = getattr(graphattn.nn, name)(4, 3, heads=2, **options)
    return layer


def _without_loops(name: str) -> dict[str, Any]:
    return {"add_self_loops": False} if name in SELF_LOOPING else {}


@pytest.fixture
def x() -> Tensor:
    return torch.randn(6, 4)


@pytest.fixture
def edge_index() -> Tensor:
    return bipartite_edges(6, 6, 20)


@pytest.mark.parametrize("name", LAYERS)
def test_edge_features_need_an_edge_dim(name: str, x: Tensor, edge_index: Tensor) -> None:
    for width in (1, 3, 6):
        with pytest.raises(ValueError, match=r"(?s)edge_attr.*edge_dim"):
            make(name)(x, edge_index, torch.randn(20, width))


def test_the_transformer_needs_the_edge_features_it_was_built_for(
    x: Tensor, edge_index: Tensor
) -> None:
    with pytest.raises(ValueError, match=r"(?s)edge_attr.*edge_dim|edge_dim.*edge_attr"):
        make("TransformerConv", edge_dim=3)(x, edge_index)


@pytest.mark.parametrize("loops", [True, False], ids=["loops", "no loops"])
@pytest.mark.parametrize("row", [0, 1])
@pytest.mark.parametrize("bad", [-1, -7, 6, 1000, 2**40])
@pytest.mark.parametrize("name", LAYERS)
def test_indices_out_of_range(
    name: str, bad: int, row: int, loops: bool, x: Tensor, edge_index: Tensor
) -> None:
    layer = make(name, **({} if loops else _without_loops(name)))
    edge_index[row, 7] = bad
    with pytest.raises(IndexError, match=rf"(?s)edge_index.*{bad}") as error:
        layer(x, edge_index)
    assert "6" in str(error.value).replace(str(bad), "", 1)  # the bound


@pytest.mark.parametrize("name", LAYERS)
def test_indices_out_of_range_in_int32(name: str, x: Tensor, edge_index: Tensor) -> None:
    edge_index[1, 7] = 6
    with pytest.raises(IndexError, match="edge_index"):
        make(name)(x, edge_index.int())


@pytest.mark.parametrize("name", LAYERS)
def test_either_side_of_a_pair_has_its_own_bound(name: str) -> None:
    layer, x = make(name), (torch.randn(8, 4), torch.randn(3, 4))
    layer(x, torch.tensor([[7, 0], [2, 2]]))
    with pytest.raises(IndexError, match=r"(?s)edge_index.*3"):
        layer(x, torch.tensor([[7, 0], [2, 3]]))
    with pytest.raises(IndexError, match=r"(?s)edge_index.*8"):
        layer(x, torch.tensor([[8, 0], [2, 2]]))


@pytest.mark.parametrize("name", LAYERS)
def test_an_index_made_bad_after_a_good_call(name: str, x: Tensor, edge_index: Tensor) -> None:
    layer = make(name)
    layer(x, edge_index)
    edge_index[0, 3] = 99
    with pytest.raises(IndexError, match=r"(?s)edge_index.*99"):
        layer(x, edge_index)


@pytest.mark.parametrize("name", LAYERS)
def test_a_good_graph_with_fewer_nodes_than_before(name: str, x: Tensor) -> None:
    layer, edge_index = make(name), torch.tensor([[0, 5, 2], [5, 1, 3]])
    layer(x, edge_index)
    with pytest.raises(IndexError, match=r"(?s)edge_index.*5"):
        layer(x[:5], edge_index)


@pytest.mark.parametrize("shape", [(3, 20), (20, 2), (40,), (2, 20, 1), ()], ids=str)
@pytest.mark.parametrize("name", LAYERS)
def test_shapes_of_edge_index(name: str, shape: tuple[int, ...], x: Tensor) -> None:
    with pytest.raises(ValueError, match="edge_index"):
        make(name)(x, torch.zeros(shape, dtype=torch.int64))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.complex64], ids=str)
@pytest.mark.parametrize("name", LAYERS)
def test_edge_index_holds_integers(
    name: str, dtype: torch.dtype, x: Tensor, edge_index: Tensor
) -> None:
    with pytest.raises((TypeError, ValueError), match=rf"(?s)edge_index.*{dtype}"):
        make(name)(x, edge_index.to(dtype))


@pytest.mark.parametrize("wrong", [None, "edges", [[0, 1], [1, 2]], 3], ids=str)
@pytest.mark.parametrize("name", LAYERS)
def test_edge_index_is_a_tensor(name: str, wrong: Any, x: Tensor) -> None:
    with pytest.raises((TypeError, ValueError), match="edge_index"):
        make(name)(x, wrong)


@pytest.mark.parametrize("num_rows", [0, 1, 19, 21, 26, 40])
@pytest.mark.parametrize("loops", [True, False], ids=["loops", "no loops"])
@pytest.mark.parametrize("name", LAYERS)
def test_edge_features_have_a_row_for_every_edge(
    name: str, loops: bool, num_rows: int, x: Tensor, edge_index: Tensor
) -> None:
    layer = make(name, edge_dim=3, **({} if loops else _without_loops(name)))
    with pytest.raises(ValueError, match="edge_attr") as error:
        layer(x, edge_index, torch.randn(num_rows, 3))
    assert "20" in str(error.value)
    assert str(num_rows) in str(error.value).replace("20", "")


@pytest.mark.parametrize("shape", [(20, 2), (20, 4), (20,), (20, 3, 1)], ids=str)
@pytest.mark.parametrize("name", LAYERS)
def test_shapes_of_edge_features(
    name: str, shape: tuple[int, ...], x: Tensor, edge_index: Tensor
) -> None:
    with pytest.raises(ValueError, match="edge_attr"):
        make(name, edge_dim=3)(x, edge_index, torch.randn(shape))


@pytest.mark.parametrize("shape", [(6, 3), (6, 5), (6,), (1, 6, 4)], ids=str)
@pytest.mark.parametrize("name", LAYERS)
def test_shapes_of_node_features(name: str, shape: tuple[int, ...], edge_index: Tensor) -> None:
    with pytest.raises(ValueError, match=r"\bx\b"):
        make(name)(torch.randn(shape), edge_index)
    with pytest.raises(ValueError, match=r"\bx\b"):
        make(name)((torch.randn(6, 4), torch.randn(shape)), edge_index)


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.uint8, torch.bool], ids=str)
@pytest.mark.parametrize("name", LAYERS)
def test_features_are_floating_point(name: str, dtype: torch.dtype, edge_index: Tensor) -> None:
    with pytest.raises((TypeError, ValueError), match=rf"(?s)\bx\b.*{dtype}"):
        make(name)(torch.ones(6, 4, dtype=dtype), edge_index)
    with pytest.raises((TypeError, ValueError), match=rf"(?s)edge_attr.*{dtype}"):
        make(name, edge_dim=3)(torch.ones(6, 4), edge_index, torch.ones(20, 3, dtype=dtype))


@pytest.mark.parametrize("where", ["x", "edge_index", "edge_attr"])
@pytest.mark.parametrize("name", LAYERS)
def test_one_device_for_all(name: str, where: str, x: Tensor, edge_index: Tensor) -> None:
    arguments = {"x": x, "edge_index": edge_index, "edge_attr": torch.randn(20, 3)}
    arguments[where] = arguments[where].to("meta")
    with pytest.raises((TypeError, ValueError), match="meta") as error:
        make(name, edge_dim=3)(**arguments)
    assert where in str(error.value)


def _touched(name: str, edge_index: Tensor, node: int) -> set[int]:
    """Nodes whose output depends on the features of ``node``."""
    targets = set(edge_index[1, edge_index[0] == node].tolist())
    # Without added loops a node's own features still make the scores of its incoming edges, and
    # its skip connection.
    has_incoming = node in edge_index[1].tolist()
    own = {node} if name in SELF_LOOPING or name == "TransformerConv" or has_incoming else set()
    return targets | own


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("loops", [True, False], ids=["loops", "no loops"])
@pytest.mark.parametrize("name", LAYERS)
def test_nan_in_features_stays_with_the_outputs_it_touches(
    name: str, loops: bool, bad: float, x: Tensor
) -> None:
    edge_index = torch.tensor([[0, 1, 2, 2, 3, 4, 0], [1, 2, 1, 3, 4, 3, 5]])
    layer = make(name, **({} if loops else _without_loops(name)))
    expected = layer(x, edge_index)
    for node in range(1, 6):  # node 0 has no incoming edge
        changed = x.clone()
        changed[node] = bad
        output = layer(changed, edge_index)
        touched = sorted(_touched(name, edge_index, node))
        untouched = [other for other in range(6) if other not in touched]
        assert untouched
        assert torch.equal(output[untouched], expected[untouched])
        assert output[touched].isnan().any(dim=1).all()
        if bad != bad:
            assert output[touched].isnan().all()


@pytest.mark.parametrize("name", LAYERS)
def test_nan_in_features_of_an_edge_stays_with_its_target(name: str, x: Tensor) -> None:
    edge_index = torch.tensor([[0, 1, 2, 2, 3, 4, 0], [1, 2, 1, 3, 4, 3, 5]])
    layer, edge_attr = make(name, edge_dim=3), torch.randn(7, 3)
    expected = layer(x, edge_index, edge_attr)
    edge_attr[3] = float("nan")  # from 2 to 3
    output = layer(x, edge_index, edge_attr)
    others = [0, 1, 2, 4, 5]
    assert torch.equal(output[others], expected[others])
    assert output[3].isnan().all()


@pytest.mark.parametrize("name", LAYERS)
def test_scores_that_overflow_do_not_reach_other_targets(name: str, x: Tensor) -> None:
    edge_index = torch.tensor([[0, 1, 2, 2, 3, 4, 0], [1, 2, 1, 3, 4, 3, 5]])
    layer = make(name)
    expected = layer(x, edge_index)
    changed = x.clone()
    changed[3] = 1e38
    output = layer(changed, edge_index)
    assert torch.equal(output[[0, 1, 2, 5]], expected[[0, 1, 2, 5]])
