"""The graph transformer layer: attention over edges, whose features it updates as well."""

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from graphattn.edges import Edges
from graphattn.nn.graph_structure import structure
from graphattn.nn.graph_transformers.graph_transformer_attention import GraphTransformerAttention
from graphattn.nn.graph_transformers.postnorm_update import PostnormUpdate


class GraphTransformerLayer(nn.Module):
    r"""Dot-product attention of every node over its neighbours, with an edge stream.

    .. math::
        \hat w_{ij} = (Q h_i \odot K h_j / \sqrt{C}) \odot E e_{ij}, \qquad
        o_i = \sum_{j \to i} \operatorname{softmax}_j\bigl(\textstyle\sum_c \hat w_{ijc}\bigr)\,
        V h_j

    .. math::
        h_i' = \mathrm{Update}_h(h_i, o_i), \qquad e_{ij}' = \mathrm{Update}_e(e_{ij}, \hat w_{ij}),
        \qquad \mathrm{Update}(x, o) = \mathrm{Norm}\bigl(\mathrm{FFN}(\mathrm{Norm}(x + O o))\bigr)

    with a residual in the perceptron too. One program gives nodes and edges: of the size of all
    edges times channels are the edge stream alone, and what it is mapped to.

    Args:
        channels: Width of the node and edge features.
        heads: Number of heads; divides ``channels``.
        edge_stream: Whether there are edge features; without, there is no ``E``.
        clamp: Logits are clamped to plus and minus this, and not shifted by the largest, as in the
            official code; None is the softmax of the paper.
        norm: Makes a norm of a width: ``nn.BatchNorm1d``, or ``nn.LayerNorm``.
        dropout: Probability with which attended features, and those inside the perceptrons, are set
            to zero in training.

    Shapes:
        - x: ``(N, channels)``
        - edge_index: ``(2, E)``, or the ``Edges`` made from it
        - edge_attr: ``(E, channels)``, in the order of ``edge_index``
        - output: ``(N, channels)``, and with ``edge_stream`` also ``(E, channels)``; a node without
          incoming edges is updated by the bias of ``O`` alone

    Raises:
        TypeError: If features are not floating point.
        ValueError: If ``heads`` does not divide ``channels``, ``clamp`` is not above 0, or a shape
            does not fit.
        IndexError: If ``edge_index`` names a node that is not there.

    Source: Dwivedi and Bresson, "A Generalization of Transformer Networks to Graphs", AAAI workshop
        2021. The official code clamps logits to ±5 and skips the max-shift: ``clamp=5.0``. For
        what it does with several edges between two nodes see ``GraphTransformerAttention``; it
        gives a node without incoming edges NaN where there is no edge stream.
    """

    def __init__(
        self,
        channels: int,
        heads: int,
        edge_stream: bool = True,
        clamp: float | None = None,
        norm: Callable[[int], nn.Module] = nn.BatchNorm1d,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.attention = GraphTransformerAttention(
            channels,
            heads,
            edge_dim=channels if edge_stream else None,
            clamp=clamp,
            return_edges=edge_stream,
        )
        self.node_update = PostnormUpdate(channels, norm, dropout)
        self.edge_update = PostnormUpdate(channels, norm, dropout) if edge_stream else None

    def forward(
        self, x: Tensor, edge_index: Tensor | Edges, edge_attr: Tensor | None = None
    ) -> Any:
        """Applies the layer; see the class for shapes."""
        edges = structure(edge_index, x)
        attended = self.attention(x, edges, edge_attr)
        if self.edge_update is None:
            return self.node_update(x, attended)
        nodes, scores = attended
        return self.node_update(x, nodes), self.edge_update(edge_attr, scores)
