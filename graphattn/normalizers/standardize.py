"""Weights of mean zero and variance one over the edges into each target."""

import torch
from torch import Tensor, nn

from graphattn.edges import Edges
from graphattn.kernels.edge_attention.reference import segment_sum
from graphattn.normalizers.normalizer import Normalizer


class Standardize(Normalizer):
    r"""Logits less their mean over a target's edges, divided by their standard deviation.

    .. math::
        \alpha_{ij} = g \, \frac{s_{ij} - \mu_i}{\sqrt{\sigma_i^2 + \varepsilon / n_i}} + b, \qquad
        \mu_i = \frac{1}{n_i} \sum_{j \to i} s_{ij}, \qquad
        \sigma_i^2 = \frac{1}{n_i} \sum_{j \to i} (s_{ij} - \mu_i)^2

    The weights have both signs and sum to :math:`n_i b`. Where all logits of a target are equal, as
    that of a single edge is, the weights are :math:`b`, and their gradient is as steep as ε allows.
    An edge with a logit of −inf counts as absent and has no weight. NaN and +inf give NaN within
    their target and head.

    Args:
        heads: Gives each head a gain :math:`g`, at first one, and a shift :math:`b`, at first
            zero, which are learned. Without it they stay one and zero.
        epsilon: Added to the sum of squares; above zero.

    Raises:
        ValueError: If ``heads`` is negative or ``epsilon`` not above zero; in ``forward``, if
            the logits have another number of heads.

    Source: Richter and Wattenhofer, "Normalized Attention Without Probability Cage", arXiv 2020:
        gain, shift and ε as in its official code for graphs.
    """

    def __init__(self, heads: int | None = None, epsilon: float = 1e-16) -> None:
        super().__init__()
        if heads is not None and heads < 0:
            raise ValueError(f"heads must not be negative, got {heads}")
        if not epsilon > 0:
            raise ValueError(f"epsilon must be above 0, got {epsilon}")
        self.epsilon = epsilon
        self.gain = None if heads is None else nn.Parameter(torch.ones(heads))
        self.shift = None if heads is None else nn.Parameter(torch.zeros(heads))

    def forward(self, logits: Tensor, edges: Edges) -> Tensor:
        wide = logits.to(torch.promote_types(logits.dtype, torch.float32))

        def total(x: Tensor) -> Tensor:
            return segment_sum(x, edges.target, edges.num_targets).index_select(0, edges.target)

        is_there = wide != -torch.inf
        # Equal logits differ from their rounded mean, but not from the largest of them.
        below = torch.where(is_there, wide - _largest(wide, edges), 0)
        count = total(is_there.to(wide.dtype)).clamp(min=1)
        offset = torch.where(is_there, below - total(below) / count, 0)
        weights = offset * ((total(offset.square()) + self.epsilon) / count).rsqrt()
        if self.gain is not None and self.shift is not None:
            if self.gain.shape[0] != logits.shape[1]:
                raise ValueError(
                    f"logits must have {self.gain.shape[0]} heads, got shape {tuple(logits.shape)}"
                )
            weights = torch.where(is_there, weights * self.gain + self.shift, 0)
        return weights.to(logits.dtype)

    def extra_repr(self) -> str:
        heads = "" if self.gain is None else f"heads={self.gain.shape[0]}, "
        return f"{heads}epsilon={self.epsilon}"


def _largest(logits: Tensor, edges: Edges) -> Tensor:
    """The largest logit of each edge's target, ``(E, H)``, a constant; 0 where it is −inf."""
    index = edges.target.unsqueeze(1).expand_as(logits)
    largest = logits.new_full((edges.num_targets, logits.shape[1]), -torch.inf)
    largest = largest.scatter_reduce(0, index, logits.detach(), "amax")
    return largest.masked_fill(largest == -torch.inf, 0).index_select(0, edges.target)
