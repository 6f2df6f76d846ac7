"""Exphormer: attention over the edges of a graph, of an expander and of virtual nodes together."""

from collections.abc import Callable

from torch import Tensor, nn

from graphattn.edges import Edges
from graphattn.nn.graph_structure import structure
from graphattn.nn.graph_transformers.graph_transformer_attention import GraphTransformerAttention
from graphattn.nn.graph_transformers.postnorm_update import PostnormUpdate


class ExphormerLayer(nn.Module):
    r"""The graph transformer's attention over a few edges that span the whole graph.

    .. math::
        h_i = \mathrm{Norm}\Bigl(x_i + \sum_{j \to i} \operatorname{softmax}_j\bigl(
        \textstyle\sum_c (Q x_i \odot K x_j / \sqrt{C}) \odot E e_{ij}\bigr)\, V x_j\Bigr), \qquad
        x_i' = \mathrm{Norm}\bigl(h_i + W_2 \operatorname{ReLU}(W_1 h_i)\bigr)

    Edges of all kinds stand in one list, and features tell the kinds apart: those of the graph,
    those of an expander, and those to and from virtual nodes, which are further rows of ``x``. With
    a few edges for each node, every node then reaches every other in a few layers.

    Args:
        channels: Width of the nodes.
        heads: Number of heads; divides ``channels``.
        edge_dim: Width of the edge features.
        clamp: Logits are clamped to plus and minus this, and not shifted by the largest, as in the
            official code; None is the plain softmax.
        norm: Makes a norm of a width.
        dropout: Probability with which attended features, and those inside the perceptron, are set
            to zero in training.

    Shapes:
        - x: ``(N, channels)``
        - edge_index: ``(2, E)``, or the ``Edges`` made from it
        - edge_attr: ``(E, edge_dim)``, in the order of ``edge_index``
        - output: ``(N, channels)``

    Raises:
        TypeError: If features are not floating point.
        ValueError: If ``heads`` does not divide ``channels``, ``clamp`` is not above 0, or a shape
            does not fit.
        IndexError: If ``edge_index`` names a node that is not there.

    Source: Shirzad et al., "Exphormer: Sparse Transformers for Graphs", ICML 2023, and the official
        code, which maps attended features by no matrix before the residual.
    """

    def __init__(
        self,
        channels: int,
        heads: int,
        edge_dim: int,
        clamp: float | None = 5.0,
        norm: Callable[[int], nn.Module] = nn.BatchNorm1d,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.attention = GraphTransformerAttention(channels, heads, edge_dim, clamp)
        self.update = PostnormUpdate(channels, norm, dropout, projects=False)

    def forward(self, x: Tensor, edge_index: Tensor | Edges, edge_attr: Tensor) -> Tensor:
        """Applies the layer; see the class for shapes."""
        edges = structure(edge_index, x)
        updated: Tensor = self.update(x, self.attention(x, edges, edge_attr))
        return updated
