"""The first graph attention: an additive score of target and source (GAT)."""

from typing import Any

import torch
import torch_geometric.nn
from torch import Tensor
from torch.nn import functional as F
from torch_geometric.typing import OptPairTensor, OptTensor

from graphattn.attention import EdgeAttention
from graphattn.edges import Edges
from graphattn.nn.convolutions.drop_in import DropIn, check_features, edge_index_used, masked


def score(
    source_logit: Tensor,
    target_logit: Tensor | None = None,
    edge_logit: Tensor | None = None,
    negative_slope: float = 0.2,
) -> Tensor:
    """``(E, H)`` from terms of the same shape: the score is a sum before its LeakyReLU."""
    logit = source_logit if target_logit is None else source_logit + target_logit
    logit = logit if edge_logit is None else logit + edge_logit
    return F.leaky_relu(logit, negative_slope)


def message(source: Tensor, mask: Tensor | None = None) -> Tensor:
    """The source's own features, ``(E, H, C)``."""
    return masked(source, mask)


attend = EdgeAttention(
    score,
    message,
    target=["target_logit"],
    source=["source_logit", "source"],
    edge=["edge_logit", "mask"],
    shared=["negative_slope"],
)


class GATConv(DropIn, torch_geometric.nn.GATConv):
    r"""Graph attention with an additive score of target and source.

    A drop-in for ``torch_geometric.nn.GATConv``: the same arguments, parameters and results, but
    that ``edge_attr`` without ``edge_dim`` is an error (there it is ignored).

    .. math::
        s_{ij} = \operatorname{LeakyReLU}(a_r^\top W x_i + a_l^\top W x_j + a_e^\top W_e e_{ij}),
        \qquad
        x_i' = b + \big\Vert_h \sum_{j \to i} \operatorname{softmax}_j(s^h_{ij})\, W^h x_j

    Args:
        in_channels: Width of the node features, or of those of sources and targets, which then have
            linear maps of their own; -1 takes it from the first input.
        out_channels: Width of each head.
        heads: Number of heads.
        concat: Whether heads are concatenated or averaged.
        negative_slope: Slope of the LeakyReLU for negative input.
        dropout: Probability with which a weight is dropped in training.
        add_self_loops: Gives every node one loop, in place of those that were given.
        edge_dim: Width of the edge features, if there are any.
        fill_value: Edge features of the added loops: a number, a tensor, or how to reduce the
            features of the node's edges (``"mean"``, ``"add"``, ``"min"``, ``"max"``, ``"mul"``).
        bias: Whether the output has a bias.
        residual: Whether a linear map of the target's features is added to the output.
        **kwargs: Of ``torch_geometric.nn.MessagePassing``, such as ``flow`` and ``aggr``.

    Shapes:
        - x: ``(N, in_channels)``, or a pair of sources' and targets', of which the second may be
          ``None``: the score then has no term of the target
        - edge_index: ``(2, E)``, or the ``Edges`` made from it
        - edge_attr: ``(E, edge_dim)``, in the order of ``edge_index``
        - size: ``(num_sources, num_targets)``, needed if it does not follow from ``x``
        - output: ``(N, heads * out_channels)``, or ``(N, out_channels)`` without ``concat``; with
          ``return_attention_weights``, also the edges used (loops last) and their weights after
          dropout, ``(E, heads)``. A target without edges gets the bias.

    Raises:
        TypeError: If features are not floating point.
        ValueError: If shapes or devices do not fit, or there is no ``edge_dim`` for ``edge_attr``.
        IndexError: If ``edge_index`` names a node that is not there.

    Source: Veličković et al., "Graph Attention Networks", ICLR 2018. The authors' code
        gives the two score maps a bias, and drops projected features out before they are summed;
        this layer does neither.
    """

    # What the parent says in comments (`# propagate_type: ...`): PyTorch Geometric looks for them
    # here instead, since it keeps sources by the name of a class.
    propagate_type = {"x": OptPairTensor, "alpha": Tensor}  # noqa: RUF012
    edge_updater_type = {"alpha": OptPairTensor, "edge_attr": OptTensor}  # noqa: RUF012

    def forward(
        self,
        x: Tensor | tuple[Tensor, Tensor | None],
        edge_index: Tensor | Edges,
        edge_attr: Tensor | None = None,
        size: tuple[int, int] | None = None,
        return_attention_weights: bool | None = None,
    ) -> Any:
        self.check_edge_attr(edge_attr, edge_index)
        wants_weights = bool(return_attention_weights)
        if self.needs_propagate(x, edge_index, edge_attr, wants_weights):
            return super().forward(x, edge_index, edge_attr, size, return_attention_weights)
        x_source, x_target = (x, x) if isinstance(x, Tensor) else x
        source = self._project(x_source, self.lin_src, edge_index)
        if x_target is None:
            target = None
        elif x_target is x_source and self.lin is not None:
            target = source
        else:
            target = self._project(x_target, self.lin_dst, edge_index)

        edges = self.structure(edge_index, *_sizes(source, target, size), self.add_self_loops)
        attended = attend(
            edges,
            source=source,
            negative_slope=self.negative_slope,
            dropout=self.dropout if self.training else 0.0,
            return_dropped=wants_weights,
            **self._node_logits(source, target),
            **self._edge_inputs(edges, edge_attr),
        )
        out, weights = attended if wants_weights else (attended, None)
        out = self.finish(out, x_target)
        if wants_weights:
            return out, (edge_index_used(edges, edge_index), weights)
        return out

    def _project(self, x: Tensor, own: Any, edge_index: Tensor | Edges) -> Tensor:
        linear = own if self.lin is None else self.lin
        check_features(x, "x", linear, edge_index)
        return linear(x).view(-1, self.heads, self.out_channels)

    def _node_logits(self, source: Tensor, target: Tensor | None) -> dict[str, Tensor]:
        if target is source:
            both = torch.cat([self.att_src, self.att_dst])
            source_logit, target_logit = head_products(source, both)
            return {"source_logit": source_logit, "target_logit": target_logit}
        inputs = {"source_logit": head_products(source, self.att_src)[0]}
        if target is not None:
            inputs["target_logit"] = head_products(target, self.att_dst)[0]
        return inputs

    def _edge_inputs(self, edges: Edges, edge_attr: Tensor | None) -> dict[str, Tensor]:
        inputs = self.explanation(edges)
        if edge_attr is not None:
            features = self.features_of(edges, edge_attr)
            self.lin_edge(features[:0])  # a lazy map learns its width
            # Attention and linear map contract first, so that no (E, H, C) tensor is made.
            weight = self.lin_edge.weight.view(self.heads, self.out_channels, -1)
            weight = (weight * self.att_edge[0].unsqueeze(-1)).sum(1)  # (H, edge_dim)
            inputs["edge_logit"] = F.linear(features, weight)
        return inputs


def head_products(x: Tensor, attention: Tensor) -> tuple[Tensor, ...]:
    """Sums over channels of features ``(N, H, C)`` times vectors ``(K, H, C)``: K of ``(N, H)``.

    One product of matrices gives them all; its second matrix is zero where heads differ. Head by
    head, PyTorch would write out ``(N, H, C)`` numbers, which takes longer than the zeros do. They
    have one effect: a feature that is not finite spoils the sums of all heads of its node.
    """
    if x.dtype != attention.dtype or torch.is_autocast_enabled(x.device.type):
        # Promoted here as in PyTorch Geometric; a product of matrices would refuse, or round.
        return tuple((x * vectors).sum(-1) for vectors in attention)
    blocks = torch.diag_embed(attention.permute(2, 0, 1), dim1=0, dim2=3)  # (H, C, K, H)
    products = x.flatten(1) @ blocks.flatten(2).flatten(0, 1)  # (N, K * H)
    return products.chunk(attention.shape[0], dim=1)


def _sizes(source: Tensor, target: Tensor | None, size: tuple[int, int] | None) -> tuple[int, int]:
    given = (source.shape[0], None if target is None else target.shape[0])
    if size is None:
        return given[0], given[0] if given[1] is None else given[1]
    for end, wanted, got in zip(("sources", "targets"), size, given, strict=True):
        if got is not None and wanted is not None and got != wanted:
            raise ValueError(f"size says {wanted} {end}, but x has {got}")
    return given[0], size[1]
