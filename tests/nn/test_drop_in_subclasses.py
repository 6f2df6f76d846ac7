"""Subclasses of the drop-in layers that override a step of message passing, as users write them."""

from typing import Any

import pytest
import torch
from drop_in_cases import LAYERS, SELF_LOOPING, layer_pair, layer_types
from drop_in_graphs import bipartite_edges
from torch import Tensor


@pytest.fixture
def graph() -> tuple[Tensor, Tensor, Tensor]:
    return torch.randn(9, 4), bipartite_edges(9, 9, 30), torch.randn(30, 2)


def _overriding_message(kind: Any) -> Any:
    if kind.__name__ == "TransformerConv":

        class OwnTransformerMessage(kind):
            def message(self, query_i, key_j, value_j, edge_attr, index, ptr, size_i):
                original = super().message(query_i, key_j, value_j, edge_attr, index, ptr, size_i)
                return original + query_i.tanh()

        return OwnTransformerMessage

    class OwnMessage(kind):
        def message(self, x_j: Tensor, alpha: Tensor, index: Tensor) -> Tensor:
            return x_j.tanh() * alpha.unsqueeze(-1) + index[:, None, None]

    return OwnMessage


def _overriding_edge_update(kind: Any) -> Any:
    if kind.__name__ == "GATConv":

        class OwnScore(kind):
            def edge_update(self, alpha_j, alpha_i, edge_attr, index, ptr, dim_size):
                weights = super().edge_update(alpha_j, alpha_i, edge_attr, index, ptr, dim_size)
                return weights.square()

        return OwnScore

    class OwnScorev2(kind):
        def edge_update(self, x_j, x_i, edge_attr, index, ptr, dim_size):
            return super().edge_update(x_j, x_i, edge_attr, index, ptr, dim_size).square()

    return OwnScorev2


def _overriding_aggregate(kind: Any) -> Any:
    class OwnAggregate(kind):
        def aggregate(self, inputs: Tensor, index: Tensor, dim_size: int) -> Tensor:
            return inputs.new_ones(dim_size, *inputs.shape[1:]).index_add(0, index, inputs)

    return OwnAggregate


def _overriding_update(kind: Any) -> Any:
    class OwnUpdate(kind):
        def update(self, inputs: Tensor) -> Tensor:
            return inputs.exp()

    return OwnUpdate


def _overriding_edge_updater(kind: Any) -> Any:
    class OwnEdgeUpdater(kind):
        def edge_updater(self, edge_index: Tensor, size: Any = None, **kwargs: Any) -> Tensor:
            return 3 * super().edge_updater(edge_index, size=size, **kwargs)

    return OwnEdgeUpdater


def _overriding_propagate(kind: Any) -> Any:
    class OwnPropagate(kind):
        def propagate(self, edge_index: Tensor, size: Any = None, **kwargs: Any) -> Tensor:
            return 3 * super().propagate(edge_index, size=size, **kwargs)

    return OwnPropagate


def _overriding_nothing(kind: Any) -> Any:
    class Named(kind):
        pass

    return Named


OVERRIDES = {
    "message": _overriding_message,
    "edge_update": _overriding_edge_update,
    "aggregate": _overriding_aggregate,
    "update": _overriding_update,
    "edge_updater": _overriding_edge_updater,
    "propagate": _overriding_propagate,
    "nothing": _overriding_nothing,
}


@pytest.mark.parametrize(
    ("name", "override"),
    [
        (name, override)
        for name in LAYERS
        for override in OVERRIDES
        if name in SELF_LOOPING or not override.startswith("edge_update")
    ],
)
def test_subclasses_do_what_they_override(
    name: str, override: str, graph: tuple[Tensor, Tensor, Tensor]
) -> None:
    outputs = []
    plain, _ = layer_pair(name, heads=2, edge_dim=2)
    for kind in layer_types(name):
        subclass = OVERRIDES[override](kind)
        # torch_geometric keeps what it generates for a class by the class's module and name.
        subclass.__name__ += f"Of{kind.__module__.replace('.', '_')}"
        layer = subclass(4, 3, heads=2, edge_dim=2)
        layer.load_state_dict(plain.state_dict())
        outputs.append(layer(*graph))
    assert torch.allclose(outputs[0], plain(*graph)) == (override == "nothing")
    torch.testing.assert_close(outputs[0], outputs[1])


@pytest.mark.parametrize("name", LAYERS)
def test_a_method_replaced_on_one_object_is_used(
    name: str, graph: tuple[Tensor, Tensor, Tensor]
) -> None:
    outputs = []
    for layer in layer_pair(name, heads=2, edge_dim=2):
        original = layer.message
        layer.message = lambda original=original, **arguments: -original(**arguments)
        outputs.append(layer(*graph))
    torch.testing.assert_close(outputs[0], outputs[1])
