"""Attention without softmax, as projections of operator learning: Galerkin's and Fourier's."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from graphattn.blocks import Blocks
from graphattn.nn.linear.linear_attention import (
    LinearSetAttention,
    check_width,
    feature_product,
    key_counts,
)


class HeadNorm(nn.Module):
    """Layer norm over the channels of each head, each head with its own weight and bias.

    Args:
        channels: ``C``.
        heads: ``H``.

    Shapes:
        - x: ``(N, H, C)``
        - output: that of ``x``
    """

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(heads, channels))
        self.bias = nn.Parameter(torch.zeros(heads, channels))

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, x.shape[-1:]) * self.weight + self.bias

    def extra_repr(self) -> str:
        heads, channels = self.weight.shape
        return f"{channels}, heads={heads}"


class GalerkinAttention(LinearSetAttention):
    r"""Queries times the mean product of normalized keys and values: a Galerkin projection.

    .. math::
        \mathrm{out}_i = \frac{1}{n} q_i^\top \textstyle\sum_j
        \operatorname{LN}(k_j) \operatorname{LN}(v_j)^\top

    Elements are points at which a function was sampled; the mean is an integral, and so the output
    does not depend on how many there are.

    Args:
        channels: Width of a head's queries and keys.
        heads: Number of heads.
        value_channels: Width of a head's values; ``channels`` if None.

    Shapes: see ``LinearSetAttention``.

    Source: Cao, "Choose a Transformer: Fourier or Galerkin", NeurIPS 2021. There coordinates are
        joined to the queries, keys and values of every head, and the maps that make these begin
        near the identity: both are the caller's.
    """

    def __init__(self, channels: int, heads: int = 1, value_channels: int | None = None) -> None:
        super().__init__()
        self.heads, self.channels, self.value_channels = heads, channels, value_channels or channels
        self.key_norm: nn.Module = HeadNorm(channels, heads)
        self.value_norm: nn.Module = HeadNorm(self.value_channels, heads)

    def attend(self, query: Tensor, key: Tensor, value: Tensor, blocks: Blocks) -> Tensor:
        check_width("query", query, heads=self.heads, channels=self.channels)
        check_width("value", value, heads=self.heads, channels=self.value_channels)
        total = feature_product(query, self.key_norm(key), self.value_norm(value), blocks)
        return total / key_counts(blocks, query)


class FourierAttention(LinearSetAttention):
    r"""Normalized queries times the mean product of normalized keys and the values.

    .. math::
        \mathrm{out}_i = \frac{1}{n \sqrt{C}} \operatorname{LN}(q_i)^\top \textstyle\sum_j
        \operatorname{LN}(k_j)\, v_j^\top

    It is dot-product attention with the softmax left out. The official code multiplies queries by
    keys first, at a cost quadratic in the elements; the result is the same.

    Args:
        channels: Width of a head's queries and keys.
        heads: Number of heads.

    Shapes: see ``LinearSetAttention``.

    Source: see ``GalerkinAttention``.
    """

    def __init__(self, channels: int, heads: int = 1) -> None:
        super().__init__()
        self.heads, self.channels = heads, channels
        self.query_norm: nn.Module = HeadNorm(channels, heads)
        self.key_norm: nn.Module = HeadNorm(channels, heads)

    def attend(self, query: Tensor, key: Tensor, value: Tensor, blocks: Blocks) -> Tensor:
        check_width("query", query, heads=self.heads, channels=self.channels)
        total = feature_product(self.query_norm(query), self.key_norm(key), value, blocks)
        return total / (key_counts(blocks, query) * query.shape[-1] ** 0.5)
