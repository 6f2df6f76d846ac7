"""Scaled dot-product attention over the edges of a graph."""

from typing import Any

import torch
import torch_geometric.nn
from torch import Tensor
from torch_geometric.typing import OptTensor

from graphattn.attention import EdgeAttention
from graphattn.edges import Edges
from graphattn.nn.convolutions.drop_in import DropIn, check_features, edge_index_used, masked


def score(query: Tensor, key: Tensor, edge: Tensor | None = None) -> Tensor:
    """``(E, H)`` from query, key and edge of ``(E, H, C)``."""
    key = key if edge is None else key + edge
    return (query * key).sum(-1) / query.shape[-1] ** 0.5


def message(value: Tensor, edge: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
    """The source's value and the edge's features, ``(E, H, C)``."""
    return masked(value if edge is None else value + edge, mask)


attend = EdgeAttention(
    score, message, target=["query"], source=["key", "value"], edge=["edge", "mask"]
)


class TransformerConv(DropIn, torch_geometric.nn.TransformerConv):
    r"""Scaled dot-product attention of every node over its sources.

    A drop-in for ``torch_geometric.nn.TransformerConv``: the same arguments, parameters and
    results, but that ``edge_attr`` without ``edge_dim`` is an error (there it is added as it is).

    .. math::
        s_{ij} = \frac{(W_q x_i)^\top (W_k x_j + W_e e_{ij})}{\sqrt C}, \qquad
        x_i' = W x_i + \big\Vert_h \sum_{j \to i} \operatorname{softmax}_j(s^h_{ij})\,
        (W^h_v x_j + W^h_e e_{ij})

    Args:
        in_channels: Width of the node features, or of those of sources and targets; -1 takes it
            from the first input.
        out_channels: Width of each head.
        heads: Number of heads.
        concat: Whether heads are concatenated or averaged.
        beta: Whether a learned gate mixes :math:`W x_i` with the attention, in place of the sum.
        dropout: Probability with which a weight is dropped in training.
        edge_dim: Width of the edge features, if there are any.
        bias: Whether the linear maps have a bias.
        root_weight: Whether :math:`W x_i` takes part.
        **kwargs: Of ``torch_geometric.nn.MessagePassing``, such as ``flow`` and ``aggr``.

    Shapes:
        - x: ``(N, in_channels)``, or a pair of sources' and targets'
        - edge_index: ``(2, E)``, or the ``Edges`` made from it
        - edge_attr: ``(E, edge_dim)``, in the order of ``edge_index``
        - output: ``(N, heads * out_channels)``, or ``(N, out_channels)`` without ``concat``; with a
          ``return_attention_weights`` of True or False, also ``edge_index`` and the weights before
          dropout, ``(E, heads)``. A target without edges gets :math:`W x_i` alone.

    Raises:
        TypeError: If features are not floating point.
        ValueError: If shapes or devices do not fit, or there is no ``edge_dim`` for ``edge_attr``,
            or no ``edge_attr`` for ``edge_dim``.
        IndexError: If ``edge_index`` names a node that is not there.

    Source: Shi et al., "Masked Label Prediction: Unified Message Passing Model for Semi-Supervised
        Classification", IJCAI 2021.
    """

    widens = False
    # What the parent says in a comment (`# propagate_type: ...`): PyTorch Geometric looks for it
    # here instead, since it keeps sources by the name of a class.
    propagate_type = {  # noqa: RUF012
        "query": Tensor,
        "key": Tensor,
        "value": Tensor,
        "edge_attr": OptTensor,
    }

    def forward(
        self,
        x: Tensor | tuple[Tensor, Tensor],
        edge_index: Tensor | Edges,
        edge_attr: Tensor | None = None,
        return_attention_weights: bool | None = None,
    ) -> Any:
        self.check_edge_attr(edge_attr, edge_index)
        wants_weights = isinstance(return_attention_weights, bool)
        if self.needs_propagate(x, edge_index, edge_attr, wants_weights):
            return super().forward(x, edge_index, edge_attr, return_attention_weights)
        x_source, x_target = (x, x) if isinstance(x, Tensor) else x
        check_features(x_source, "x", self.lin_key, edge_index)
        check_features(x_target, "x", self.lin_query, edge_index)
        shape = (-1, self.heads, self.out_channels)
        query = self.lin_query(x_target).view(shape)
        key = self.lin_key(x_source).view(shape)
        value = self.lin_value(x_source).view(shape)

        edges = self.structure(edge_index, key.shape[0], query.shape[0])
        attended = attend(
            edges,
            query=query,
            key=key,
            value=value,
            dropout=self.dropout if self.training else 0.0,
            return_weights=wants_weights,
            **self._edge_inputs(edges, edge_attr),
        )
        out, weights = attended if wants_weights else (attended, None)
        out = out.flatten(1) if self.concat else out.mean(1)
        if self.root_weight:
            root = self.lin_skip(x_target)
            if self.lin_beta is not None:
                gate = self.lin_beta(torch.cat([out, root, out - root], dim=-1)).sigmoid()
                out = gate * root + (1 - gate) * out
            else:
                out = out + root
        if wants_weights:
            return out, (edge_index_used(edges, edge_index), weights)
        return out

    def _edge_inputs(self, edges: Edges, edge_attr: Tensor | None) -> dict[str, Tensor]:
        inputs = self.explanation(edges)
        if self.lin_edge is not None:
            if edge_attr is None:
                raise ValueError(
                    f"edge_attr must be given to a {type(self).__name__} built with edge_dim"
                )
            features = edges.select_given(edge_attr)
            inputs["edge"] = self.lin_edge(features).view(-1, self.heads, self.out_channels)
        return inputs
