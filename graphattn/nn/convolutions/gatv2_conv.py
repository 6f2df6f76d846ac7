"""Graph attention whose ranking of sources depends on the target (GATv2)."""

from typing import Any

import torch_geometric.nn
from torch import Tensor
from torch.nn import functional as F
from torch_geometric.typing import OptTensor, PairTensor

from graphattn.attention import EdgeAttention
from graphattn.edges import Edges
from graphattn.nn.convolutions.drop_in import DropIn, check_features, edge_index_used, masked


def score(
    target: Tensor,
    source: Tensor,
    attention: Tensor,
    edge: Tensor | None = None,
    negative_slope: float = 0.2,
) -> Tensor:
    """``(E, H)`` from target, source and edge of ``(E, H, C)``, and attention of ``(H, C)``."""
    features = target + source if edge is None else target + source + edge
    return (F.leaky_relu(features, negative_slope) * attention).sum(-1)


def message(source: Tensor, mask: Tensor | None = None) -> Tensor:
    """The source's own features, ``(E, H, C)``."""
    return masked(source, mask)


attend = EdgeAttention(
    score,
    message,
    target=["target"],
    source=["source"],
    edge=["edge", "mask"],
    shared=["attention", "negative_slope"],
)


class GATv2Conv(DropIn, torch_geometric.nn.GATv2Conv):
    r"""Graph attention whose ranking of sources depends on the target.

    A drop-in for ``torch_geometric.nn.GATv2Conv``: the same arguments, parameters and results.

    .. math::
        s_{ij} = a^\top \operatorname{LeakyReLU}(W_r x_i + W_l x_j + W_e e_{ij}), \qquad
        x_i' = b + \big\Vert_h \sum_{j \to i} \operatorname{softmax}_j(s^h_{ij})\, W^h_l x_j

    Args:
        in_channels: Width of the node features, or of those of sources and targets; -1 takes it
            from the first input.
        out_channels: Width of each head.
        heads: Number of heads.
        concat: Whether heads are concatenated or averaged.
        negative_slope: Slope of the LeakyReLU for negative input.
        dropout: Probability with which a weight is dropped in training.
        add_self_loops: Gives every node one loop, in place of those that were given.
        edge_dim: Width of the edge features, if there are any.
        fill_value: Edge features of the added loops: a number, a tensor, or how to reduce the
            features of the node's edges (``"mean"``, ``"add"``, ``"min"``, ``"max"``, ``"mul"``).
        bias: Whether linear maps and output have a bias.
        share_weights: Whether sources and targets share one linear map.
        residual: Whether a linear map of the target's features is added to the output.
        **kwargs: Of ``torch_geometric.nn.MessagePassing``, such as ``flow`` and ``aggr``.

    Shapes:
        - x: ``(N, in_channels)``, or a pair of sources' and targets'
        - edge_index: ``(2, E)``, or the ``Edges`` made from it
        - edge_attr: ``(E, edge_dim)``, in the order of ``edge_index``
        - output: ``(N, heads * out_channels)``, or ``(N, out_channels)`` without ``concat``; with
          ``return_attention_weights``, also the edges used (loops last) and their weights after
          dropout, ``(E, heads)``. A target without edges gets the bias.

    Raises:
        TypeError: If features are not floating point.
        ValueError: If shapes or devices do not fit, or there is no ``edge_dim`` for ``edge_attr``.
        IndexError: If ``edge_index`` names a node that is not there.

    Source: Brody, Alon and Yahav, "How Attentive are Graph Attention Networks?", ICLR 2022.
    """

    # What the parent says in comments (`# propagate_type: ...`): PyTorch Geometric looks for them
    # here instead, since it keeps sources by the name of a class.
    propagate_type = {"x": PairTensor, "alpha": Tensor}  # noqa: RUF012
    edge_updater_type = {"x": PairTensor, "edge_attr": OptTensor}  # noqa: RUF012

    def forward(
        self,
        x: Tensor | tuple[Tensor, Tensor],
        edge_index: Tensor | Edges,
        edge_attr: Tensor | None = None,
        return_attention_weights: bool | None = None,
    ) -> Any:
        self.check_edge_attr(edge_attr, edge_index)
        wants_weights = bool(return_attention_weights)
        if self.needs_propagate(x, edge_index, edge_attr, wants_weights):
            return super().forward(x, edge_index, edge_attr, return_attention_weights)
        x_source, x_target = (x, x) if isinstance(x, Tensor) else x
        check_features(x_source, "x", self.lin_l, edge_index)
        check_features(x_target, "x", self.lin_r, edge_index)
        source = self.lin_l(x_source).view(-1, self.heads, self.out_channels)
        if self.share_weights and x_target is x_source:
            target = source
        else:
            target = self.lin_r(x_target).view(-1, self.heads, self.out_channels)

        edges = self.structure(
            edge_index, source.shape[0], target.shape[0], self_loops=self.add_self_loops
        )
        attended = attend(
            edges,
            target=target,
            source=source,
            attention=self.att[0],
            negative_slope=self.negative_slope,
            dropout=self.dropout if self.training else 0.0,
            return_dropped=wants_weights,
            **self._edge_inputs(edges, edge_attr),
        )
        out, weights = attended if wants_weights else (attended, None)
        out = self.finish(out, x_target)
        if wants_weights:
            return out, (edge_index_used(edges, edge_index), weights)
        return out

    def _edge_inputs(self, edges: Edges, edge_attr: Tensor | None) -> dict[str, Tensor]:
        inputs = self.explanation(edges)
        if edge_attr is not None:
            features = self.features_of(edges, edge_attr)
            inputs["edge"] = self.lin_edge(features).view(-1, self.heads, self.out_channels)
        return inputs
