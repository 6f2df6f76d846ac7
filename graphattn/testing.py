"""Assertions that any layer on graphs should pass; for those who write layers of their own.

Each takes the layer and one graph, calls the layer as ``layer(x, edge_index)`` or, with edge
features, ``layer(x, edge_index, edge_attr)``, and raises ``AssertionError`` with the numbers that
differ. Run them in float64 and in evaluation mode:

>>> from graphattn.nn import GATv2Conv
>>> layer = GATv2Conv(4, 3).double().eval()
>>> edge_index = torch.tensor([[0, 1, 2], [1, 2, 0]])
>>> assert_renaming_renames_outputs(layer, torch.randn(3, 4).double(), edge_index)
"""

from collections.abc import Callable

import torch
from torch import Tensor

Layer = Callable[..., Tensor]


def assert_renaming_renames_outputs(
    layer: Layer, x: Tensor, edge_index: Tensor, edge_attr: Tensor | None = None
) -> None:
    """Nodes in another order give the same outputs in that order.

    Args:
        layer: The layer; returns one row for each node.
        x: Node features, ``(N, F)``.
        edge_index: ``(2, E)``.
        edge_attr: Edge features, ``(E, ...)``.
    """
    new_name = torch.randperm(x.shape[0])
    renamed = torch.empty_like(x)
    renamed[new_name] = x
    output = _call(layer, renamed, new_name[edge_index], edge_attr)
    torch.testing.assert_close(output[new_name], _call(layer, x, edge_index, edge_attr))


def assert_order_of_edges_is_free(
    layer: Layer, x: Tensor, edge_index: Tensor, edge_attr: Tensor | None = None
) -> None:
    """Edges in another order, features with them, change no output; see above for ``Args``."""
    order = torch.randperm(edge_index.shape[1])
    permuted = None if edge_attr is None else edge_attr[order]
    output = _call(layer, x, edge_index[:, order], permuted)
    torch.testing.assert_close(output, _call(layer, x, edge_index, edge_attr))


def assert_graphs_do_not_mix(
    layer: Layer, x: Tensor, edge_index: Tensor, edge_attr: Tensor | None = None
) -> None:
    """A graph gives the same outputs alone and beside another; see above for ``Args``.

    The other graph is the same one with its edges reversed and other features.
    """
    other_x, other_index = torch.randn_like(x), edge_index.flip(0)
    other_attr = joined_attr = None
    if edge_attr is not None:
        other_attr = torch.randn_like(edge_attr)
        joined_attr = torch.cat([edge_attr, other_attr])
    joined_index = torch.cat([edge_index, other_index + x.shape[0]], dim=1)
    joined = _call(layer, torch.cat([x, other_x]), joined_index, joined_attr)
    first = _call(layer, x, edge_index, edge_attr)
    second = _call(layer, other_x, other_index, other_attr)
    torch.testing.assert_close(joined, torch.cat([first, second]))


def assert_nodes_see_their_sources_only(
    layer: Layer, x: Tensor, edge_index: Tensor, edge_attr: Tensor | None = None
) -> None:
    """A change to one node reaches itself and its targets, nobody else; see above for ``Args``."""
    expected = _call(layer, x, edge_index, edge_attr)
    for node in range(x.shape[0]):
        changed = x.clone()
        changed[node] += 1
        differs = (_call(layer, changed, edge_index, edge_attr) != expected).flatten(1).any(1)
        reached = set(differs.nonzero().flatten().tolist())
        targets = set(edge_index[1, edge_index[0] == node].tolist())
        strangers = reached - targets - {node}
        assert not strangers, f"node {node} has the targets {targets} and changed {strangers} too"


def _call(layer: Layer, x: Tensor, edge_index: Tensor, edge_attr: Tensor | None) -> Tensor:
    return layer(x, edge_index) if edge_attr is None else layer(x, edge_index, edge_attr)
