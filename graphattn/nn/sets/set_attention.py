"""The blocks of the Set Transformer, for dense batches and for sets of unequal size."""

from typing import Any

import torch
import torch_geometric.nn.aggr.utils as pyg
from torch import Tensor, nn
from torch.nn import functional as F

from graphattn.blocks import Blocks
from graphattn.nn.elements import check_dense_or_sets, check_floating
from graphattn.nn.sets.dot_product import dot_product_attention


class MultiheadAttentionBlock(pyg.MultiheadAttentionBlock):
    r"""Attention of one set over another, with residuals: a drop-in for PyTorch Geometric's.

    .. math::
        \mathrm{MAB}(x, y) = \mathrm{LN}(h + \mathrm{ReLU}(W h)), \qquad
        h = \mathrm{LN}(x + \mathrm{Multihead}(x, y, y))

    With ``blocks``, elements of all sets stand one after another, and nothing is padded. An element
    that has nothing to attend to gets the output bias of the attention alone.

    Args:
        channels: Width of the elements.
        heads: Number of heads; divides ``channels``.
        layer_norm: Whether layers are normalized.
        dropout: Probability with which an attention weight is set to zero in training.
        device: Where the parameters lie.

    Shapes:
        - x: ``(B, N, channels)``, or ``(N, channels)`` with ``blocks``
        - y: ``(B, M, channels)``, or ``(M, channels)`` with ``blocks``
        - x_mask, y_mask: which elements of a dense batch are there, ``(B, N)`` and ``(B, M)``, bool
        - output: that of ``x``

    Raises:
        TypeError: If an element is no floating-point tensor, a mask not bool, or ``blocks`` no
            ``Blocks``.
        ValueError: If masks are given with ``blocks``, or a shape does not fit.

    Source: Lee et al., "Set Transformer", ICML 2019, as in PyTorch Geometric 2.8. The authors' code
        differs: see ``models.SetTransformer``.
    """

    def forward(
        self,
        x: Tensor,
        y: Tensor,
        x_mask: Tensor | None = None,
        y_mask: Tensor | None = None,
        *,
        blocks: Blocks | None = None,
    ) -> Tensor:
        """Attends; see the class for shapes."""
        if blocks is not None:
            if x_mask is not None or y_mask is not None:
                raise ValueError(
                    "x_mask and y_mask must be None with blocks, which say what is there"
                )
            check_dense_or_sets("x", x, self.channels, blocks)
            check_dense_or_sets("y", y, self.channels, blocks, are_keys=True)
            return self._finished(x + self._attended(x, y, blocks))
        for name, elements, mask in (("x", x, x_mask), ("y", y, y_mask)):
            check_floating(name, elements)
            _check_mask(f"{name}_mask", mask, elements, blocks)
            # PyTorch takes a set alone as well.
            if elements.ndim not in (2, 3) or elements.shape[-1] != self.channels:
                got = tuple(elements.shape)
                raise ValueError(f"{name} must be (B, N, {self.channels}), got {got}")
        if x.shape[:-2] != y.shape[:-2]:
            raise ValueError(
                f"x and y must be of as many sets, got {tuple(x.shape)} and {tuple(y.shape)}"
            )
        return self._dense(x, y, x_mask, y_mask)

    def _dense(self, x: Tensor, y: Tensor, x_mask: Tensor | None, y_mask: Tensor | None) -> Tensor:
        attention: Any = self.attn
        if y_mask is None:
            attended, _ = attention(x, y, y, need_weights=False)
        else:
            # Where nothing is there, all is looked at and then left out: a softmax over nothing
            # would be NaN.
            is_empty = ~y_mask.any(dim=-1, keepdim=True)  # (B, 1)
            looked_at, _ = attention(x, y, y, ~(y_mask | is_empty), need_weights=False)
            attended = attention.out_proj.bias.where(is_empty.unsqueeze(-1), looked_at)
        if x_mask is not None:
            attended = attended.masked_fill(~x_mask.unsqueeze(-1), 0.0)
        return self._finished(x + attended)

    def of_seeds(self, seeds: Tensor, y: Tensor, blocks: Blocks) -> Tensor:
        """The block for queries that all sets share; they are mapped once, not once a set.

        Args:
            seeds: ``(K, channels)``.
            y: ``(M, channels)``.
            blocks: ``K`` queries for each set.

        Returns:
            ``(S * K, channels)``.
        """
        query = self._query(seeds).repeat(blocks.num_sets, 1)
        attended = self._sum(blocks, query, *self._key_and_value(y))
        return self._finished(seeds.repeat(blocks.num_sets, 1) + attended)

    def _attended(self, x: Tensor, y: Tensor, blocks: Blocks) -> Tensor:
        if x is y:  # one product of three times the width is faster than three
            attention: Any = self.attn
            mapped = F.linear(x, attention.in_proj_weight, attention.in_proj_bias).chunk(3, -1)
            return self._sum(blocks, *mapped)
        return self._sum(blocks, self._query(x), *self._key_and_value(y))

    def _query(self, x: Tensor) -> Tensor:
        attention, width = self.attn, self.channels
        return F.linear(x, attention.in_proj_weight[:width], attention.in_proj_bias[:width])

    def _key_and_value(self, y: Tensor) -> tuple[Tensor, ...]:
        attention, width = self.attn, self.channels
        mapped = F.linear(y, attention.in_proj_weight[width:], attention.in_proj_bias[width:])
        return mapped.chunk(2, -1)

    def _sum(self, blocks: Blocks, *mapped: Tensor) -> Tensor:
        attention: Any = self.attn
        query, key, value = (part.unflatten(-1, (self.heads, -1)) for part in mapped)
        dropout = self.dropout if self.training else 0.0
        out = dot_product_attention(blocks, query, key, value, dropout)
        projected: Tensor = attention.out_proj(out.flatten(1))
        return projected

    def _finished(self, h: Tensor) -> Tensor:
        h = h if self.layer_norm1 is None else self.layer_norm1(h)
        h = h + self.lin(h).relu()
        return h if self.layer_norm2 is None else self.layer_norm2(h)


class SetAttentionBlock(pyg.SetAttentionBlock):
    r"""Attention of a set over itself: a drop-in for PyTorch Geometric's.

    .. math::
        \mathrm{SAB}(x) = \mathrm{MAB}(x, x)

    Args:
        channels: Width of the elements.
        heads: Number of heads; divides ``channels``.
        layer_norm: Whether layers are normalized.
        dropout: Probability with which an attention weight is set to zero in training.

    Shapes:
        - x: ``(B, N, channels)``, or ``(N, channels)`` with ``blocks``
        - mask: which elements of a dense batch are there, ``(B, N)``, bool
        - output: that of ``x``

    Source: see ``MultiheadAttentionBlock``.
    """

    def __init__(
        self, channels: int, heads: int = 1, layer_norm: bool = True, dropout: float = 0.0
    ) -> None:
        nn.Module.__init__(self)  # the original's would make blocks of its own
        self.mab = MultiheadAttentionBlock(channels, heads, layer_norm, dropout)

    def forward(
        self, x: Tensor, mask: Tensor | None = None, *, blocks: Blocks | None = None
    ) -> Tensor:
        """Attends; see the class for shapes."""
        check_floating("x", x)
        _check_mask("mask", mask, x, blocks)
        if blocks is not None:
            check_dense_or_sets("x", x, self.mab.channels, blocks, are_keys=True)
        attended: Tensor = self.mab(x, x, mask, mask, blocks=blocks)
        return attended


class InducedSetAttentionBlock(pyg.InducedSetAttentionBlock):
    r"""Attention of a set over itself by way of a few learned points, at a cost linear in the set.

    .. math::
        \mathrm{ISAB}(x) = \mathrm{MAB}(x, h), \qquad h = \mathrm{MAB}(I, x)

    A drop-in for PyTorch Geometric's.

    Args:
        channels: Width of the elements.
        num_induced_points: Number of learned points, the rows of ``I``.
        heads: Number of heads; divides ``channels``.
        layer_norm: Whether layers are normalized.
        dropout: Probability with which an attention weight is set to zero in training.

    Shapes:
        - x: ``(B, N, channels)``, or ``(N, channels)`` with ``blocks``
        - mask: which elements of a dense batch are there, ``(B, N)``, bool
        - output: that of ``x``

    Source: see ``MultiheadAttentionBlock``.
    """

    def __init__(
        self,
        channels: int,
        num_induced_points: int,
        heads: int = 1,
        layer_norm: bool = True,
        dropout: float = 0.0,
    ) -> None:
        nn.Module.__init__(self)
        self.ind = nn.Parameter(torch.empty(1, num_induced_points, channels))
        self.mab1 = MultiheadAttentionBlock(channels, heads, layer_norm, dropout)
        self.mab2 = MultiheadAttentionBlock(channels, heads, layer_norm, dropout)
        self.reset_parameters()

    def forward(
        self, x: Tensor, mask: Tensor | None = None, *, blocks: Blocks | None = None
    ) -> Tensor:
        """Attends; see the class for shapes."""
        _check_set(x, mask, self.ind.shape[2], blocks)
        if blocks is None:
            dense: Tensor = super().forward(x, mask)
            return dense
        read = blocks.seeds(self.ind.shape[1])
        h = self.mab1.of_seeds(self.ind[0], x, read)
        attended: Tensor = self.mab2(x, h, blocks=read.transposed())
        return attended


class PoolingByMultiheadAttention(pyg.PoolingByMultiheadAttention):
    r"""Learned seeds that read a set: a drop-in for PyTorch Geometric's.

    .. math::
        \mathrm{PMA}(x) = \mathrm{MAB}(S, \mathrm{ReLU}(W x))

    Args:
        channels: Width of the elements.
        num_seed_points: Number of seeds, the rows of ``S``.
        heads: Number of heads; divides ``channels``.
        layer_norm: Whether layers are normalized.
        dropout: Probability with which an attention weight is set to zero in training.

    Shapes:
        - x: ``(B, N, channels)``, or ``(N, channels)`` with ``blocks``
        - mask: which elements of a dense batch are there, ``(B, N)``, bool
        - output: ``(B, num_seed_points, channels)``, with ``blocks`` one for each set; for
          an empty one the attention gives its output bias alone

    Source: see ``MultiheadAttentionBlock``.
    """

    def __init__(
        self,
        channels: int,
        num_seed_points: int = 1,
        heads: int = 1,
        layer_norm: bool = True,
        dropout: float = 0.0,
    ) -> None:
        nn.Module.__init__(self)
        self.lin = nn.Linear(channels, channels)
        self.seed = nn.Parameter(torch.empty(1, num_seed_points, channels))
        self.mab = MultiheadAttentionBlock(channels, heads, layer_norm, dropout)
        self.reset_parameters()

    def forward(
        self, x: Tensor, mask: Tensor | None = None, *, blocks: Blocks | None = None
    ) -> Tensor:
        """Pools; see the class for shapes."""
        _check_set(x, mask, self.seed.shape[2], blocks)
        if blocks is None:
            dense: Tensor = super().forward(x, mask)
            return dense
        count = self.seed.shape[1]
        pooled = self.mab.of_seeds(self.seed[0], self.lin(x).relu(), blocks.seeds(count))
        return pooled.unflatten(0, (-1, count))


def _check_set(x: Tensor, mask: Tensor | None, channels: int, blocks: Blocks | None) -> None:
    """Refuses elements, or a mask of them, that are neither a dense batch nor those of sets."""
    check_floating("x", x)
    _check_mask("mask", mask, x, blocks)
    check_dense_or_sets("x", x, channels, blocks)


def _check_mask(name: str, mask: Tensor | None, x: Tensor, blocks: Blocks | None) -> None:
    """Refuses a mask that does not say of each element of a dense batch whether it is there."""
    if mask is None:
        return
    if not isinstance(mask, Tensor) or mask.dtype != torch.bool:
        got = mask.dtype if isinstance(mask, Tensor) else type(mask).__name__
        hint = ": give sets by the keyword blocks" if isinstance(mask, Blocks) else ""
        raise TypeError(f"{name} must be a bool tensor, got {got}{hint}")
    if blocks is not None:
        raise ValueError(f"{name} must be None with blocks, which say what is there")
    if mask.shape != x.shape[:-1]:
        raise ValueError(f"{name} must be {tuple(x.shape[:-1])}, got {tuple(mask.shape)}")
