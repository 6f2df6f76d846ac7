"""What every normalizer is: logits in, weights out."""

from torch import Tensor, nn

from graphattn.edges import Edges


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
