"""GRIT: attention that reads, and updates, features of pairs of nodes."""

from typing import Any

import torch
from torch import Tensor, nn

from graphattn.attention import EdgeAttention
from graphattn.dropout import kept_factor
from graphattn.edge_list import EdgeList
from graphattn.edges import Edges
from graphattn.nn.elements import check_elements, check_heads
from graphattn.nn.feature_dropout import FeatureDropout
from graphattn.nn.graph_structure import structure
from graphattn.nn.graph_transformers.postnorm_update import PostnormUpdate


def pair_features(query: Tensor, key: Tensor, edge: Tensor) -> Tensor:
    """What becomes of a pair, ``(E, H, C)``, from nodes of that shape and an edge of twice that."""
    factor, shift = edge.chunk(2, dim=-1)
    product = (query + key) * factor
    # The signed root, which has no derivative at zero: there it is flat.
    root = product.sign() * torch.where(product == 0, 1.0, product.abs()).sqrt()
    return (root + shift).relu()


def score(query: Tensor, key: Tensor, edge: Tensor, vector: Tensor, clamp: float) -> Tensor:
    """The clamped product of the pair with a vector ``(H, C)`` of each head, ``(E, H)``."""
    return (pair_features(query, key, edge) * vector).sum(-1).clamp(-clamp, clamp)


def message(query: Tensor, key: Tensor, edge: Tensor, value: Tensor) -> Tensor:
    """The value of the source, and the pair, ``(E, H, 2 * C)``."""
    return torch.cat([value, pair_features(query, key, edge)], dim=-1)


attend = EdgeAttention(
    score,
    message,
    target=["query"],
    source=["key", "value"],
    edge=["edge"],
    shared=["vector", "clamp"],
    edge_output=pair_features,
)


class GRITLayer(nn.Module):
    r"""Attention among nodes whose score, message and edge stream come from features of pairs.

    .. math::
        t_{ij} = \operatorname{ReLU}\bigl(\rho\bigl((Q x_i + K x_j) \odot E_w e_{ij}\bigr)
        + E_b e_{ij}\bigr), \qquad \rho(z) = \operatorname{sign}(z) \sqrt{|z|}

    .. math::
        o_i = \sum_{j \to i}
        \operatorname{softmax}_j\bigl(\operatorname{clamp}(a \cdot t_{ij})\bigr)
        \,(V x_j + W t_{ij}), \qquad
        o_i \leftarrow o_i \odot c_0 + \log(1 + d_i)\, o_i \odot c_1

    .. math::
        h_i = \mathrm{Norm}(x_i + O_h o_i), \quad
        x_i' = \mathrm{Norm}\bigl(h_i + W_2 \operatorname{ReLU}(W_1 h_i)\bigr), \quad
        e_{ij}' = \mathrm{Norm}(e_{ij} + O_e t_{ij})

    Norms are batch norms. Pairs are summed before ``W`` is applied, once for each node.

    Args:
        channels: Width of the node and pair features.
        heads: Number of heads; divides ``channels``.
        clamp: Logits are clamped to plus and minus this.
        scales_by_degree: Whether what is attended is scaled by the degrees ``d`` too.
        updates_edges: Whether pairs are updated; otherwise they are returned as they came.
        dropout: Probability with which weights, attended features, and those inside the perceptron,
            are set to zero in training.

    Shapes:
        - x: ``(N, channels)``
        - edge_index: ``(2, E)``, or the ``Edges`` made from it; all pairs inside each graph, in the
          paper
        - edge_attr: ``(E, channels)``, in the order of ``edge_index``
        - degree: ``(N,)``, of the nodes in the graph itself; needed if scaled by it
        - output: ``(N, channels)`` and ``(E, channels)``

    Raises:
        TypeError: If features are not floating point.
        ValueError: If ``heads`` does not divide ``channels``, ``clamp`` is not above 0, ``dropout``
            is no probability, or a shape does not fit.
        IndexError: If ``edge_index`` names a node that is not there.

    Source: Ma et al., "Graph Inductive Biases in Transformers without Message Passing", ICML 2023,
        and the official code.
    """

    def __init__(
        self,
        channels: int,
        heads: int,
        clamp: float = 5.0,
        scales_by_degree: bool = True,
        updates_edges: bool = True,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        check_heads(channels, heads)
        if not clamp > 0:
            raise ValueError(f"clamp must be above 0, got {clamp}")
        kept_factor(dropout)  # refuses what is no probability
        width = channels // heads
        self.channels, self.heads, self.clamp, self.dropout = channels, heads, clamp, dropout
        self.lin_query = nn.Linear(channels, channels)
        self.lin_key = nn.Linear(channels, channels, bias=False)
        self.lin_value = nn.Linear(channels, channels, bias=False)
        self.lin_edge = nn.Linear(channels, 2 * channels)
        self.vector = nn.Parameter(torch.empty(heads, width))
        self.pair_map = nn.Parameter(torch.empty(heads, width, width))
        for parameter in (self.vector, self.pair_map):
            nn.init.xavier_normal_(parameter)
        self.degree_factors = None
        if scales_by_degree:
            self.degree_factors = nn.Parameter(torch.zeros(2, channels))
            nn.init.xavier_normal_(self.degree_factors)
        self.node_update = PostnormUpdate(channels, dropout=dropout)
        self.edge_update = PairUpdate(channels, dropout) if updates_edges else None

    def forward(
        self,
        x: Tensor,
        edge_index: Tensor | Edges,
        edge_attr: Tensor,
        degree: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Applies the layer; see the class for shapes."""
        edges = structure(edge_index, x)
        check_elements("x", x, edges.num_targets, self.channels)
        check_elements("edge_attr", edge_attr, edges.num_edges, self.channels)
        out, pairs = self._attended(x, edges, edge_attr)
        if self.degree_factors is not None:
            out = self._scaled(out, degree)
        if self.edge_update is not None:
            edge_attr = self.edge_update(edge_attr, pairs.flatten(1))
        return self.node_update(x, out), edge_attr

    def _attended(self, x: Tensor, edges: Edges | EdgeList, edge_attr: Tensor) -> tuple[Any, Any]:
        query, key, value, edge = (
            linear(features).unflatten(1, (self.heads, -1))
            for linear, features in (
                (self.lin_query, x),
                (self.lin_key, x),
                (self.lin_value, x),
                (self.lin_edge, edge_attr),
            )
        )
        out, pairs = attend(
            edges,
            query=query,
            key=key,
            value=value,
            edge=edge,
            vector=self.vector,
            clamp=self.clamp,
            dropout=self.dropout if self.training else 0.0,
        )
        value, pair = out.chunk(2, dim=-1)
        return (value + torch.einsum("nhc,hcd->nhd", pair, self.pair_map)).flatten(1), pairs

    def _scaled(self, out: Tensor, degree: Tensor | None) -> Tensor:
        if degree is None:
            raise ValueError("degree must be given to a layer that scales by it")
        if not isinstance(degree, Tensor) or degree.shape != out.shape[:1]:
            got = tuple(degree.shape) if isinstance(degree, Tensor) else type(degree).__name__
            raise ValueError(f"degree must be a tensor ({out.shape[0]},), got {got}")
        factors: Any = self.degree_factors
        return out * factors[0] + out * degree.to(out).log1p().unsqueeze(1) * factors[1]

    def extra_repr(self) -> str:
        return f"{self.channels}, heads={self.heads}, clamp={self.clamp}"


class PairUpdate(nn.Module):
    r"""Adds to pairs what became of them: :math:`\mathrm{Norm}(e + O_e t)`.

    Args:
        channels: Width of the pairs.
        dropout: Probability with which a feature of ``t`` is set to zero in training.
    """

    def __init__(self, channels: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.dropout, self.lin_out = FeatureDropout(dropout), nn.Linear(channels, channels)
        self.norm = nn.BatchNorm1d(channels)

    def forward(self, edge_attr: Tensor, pairs: Tensor) -> Tensor:
        """Of ``(E, channels)`` each."""
        updated: Tensor = self.norm(edge_attr + self.lin_out(self.dropout(pairs)))
        return updated
