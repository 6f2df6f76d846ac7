"""Attention whose weights know positions only, and whose values know features only."""

import itertools

import torch
from torch import Tensor, nn

from graphattn.blocks import Blocks
from graphattn.dropout import kept_factor
from graphattn.nn.elements import check_elements, check_heads, check_sets
from graphattn.nn.sets.dot_product import dot_product_attention


class PositionalAttention(nn.Module):
    r"""Mixes the elements of a set by weights that depend on their positions alone.

    .. math::
        x_i' = W_o \big\Vert_h \textstyle\sum_j
        \operatorname{softmax}_j(W^h_q p_i \cdot W^h_k p_j / \sqrt{P})\, W^h_v x_j

    Args:
        channels: Width of the features.
        position_channels: Width ``P`` of the positions, and of queries and keys in every head. With
            the features as positions, and their width, this is attention as usual.
        heads: Number of heads; divides ``channels``.
        dropout: Probability with which a weight is set to zero in training.

    Shapes:
        - x: ``(N, channels)``, the elements of all sets one after another
        - positions: ``(N, position_channels)``
        - blocks: ``S`` sets of ``N`` elements
        - output: ``(N, channels)``; no set, no rows

    Raises:
        TypeError: If an input is no floating-point tensor, or ``blocks`` no ``Blocks``.
        ValueError: If a shape does not fit, ``heads`` does not divide ``channels``, or ``dropout``
            is no probability.

    Source: Back De Luca et al., "Positional Attention: Expressivity and Learnability of Algorithmic
        Computation", ICML 2025, and the authors' code, where heads do not divide the width of
        queries and keys.
    """

    def __init__(
        self, channels: int, position_channels: int, heads: int = 1, dropout: float = 0.0
    ) -> None:
        super().__init__()
        check_heads(channels, heads)
        kept_factor(dropout)  # refuses what is no probability
        self.channels, self.position_channels = channels, position_channels
        self.heads, self.dropout = heads, dropout
        self.qk_proj = nn.Linear(position_channels, heads * 2 * position_channels)
        self.v_proj = nn.Linear(channels, channels)
        self.o_proj = nn.Linear(channels, channels)

    def forward(self, x: Tensor, positions: Tensor, blocks: Blocks) -> Tensor:
        """Attends; see the class for shapes."""
        check_sets(blocks)
        check_elements("x", x, blocks.num_sources, self.channels)
        check_elements("positions", positions, blocks.num_targets, self.position_channels)
        query, key = self.qk_proj(positions).unflatten(1, (self.heads, 2, -1)).unbind(2)
        value = self.v_proj(x).unflatten(1, (self.heads, -1))
        dropout = self.dropout if self.training else 0.0
        out = dot_product_attention(blocks, query, key, value, dropout)
        mixed: Tensor = self.o_proj(out.flatten(1))
        return mixed

    def extra_repr(self) -> str:
        return f"{self.channels}, position_channels={self.position_channels}, heads={self.heads}"


class PositionalTransformerLayer(nn.Module):
    r"""Positional attention, and a perceptron that sees each element beside what it attended to.

    .. math::
        x_i' = \mathrm{MLP}\bigl([x_i \,\Vert\, \mathrm{PositionalAttention}(x, p)_i]\bigr)

    There is no residual and no normalization, as in the paper.

    Args:
        channels: Width of the features.
        position_channels: Width of the positions.
        heads: Number of heads; divides ``channels``.
        hidden_channels: Width inside of the perceptron.
        num_maps: Number of linear maps of the perceptron, with ReLU between them.
        dropout: Probability with which a weight is set to zero in training.

    Shapes:
        - x, positions, blocks, output: as of ``PositionalAttention``

    Raises:
        TypeError: See ``PositionalAttention``.
        ValueError: Likewise, and if ``num_maps`` is under 1.

    Source: see ``PositionalAttention``.
    """

    def __init__(
        self,
        channels: int,
        position_channels: int,
        heads: int,
        hidden_channels: int,
        num_maps: int = 2,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if num_maps < 1:
            raise ValueError(f"num_maps must be at least 1, got {num_maps}")
        self.attn = PositionalAttention(channels, position_channels, heads, dropout)
        widths = [2 * channels, *[hidden_channels] * (num_maps - 1), channels]
        parts: list[nn.Module] = []
        for before, after in itertools.pairwise(widths):
            parts += [nn.Linear(before, after), nn.ReLU()]
        self.mlp = nn.Sequential(*parts[:-1])

    def forward(self, x: Tensor, positions: Tensor, blocks: Blocks) -> Tensor:
        """Applies the layer; see the class for shapes."""
        updated: Tensor = self.mlp(torch.cat([x, self.attn(x, positions, blocks)], dim=1))
        return updated
