"""How the logits of a target's edges become weights."""

from torch import Tensor, nn

from graphattn.edges import Edges
from graphattn.kernels.edge_attention import reference


class Normalizer(nn.Module):
    """Turns logits into weights, target by target and head by head.

    A normalizer of one's own subclasses this one and overrides ``forward``.
    """

    def forward(self, logits: Tensor, edges: Edges) -> Tensor:
        """Weights of the edges.

        Args:
            logits: ``(E, H)``, in the order of ``edges``.
            edges: The structure; ``edges.target`` names the target of each row.

        Returns:
            ``(E, H)``.
        """
        raise NotImplementedError(f"{type(self).__name__} must override forward(logits, edges)")


class Softmax(Normalizer):
    r"""Weights that are positive and sum to one over the edges into a target.

    .. math::
        \alpha_{ij} = \frac{\exp s_{ij}}{\sum_{k \to i} \exp s_{ik}}

    A target without edges, or whose logits are all −inf, has no weight to give: its weights are
    zero. NaN and +inf act as in ``torch.softmax``, within their target and head.
    """

    def forward(self, logits: Tensor, edges: Edges) -> Tensor:
        return reference.segment_softmax(logits, edges.target, edges.num_targets)
