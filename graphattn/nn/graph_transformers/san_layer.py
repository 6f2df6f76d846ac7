"""SAN: attention over edges of the graph and added ones, with maps for each of the two kinds."""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from graphattn.attention import EdgeAttention
from graphattn.edges import Edges
from graphattn.nn.elements import check_elements, check_heads
from graphattn.nn.graph_structure import structure
from graphattn.nn.graph_transformers.postnorm_update import PostnormUpdate
from graphattn.normalizers import ExponentialSum

_CLAMP, _EPSILON = 5.0, 1e-6


def score(
    query: Tensor,
    key: Tensor,
    other_query: Tensor,
    other_key: Tensor,
    edge: Tensor,
    is_real: Tensor,
    log_real: float,
    log_other: float,
) -> Tensor:
    """``(E, H)`` from ``(E, H, C)``: the clamped score of the edge's kind, and the kind's share."""
    real, width = is_real.unsqueeze(-1), query.shape[-1] ** 0.5  # (E, 1, 1)
    product = torch.where(real, query * key, other_query * other_key) / width * edge
    logits = product.sum(-1).clamp(-_CLAMP, _CLAMP)
    return torch.where(is_real, logits + log_real, logits + log_other)


def message(value: Tensor) -> Tensor:
    """The value, ``(E, H, C)``."""
    return value


attend = EdgeAttention(
    score,
    message,
    target=["query", "other_query"],
    source=["key", "other_key", "value"],
    edge=["edge", "is_real"],
    shared=["log_real", "log_other"],
    normalizer=ExponentialSum(_EPSILON),
)


class SANLayer(nn.Module):
    r"""Attention over edges of two kinds, real and added ones, in one sum.

    .. math::
        w_{ij} = \begin{cases}
        \tfrac{1}{1 + \gamma} \exp \operatorname{clamp}\bigl(\textstyle\sum_c
        Q x_i \odot K x_j \odot E e_{ij} / \sqrt{C}\bigr) & \text{for an edge of the graph} \\
        \tfrac{\gamma}{1 + \gamma} \exp \operatorname{clamp}\bigl(\textstyle\sum_c
        Q' x_i \odot K' x_j \odot E' e_{ij} / \sqrt{C}\bigr) & \text{for an added one}
        \end{cases}

    .. math::
        h_i = \mathrm{Norm}\Bigl(x_i + O
        \frac{\sum_j w_{ij}\, V x_j}{10^{-6} + \sum_j w_{ij}}\Bigr), \qquad
        x_i' = \mathrm{Norm}\bigl(h_i + W_2 \operatorname{ReLU}(W_1 h_i)\bigr)

    Args:
        channels: Width of the node and edge features.
        heads: Number of heads; divides ``channels``.
        gamma: Weight of the added edges against the real ones, 0 or more; 0 leaves them out.
        bias: Whether the maps of the score have a bias.
        norm: Makes a norm of a width.
        dropout: Probability with which attended features, and those inside the perceptron, are set
            to zero in training.

    Shapes:
        - x: ``(N, channels)``
        - edge_index: ``(2, E)``, or the ``Edges`` made from it; real and added edges, in any order
        - edge_attr: ``(E, channels)``, in that order
        - is_real: which edges are the graph's own, ``(E,)``, bool
        - output: ``(N, channels)``; a node without incoming edges is updated by the bias of ``O``

    Raises:
        TypeError: If features are not floating point, or ``is_real`` not bool.
        ValueError: If ``heads`` does not divide ``channels``, ``gamma`` is negative, or a shape
            does not fit.
        IndexError: If ``edge_index`` names a node that is not there.

    Source: Kreuzer et al., "Rethinking Graph Transformers with Spectral Attention", NeurIPS 2021.
        This is the official code, which clamps logits to ±5, weighs the kinds after that, and
        normalizes both together; the paper has a softmax for each kind.
    """

    def __init__(
        self,
        channels: int,
        heads: int,
        gamma: float = 0.1,
        bias: bool = False,
        norm: Callable[[int], nn.Module] = nn.BatchNorm1d,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        check_heads(channels, heads)
        if not 0 <= gamma < math.inf:
            raise ValueError(f"gamma must be a number and not negative, got {gamma}")
        self.channels, self.heads, self.gamma = channels, heads, gamma
        self.lin_query = nn.Linear(channels, channels, bias=bias)
        self.lin_key = nn.Linear(channels, channels, bias=bias)
        self.lin_edge = nn.Linear(channels, channels, bias=bias)
        self.lin_other_query = nn.Linear(channels, channels, bias=bias)
        self.lin_other_key = nn.Linear(channels, channels, bias=bias)
        self.lin_other_edge = nn.Linear(channels, channels, bias=bias)
        self.lin_value = nn.Linear(channels, channels, bias=bias)
        self.update = PostnormUpdate(channels, norm, dropout)

    def forward(
        self, x: Tensor, edge_index: Tensor | Edges, edge_attr: Tensor, is_real: Tensor
    ) -> Tensor:
        """Applies the layer; see the class for shapes."""
        edges = structure(edge_index, x)
        check_elements("x", x, edges.num_targets, self.channels)
        check_elements("edge_attr", edge_attr, edges.num_edges, self.channels)
        if not isinstance(is_real, Tensor) or is_real.dtype != torch.bool:
            got = is_real.dtype if isinstance(is_real, Tensor) else type(is_real).__name__
            raise TypeError(f"is_real must be a bool tensor, got {got}")
        if is_real.shape != (edges.num_edges,):
            raise ValueError(f"is_real must be ({edges.num_edges},), got {tuple(is_real.shape)}")
        of_kind = is_real.unsqueeze(-1)
        edge = torch.where(of_kind, self.lin_edge(edge_attr), self.lin_other_edge(edge_attr))
        out: Tensor = attend(
            edges,
            query=self._by_head(self.lin_query(x)),
            key=self._by_head(self.lin_key(x)),
            other_query=self._by_head(self.lin_other_query(x)),
            other_key=self._by_head(self.lin_other_key(x)),
            value=self._by_head(self.lin_value(x)),
            edge=self._by_head(edge),
            is_real=of_kind,
            log_real=-math.log1p(self.gamma),
            log_other=(math.log(self.gamma) if self.gamma else -math.inf) - math.log1p(self.gamma),
        )
        updated: Tensor = self.update(x, out.flatten(1))
        return updated

    def _by_head(self, x: Tensor) -> Tensor:
        return x.unflatten(1, (self.heads, -1))

    def extra_repr(self) -> str:
        return f"{self.channels}, heads={self.heads}, gamma={self.gamma}"
