"""Matformer: messages over edges that are gated channel by channel, without a softmax."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from graphattn.attention import EdgeAttention
from graphattn.edges import Edges
from graphattn.nn.elements import check_elements
from graphattn.nn.graph_structure import structure
from graphattn.normalizers import Identity


def products(query: Tensor, own: Tensor, key: Tensor, edge: Tensor) -> Tensor:
    """What the gate of an edge is made of, ``(E, H, 3 * C)``, from ``(E, H, C)`` each.

    ``own`` is the product of the target's query with the key of the target itself.
    """
    parts = torch.cat([own, query * key, query * edge], dim=-1)
    return parts / parts.shape[-1] ** 0.5


def score(query: Tensor) -> Tensor:
    """One for every edge: all of its weight is in the gate."""
    return torch.ones_like(query[..., 0])


def message(
    query: Tensor,
    own: Tensor,
    key: Tensor,
    edge: Tensor,
    target_update: Tensor,
    source_update: Tensor,
    edge_update: Tensor,
    gate_weight: Tensor,
    gate_bias: Tensor,
    map_weight: Tensor,
    map_bias: Tensor,
    norm_weight: Tensor,
    norm_bias: Tensor,
) -> Tensor:
    """The gated update, mapped to ``(E, H, C)``; updates are ``(E, H, 3 * C)``."""
    alpha = products(query, own, key, edge)
    gate = F.layer_norm(alpha, alpha.shape[-1:], gate_weight, gate_bias).sigmoid()
    update = (target_update + source_update + edge_update) * gate
    mapped = F.linear(update, map_weight, map_bias)
    return F.layer_norm(mapped, mapped.shape[-1:], norm_weight, norm_bias)


attend = EdgeAttention(
    score,
    message,
    target=["query", "own", "target_update"],
    source=["key", "source_update"],
    edge=["edge", "edge_update"],
    shared=["gate_weight", "gate_bias", "map_weight", "map_bias", "norm_weight", "norm_bias"],
    normalizer=Identity(),
)


class MatformerConv(nn.Module):
    r"""Gated messages from every source, summed; made for the neighbours of atoms in crystals.

    .. math::
        a_{ij} = \bigl[q_i \odot k_i,\; q_i \odot k_j,\; q_i \odot e_{ij}\bigr] / \sqrt{3 C}, \qquad
        m_{ij} = \mathrm{LN}\bigl(W_m \bigl(W_u [v_i, v_j, e_{ij}]
        \odot \sigma(\mathrm{LN}(a_{ij}))\bigr)\bigr)

    .. math::
        o_i = \operatorname{SiLU}\Bigl(\mathrm{BN}\bigl(W_o \textstyle\big\Vert_h \sum_{j \to i}
        m^h_{ij}\bigr)\Bigr), \qquad
        x_i' = o_i + W_s x_i \quad\text{or}\quad \beta_i W_s x_i + (1 - \beta_i)\, o_i

    Edges that leave a cell enter it at the other side, so that the same two atoms may have several
    edges; features of edges, such as radial functions of their length, tell them apart.

    Args:
        in_channels: Width of the nodes.
        out_channels: Width ``C`` of each head, and of the output.
        heads: Number of heads; all share the maps of the gate and of the message.
        edge_dim: Width of the edge features; ``out_channels`` without it.
        concat: Whether heads are mapped side by side, by ``lin_concate``, or averaged.
        beta: Whether a learned gate of both, :math:`\beta_i`, mixes them in place of the sum.

    Shapes:
        - x: ``(N, in_channels)``
        - edge_index: ``(2, E)``, or the ``Edges`` made from it
        - edge_attr: ``(E, edge_dim)``, in the order of ``edge_index``
        - output: ``(N, out_channels)``; without incoming edges the sum of messages is zero

    Raises:
        TypeError: If features are not floating point.
        ValueError: If ``heads`` is not positive, or a shape does not fit.
        IndexError: If ``edge_index`` names a node that is not there.

    Source: Yan et al., "Periodic Graph Transformers for Crystal Material Property Prediction",
        NeurIPS 2022, as in its official code, whose names of parameters these are. There ``concat``
        and ``beta`` cannot be used together; here they can.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        heads: int = 1,
        edge_dim: int | None = None,
        concat: bool = True,
        beta: bool = False,
    ) -> None:
        super().__init__()
        if heads < 1:
            raise ValueError(f"heads must be positive, got {heads}")
        self.in_channels, self.out_channels, self.heads = in_channels, out_channels, heads
        self.edge_dim = out_channels if edge_dim is None else edge_dim
        wide = heads * out_channels
        self.lin_key = nn.Linear(in_channels, wide)
        self.lin_query = nn.Linear(in_channels, wide)
        self.lin_value = nn.Linear(in_channels, wide)
        self.lin_edge = nn.Linear(self.edge_dim, wide, bias=False)
        self.lin_skip = nn.Linear(in_channels, out_channels)
        self.lin_concate = nn.Linear(wide, out_channels) if concat else None
        self.lin_beta = nn.Linear(3 * out_channels, 1, bias=False) if beta else None
        self.lin_msg_update = nn.Linear(3 * out_channels, 3 * out_channels)
        self.msg_layer = nn.Sequential(
            nn.Linear(3 * out_channels, out_channels), nn.LayerNorm(out_channels)
        )
        self.bn = nn.BatchNorm1d(out_channels)
        self.layer_norm = nn.LayerNorm(3 * out_channels)

    def forward(self, x: Tensor, edge_index: Tensor | Edges, edge_attr: Tensor) -> Tensor:
        """Applies the layer; see the class for shapes."""
        edges = structure(edge_index, x)
        check_elements("x", x, edges.num_targets, self.in_channels)
        check_elements("edge_attr", edge_attr, edges.num_edges, self.edge_dim)
        query, key, value, edge = (
            linear(features).unflatten(1, (self.heads, self.out_channels))
            for linear, features in (
                (self.lin_query, x),
                (self.lin_key, x),
                (self.lin_value, x),
                (self.lin_edge, edge_attr),
            )
        )
        out: Tensor = attend(
            edges,
            query=query,
            own=query * key,
            key=key,
            edge=edge,
            **self._updates(value, edge),
            **self._shared(),
        )
        out = out.mean(1) if self.lin_concate is None else self.lin_concate(out.flatten(1))
        out, skipped = F.silu(self.bn(out)), self.lin_skip(x)
        if self.lin_beta is None:
            return out + skipped
        gate = self.lin_beta(torch.cat([out, skipped, out - skipped], dim=-1)).sigmoid()
        return gate * skipped + (1 - gate) * out

    def _updates(self, value: Tensor, edge: Tensor) -> dict[str, Tensor]:
        """The map of a target, a source and an edge side by side, each by itself."""
        of_target, of_source, of_edge = self.lin_msg_update.weight.chunk(3, dim=1)
        return {
            "target_update": F.linear(value, of_target, self.lin_msg_update.bias),
            "source_update": F.linear(value, of_source),
            "edge_update": F.linear(edge, of_edge),
        }

    def _shared(self) -> dict[str, Any]:
        linear, norm = self.msg_layer
        return {
            "gate_weight": self.layer_norm.weight,
            "gate_bias": self.layer_norm.bias,
            "map_weight": linear.weight,
            "map_bias": linear.bias,
            "norm_weight": norm.weight,
            "norm_bias": norm.bias,
        }

    def extra_repr(self) -> str:
        return f"{self.in_channels}, {self.out_channels}, heads={self.heads}"
