"""Attention over edges whose features multiply the score, channel by channel."""

from typing import Any

from torch import Tensor, nn

from graphattn.attention import EdgeAttention
from graphattn.edge_list import EdgeList
from graphattn.edges import Edges
from graphattn.nn.elements import check_elements, check_heads
from graphattn.nn.graph_structure import check_one_set
from graphattn.normalizers import ClampedSoftmax, Softmax

# What the official code adds to the sum of weights, where edges have features.
_EPSILON = 1e-6


def channel_scores(query: Tensor, key: Tensor, edge: Tensor | None = None) -> Tensor:
    """The scaled product of all, channel by channel; ``(E, H, C)`` each."""
    product = query * key / query.shape[-1] ** 0.5
    return product if edge is None else product * edge


def score(query: Tensor, key: Tensor, edge: Tensor | None = None) -> Tensor:
    """The sum over channels, ``(E, H)``."""
    return channel_scores(query, key, edge).sum(-1)


def message(value: Tensor) -> Tensor:
    """The value, ``(E, H, C)``."""
    return value


class GraphTransformerAttention(nn.Module):
    r"""Dot-product attention over edges, whose features multiply the channels of the score.

    .. math::
        \hat w_{ij} = (Q h_i \odot K h_j / \sqrt{C}) \odot E e_{ij}, \qquad
        o_i = \big\Vert_h \sum_{j \to i}
        \operatorname{softmax}_j\bigl(\textstyle\sum_c \hat w_{ijc}\bigr)\, V h_j

    Args:
        channels: Width of the nodes and of the output.
        heads: Number of heads; divides ``channels``.
        edge_dim: Width of the edge features; none if None.
        clamp: Logits are clamped to plus and minus this, and not shifted by the largest, as in the
            official code; None is the softmax of the paper.
        bias: Whether the maps have a bias.
        return_edges: Whether the channels of the score are returned too.

    Shapes:
        - x: ``(N, channels)``
        - edge_attr: ``(E, edge_dim)``, in the order of ``edges``
        - output: ``(N, channels)``, zeros for a node without incoming edges; with
          ``return_edges`` also the scores before sum and clamp, ``(E, channels)``

    Raises:
        TypeError: If features are not floating point, or ``edges`` no ``Edges``.
        ValueError: If ``heads`` does not divide ``channels``, ``clamp`` is not above 0, or a shape
            does not fit.

    Source: Dwivedi and Bresson, "A Generalization of Transformer Networks to Graphs", AAAI workshop
        2021, and the official code: ``clamp=5.0``, and with edge features ``1e-6`` more than the
        sum of weights in the denominator. Where two nodes are joined by several edges, that code
        gives all of them the weight of the first; here each has its own.
    """

    def __init__(
        self,
        channels: int,
        heads: int,
        edge_dim: int | None = None,
        clamp: float | None = None,
        bias: bool = False,
        return_edges: bool = False,
    ) -> None:
        super().__init__()
        check_heads(channels, heads)
        if clamp is not None and not clamp > 0:
            raise ValueError(f"clamp must be above 0, or None, got {clamp}")
        if return_edges and edge_dim is None:
            raise ValueError("return_edges needs edge features: edge_dim must be given")
        self.channels, self.heads, self.edge_dim = channels, heads, edge_dim
        self.lin_query = nn.Linear(channels, channels, bias=bias)
        self.lin_key = nn.Linear(channels, channels, bias=bias)
        self.lin_value = nn.Linear(channels, channels, bias=bias)
        self.lin_edge = None if edge_dim is None else nn.Linear(edge_dim, channels, bias=bias)
        epsilon = 0.0 if edge_dim is None else _EPSILON
        self.attend = EdgeAttention(
            score,
            message,
            target=["query"],
            source=["key", "value"],
            edge=["edge"],
            normalizer=Softmax() if clamp is None else ClampedSoftmax(clamp, epsilon),
            edge_output=channel_scores if return_edges else None,
        )

    def forward(self, x: Tensor, edges: Edges | EdgeList, edge_attr: Tensor | None = None) -> Any:
        """Attends; see the class for shapes."""
        self.check(x, edges, edge_attr)
        inputs = {
            "query": self._by_head(self.lin_query(x)),
            "key": self._by_head(self.lin_key(x)),
            "value": self._by_head(self.lin_value(x)),
        }
        if self.lin_edge is not None:
            inputs["edge"] = self._by_head(self.lin_edge(edge_attr))
        attended = self.attend(edges, **inputs)
        if isinstance(attended, Tensor):
            return attended.flatten(1)
        out, edge = attended
        return out.flatten(1), edge.flatten(1)

    def check(self, x: Tensor, edges: Edges | EdgeList, edge_attr: Tensor | None) -> None:
        """Raises what the class says; layers call it first."""
        if not isinstance(edges, Edges | EdgeList):
            raise TypeError(f"edges must be a graphattn.Edges, got {type(edges).__name__}")
        check_one_set("edges", edges)
        check_elements("x", x, edges.num_targets, self.channels)
        if self.edge_dim is None and edge_attr is not None:
            raise ValueError("edge_attr was given, but the layer was made without edge features")
        if self.edge_dim is not None:
            if edge_attr is None:
                raise ValueError("edge_attr must be given: the layer was made with edge features")
            check_elements("edge_attr", edge_attr, edges.num_edges, self.edge_dim)

    def _by_head(self, x: Tensor) -> Tensor:
        return x.unflatten(1, (self.heads, -1))  # (N, H, C)

    def extra_repr(self) -> str:
        return f"{self.channels}, heads={self.heads}, edge_dim={self.edge_dim}"
