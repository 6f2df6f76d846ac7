"""Attention that falls with the distance of query and key."""

from torch import Tensor, nn

from graphattn.attention import EdgeAttention
from graphattn.blocks import Blocks
from graphattn.dropout import kept_factor
from graphattn.nn.elements import check_elements, check_heads, check_sets


def score(query: Tensor, key: Tensor) -> Tensor:
    """Minus the squared distance over the square root of the width; both ``(E, H, C)``."""
    return -(query - key).square().sum(-1) / query.shape[-1] ** 0.5


def message(value: Tensor) -> Tensor:
    """The value, ``(E, H, C)``."""
    return value


attend = EdgeAttention(score, message, target=["query"], source=["key", "value"])


class DistanceAttention(nn.Module):
    r"""Attention of a set over itself, highest where query and key are closest.

    .. math::
        x_i' = W_o \big\Vert_h \textstyle\sum_j
        \operatorname{softmax}_j\bigl(-\lVert q^h_i - k^h_j \rVert^2 / \sqrt{C}\bigr)\, v^h_j

    Args:
        channels: Width of the elements.
        heads: Number of heads; divides ``channels``.
        share_weights: Whether keys are the queries: every element then weighs itself most.
        dropout: Probability with which a weight is set to zero in training.

    Shapes:
        - x: ``(N, channels)``, the elements of all sets one after another
        - blocks: ``S`` sets of ``N`` elements
        - output: ``(N, channels)``

    Raises:
        TypeError: If ``x`` is no floating-point tensor, or ``blocks`` no ``Blocks``.
        ValueError: If a shape does not fit, ``heads`` does not divide ``channels``, or ``dropout``
            is no probability.

    Source: the L2 score of Kim, Papamakarios and Mnih, "The Lipschitz Constant of Self-Attention",
        ICML 2021. Values are free, as in dot-product attention; there they are tied to the queries
        as well, which the bound of that paper needs.
    """

    def __init__(
        self, channels: int, heads: int = 1, share_weights: bool = False, dropout: float = 0.0
    ) -> None:
        super().__init__()
        check_heads(channels, heads)
        kept_factor(dropout)  # refuses what is no probability
        self.channels, self.heads, self.dropout = channels, heads, dropout
        self.query = nn.Linear(channels, channels, bias=False)
        self.key = self.query if share_weights else nn.Linear(channels, channels, bias=False)
        self.value = nn.Linear(channels, channels, bias=False)
        self.output = nn.Linear(channels, channels, bias=False)

    def forward(self, x: Tensor, blocks: Blocks) -> Tensor:
        """Attends; see the class for shapes."""
        check_sets(blocks)
        check_elements("x", x, blocks.num_targets, self.channels)
        query, key, value = (
            linear(x).unflatten(1, (self.heads, -1))
            for linear in (self.query, self.key, self.value)
        )
        dropout = self.dropout if self.training else 0.0
        out: Tensor = attend(blocks, query=query, key=key, value=value, dropout=dropout)
        projected: Tensor = self.output(out.flatten(1))
        return projected

    def extra_repr(self) -> str:
        return f"{self.channels}, heads={self.heads}"
