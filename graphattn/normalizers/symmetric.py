"""Weights divided by the degrees at both ends, as graph convolutions divide theirs."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from graphattn.edges import Edges
from graphattn.kernels.edge_attention.reference import segment_sum
from graphattn.normalizers.normalizer import Normalizer


def softplus_above_zero(logits: Tensor) -> Tensor:
    """Softplus of the logits plus 1e-6, so that no edge vanishes."""
    return F.softplus(logits) + 1e-6


class SymmetricDegree(Normalizer):
    r"""Positive weights, divided by the square roots of the degrees of target and source.

    .. math::
        \alpha_{ij} = \frac{a_{ij}}{\sqrt{d_i d_j}}, \qquad
        a_{ij} = \varphi(s_{ij}), \qquad d_i = \textstyle\sum_{j \to i} a_{ij}

    Both degrees count incoming edges, so the matrix of weights is symmetric where that of the
    logits is. The weights of a target do not sum to one. Where a degree is zero, as that of a
    source which is no edge's target, the weight is zero. NaN or +inf in a logit gives NaN on all
    edges at its target, outgoing ones included.

    Args:
        positive: The map φ, any pointwise function with values of zero or more: softplus plus 1e-6
            if not given. It gets float32 for logits of half precision.

    Raises:
        ValueError: In ``forward``, if sources and targets are not the same nodes, or ``positive``
            changes the shape.

    Source: Lee et al., "Towards Deep Attention in Graph Neural Networks: Problems and Remedies"
        (AERO-GNN), ICML 2023, as its official code has the degrees.
    """

    def __init__(self, positive: Callable[[Tensor], Tensor] = softplus_above_zero) -> None:
        super().__init__()
        self.positive = positive

    def forward(self, logits: Tensor, edges: Edges) -> Tensor:
        if edges.num_sources != edges.num_targets:
            raise ValueError(
                "edges must run between the nodes of one set, so that each has a degree, got"
                f" {edges.num_sources} sources and {edges.num_targets} targets"
            )
        wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
        parts = self.positive(wide)
        if parts.shape != logits.shape:
            raise ValueError(
                f"positive must keep the shape of the logits, {tuple(logits.shape)}, got"
                f" {tuple(parts.shape)}"
            )
        degree = segment_sum(parts, edges.target, edges.num_targets)
        has_degree = degree != 0
        scale = torch.where(has_degree, degree, 1).rsqrt()  # 1: 0 would give infinite gradients
        scale = torch.where(has_degree, scale, 0)
        ends = scale.index_select(0, edges.target) * scale.index_select(0, edges.source)
        return (parts * ends).to(logits.dtype)

    def extra_repr(self) -> str:
        return f"positive={getattr(self.positive, '__name__', self.positive)}"
