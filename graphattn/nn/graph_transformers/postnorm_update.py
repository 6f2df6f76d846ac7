"""What follows attention in a post-norm transformer: map, residual, norm, perceptron, norm."""

from collections.abc import Callable

from torch import Tensor, nn

from graphattn.nn.feature_dropout import FeatureDropout
from graphattn.nn.latents.residual_blocks import Residual


class PostnormUpdate(nn.Module):
    r"""Adds to features what they attended to, and norms before and after a perceptron.

    .. math::
        h = \mathrm{Norm}(x + W_o o), \qquad x' = \mathrm{Norm}(h + W_2 \operatorname{ReLU}(W_1 h))

    Args:
        channels: Width of the features.
        norm: Makes a norm of a width.
        dropout: Probability with which attended features, and those inside the perceptron, are set
            to zero in training.
        projects: Whether there is a map :math:`W_o`.

    Shapes:
        - x, attended: ``(N, channels)``
        - output: ``(N, channels)``

    Source: the layers of Dwivedi and Bresson, AAAI workshop 2021, and those made after them.
    """

    def __init__(
        self,
        channels: int,
        norm: Callable[[int], nn.Module] = nn.BatchNorm1d,
        dropout: float = 0.0,
        projects: bool = True,
    ) -> None:
        super().__init__()
        self.dropout = FeatureDropout(dropout)
        self.lin_out = nn.Linear(channels, channels) if projects else nn.Identity()
        self.attended_norm = norm(channels)
        self.perceptron = Residual(
            nn.Sequential(
                nn.Linear(channels, 2 * channels),
                nn.ReLU(),
                FeatureDropout(dropout),
                nn.Linear(2 * channels, channels),
            )
        )
        self.output_norm = norm(channels)

    def forward(self, x: Tensor, attended: Tensor) -> Tensor:
        """Updates; see the class for shapes."""
        h = self.attended_norm(x + self.lin_out(self.dropout(attended)))
        updated: Tensor = self.output_norm(self.perceptron(h))
        return updated
