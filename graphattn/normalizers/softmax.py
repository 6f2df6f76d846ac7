"""Softmax over the edges into each target."""

from torch import Tensor

from graphattn.edges import Edges
from graphattn.kernels.edge_attention import reference
from graphattn.normalizers.normalizer import Normalizer


class Softmax(Normalizer):
    r"""Weights that are positive and sum to one over the edges into a target.

    .. math::
        \alpha_{ij} = \frac{\exp s_{ij}}{\sum_{k \to i} \exp s_{ik}}

    A target without edges, or whose logits are all −inf, has no weight to give: its weights are
    zero. NaN and +inf act as in ``torch.softmax``, within their target and head.
    """

    def forward(self, logits: Tensor, edges: Edges) -> Tensor:
        return reference.segment_softmax(logits, edges.target, edges.num_targets)
