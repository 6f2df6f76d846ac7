"""Neural attention: a perceptron compares query and key in place of the dot product."""

from torch import Tensor, nn

from graphattn.attention import EdgeAttention
from graphattn.blocks import Blocks
from graphattn.dropout import kept_factor
from graphattn.nn.elements import check_elements, check_heads, check_sets


def score(query: Tensor, key: Tensor, inner: Tensor, inner_bias: Tensor, outer: Tensor) -> Tensor:
    """``(E, H)`` from query and key of ``(E, H, P)``, inner of ``(P, P / 2)``.

    The first map of the perceptron is the sum of one on the query and one on the key, which are
    done once for each element.
    """
    hidden = (query + key).relu() @ inner + inner_bias  # (E, H, P / 2)
    return (hidden.relu() * outer).sum(-1)


def message(value: Tensor) -> Tensor:
    """The value, ``(E, H, C)``."""
    return value


attend = EdgeAttention(
    score,
    message,
    target=["query"],
    source=["key", "value"],
    shared=["inner", "inner_bias", "outer"],
)


class NeuralAttention(nn.Module):
    r"""Attention of a set over itself, by a perceptron of two hidden layers on query and key.

    .. math::
        s_{ij} = w_3^\top \mathrm{ReLU}(W_2\, \mathrm{ReLU}(W_1 [q'_i \Vert k'_j] + b_1) + b_2),
        \qquad q' = W_{q'} q + b_{q'}, \quad k' = W_{k'} k + b_{k'}

    All heads share the perceptron and the maps to ``q'`` and ``k'``.

    Args:
        channels: Width of the elements.
        heads: Number of heads; divides ``channels``.
        projection_channels: Width of ``q'``, ``k'`` and the first hidden layer, even; the second
            has half of it.
        dropout: Probability with which a weight is set to zero in training.

    Shapes:
        - x: ``(N, channels)``, the elements of all sets one after another
        - blocks: ``S`` sets of ``N`` elements
        - output: ``(N, channels)``

    Raises:
        TypeError: If ``x`` is no floating-point tensor, or ``blocks`` no ``Blocks``.
        ValueError: If a shape does not fit, ``heads`` does not divide ``channels``,
            ``projection_channels`` is not even and positive, or ``dropout`` is no probability.

    Source: DiGiugno and Mahmood, "Neural Attention: A Novel Mechanism for Enhanced Expressive Power
        in Transformer Models", 2025, and the authors' code. The bias after ``w_3``, which a softmax
        does not see, is left out.
    """

    def __init__(
        self, channels: int, heads: int = 1, projection_channels: int = 8, dropout: float = 0.0
    ) -> None:
        super().__init__()
        check_heads(channels, heads)
        kept_factor(dropout)  # refuses what is no probability
        if projection_channels < 2 or projection_channels % 2:
            raise ValueError(
                f"projection_channels must be even and positive, got {projection_channels}"
            )
        self.channels, self.heads, self.dropout = channels, heads, dropout
        self.to_qkv = nn.Linear(channels, 3 * channels, bias=False)
        self.query = nn.Linear(channels // heads, projection_channels)
        self.key = nn.Linear(channels // heads, projection_channels)
        self.first = nn.Linear(2 * projection_channels, projection_channels)
        self.second = nn.Linear(projection_channels, projection_channels // 2)
        self.third = nn.Linear(projection_channels // 2, 1, bias=False)
        self.output = nn.Linear(channels, channels, bias=False)

    def forward(self, x: Tensor, blocks: Blocks) -> Tensor:
        """Attends; see the class for shapes."""
        check_sets(blocks)
        check_elements("x", x, blocks.num_targets, self.channels)
        query, key, value = self.to_qkv(x).unflatten(1, (3, self.heads, -1)).unbind(1)
        of_query, of_key = self.first.weight.chunk(2, dim=1)  # (P, P) each
        out: Tensor = attend(
            blocks,
            query=self.query(query) @ of_query.t() + self.first.bias,
            key=self.key(key) @ of_key.t(),
            value=value,
            inner=self.second.weight.t(),
            inner_bias=self.second.bias,
            outer=self.third.weight[0],
            dropout=self.dropout if self.training else 0.0,
        )
        projected: Tensor = self.output(out.flatten(1))
        return projected

    def extra_repr(self) -> str:
        return f"{self.channels}, heads={self.heads}"
