"""Graphormer: attention among all nodes of a graph and its token, with a bias for each pair."""

import torch
from torch import Tensor, nn

from graphattn.attention import EdgeAttention
from graphattn.blocks import Blocks
from graphattn.dropout import kept_factor
from graphattn.nn.elements import check_elements, check_floating, check_heads, check_sets
from graphattn.nn.graph_transformers.graphormer_bias import is_token
from graphattn.nn.latents.residual_blocks import prenorm_perceptron


def score(query: Tensor, key: Tensor, bias: Tensor) -> Tensor:
    """The scaled dot product of ``(E, H, C)`` and a bias, ``(E, H)``."""
    return (query * key).sum(-1) / query.shape[-1] ** 0.5 + bias


def message(value: Tensor) -> Tensor:
    """The value, ``(E, H, C)``."""
    return value


attend = EdgeAttention(score, message, target=["query"], source=["key", "value"], edge=["bias"])


class GraphToken(nn.Module):
    """Puts the token of its graph before the nodes of each, a learned vector that all graphs share.

    Args:
        channels: Width of the nodes.

    Shapes:
        - x: ``(N, channels)``, the nodes of all graphs one after another
        - blocks: the graphs
        - output: ``(N + S, channels)``, in the order of ``with_tokens(blocks)``

    Raises:
        TypeError: If ``x`` is no floating-point tensor, or ``blocks`` no ``Blocks``.
        ValueError: If a shape does not fit.

    Source: see ``GraphormerBias``.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.randn(1, channels))

    def forward(self, x: Tensor, blocks: Blocks) -> Tensor:
        """Adds rows; see the class for shapes."""
        check_sets(blocks)
        check_elements("x", x, blocks.num_targets, self.token.shape[1])
        # Every element picks its row: the token's is the first.
        token = is_token(blocks)
        row = (~token).cumsum(0).masked_fill(token, 0)
        return torch.cat([self.token, x])[row]


class GraphormerAttention(nn.Module):
    r"""Attention among all elements of a set, with a bias for each pair.

    .. math::
        x_i' = W_o \big\Vert_h \sum_j \operatorname{softmax}_j\bigl(
        q^h_i \cdot k^h_j / \sqrt{C} + b^h_{ij}\bigr)\, v^h_j

    It is one program on ``Blocks``. Beside the bias and its gradient nothing of the size of all
    pairs is kept.

    Args:
        channels: Width of the elements.
        heads: Number of heads; divides ``channels``.
        dropout: Probability with which a weight is set to zero in training.

    Shapes:
        - x: ``(N, channels)``, the elements of all sets one after another
        - bias: ``(P, heads)``, pair by pair
        - blocks: the sets
        - output: ``(N, channels)``

    Raises:
        TypeError: If an input is no floating-point tensor, or ``blocks`` no ``Blocks``.
        ValueError: If a shape does not fit, ``heads`` does not divide ``channels``, or ``dropout``
            is no probability.

    Source: see ``GraphormerBias``.
    """

    def __init__(self, channels: int, heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        check_heads(channels, heads)
        kept_factor(dropout)  # refuses what is no probability
        self.channels, self.heads, self.dropout = channels, heads, dropout
        self.lin_query = nn.Linear(channels, channels)
        self.lin_key = nn.Linear(channels, channels)
        self.lin_value = nn.Linear(channels, channels)
        self.lin_out = nn.Linear(channels, channels)

    def forward(self, x: Tensor, bias: Tensor, blocks: Blocks) -> Tensor:
        """Attends; see the class for shapes."""
        check_sets(blocks)
        check_elements("x", x, blocks.num_targets, self.channels)
        check_floating("bias", bias)
        if bias.shape != (blocks.num_edges, self.heads):
            expected = f"({blocks.num_edges}, {self.heads}), pair by pair"
            raise ValueError(f"bias must be {expected}, got {tuple(bias.shape)}")
        query, key, value = (
            linear(x).unflatten(1, (self.heads, -1))
            for linear in (self.lin_query, self.lin_key, self.lin_value)
        )
        dropout = self.dropout if self.training else 0.0
        out = attend(blocks, query=query, key=key, value=value, bias=bias, dropout=dropout)
        mixed: Tensor = self.lin_out(out.flatten(1))
        return mixed

    def extra_repr(self) -> str:
        return f"{self.channels}, heads={self.heads}, dropout={self.dropout}"


class GraphormerLayer(nn.Module):
    r"""Attention with a bias for each pair, and a perceptron, each behind a layer norm.

    .. math::
        h = x + \mathrm{Attention}(\mathrm{LN}(x), b), \qquad
        x' = h + W_2 \operatorname{GELU}(W_1\, \mathrm{LN}(h))

    Args:
        channels: Width of the elements.
        heads: Number of heads; divides ``channels``.
        hidden_channels: Width inside the perceptron; ``channels`` if None, as in the paper.
        dropout: Probability with which a weight is set to zero in training.

    Shapes:
        - x, bias, blocks, output: as of ``GraphormerAttention``

    Raises:
        TypeError: See ``GraphormerAttention``.
        ValueError: Likewise.

    Source: see ``GraphormerBias``.
    """

    def __init__(
        self, channels: int, heads: int, hidden_channels: int | None = None, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.attention = GraphormerAttention(channels, heads, dropout)
        hidden_channels = channels if hidden_channels is None else hidden_channels
        self.perceptron = prenorm_perceptron(channels, hidden_channels)

    def forward(self, x: Tensor, bias: Tensor, blocks: Blocks) -> Tensor:
        """Applies the layer; see the class for shapes."""
        updated: Tensor = self.perceptron(x + self.attention(self.norm(x), bias, blocks))
        return updated
