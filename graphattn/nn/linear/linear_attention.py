"""Attention at a cost linear in the elements of a set: what all kinds share, and feature maps."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from graphattn.blocks import Blocks
from graphattn.kernels.segment_reduce.op import segment_expand, segment_reduce
from graphattn.kernels.segment_softmax.op import segment_softmax
from graphattn.nn.elements import check_attention
from graphattn.nn.linear.set_products import SetTiles


class LinearSetAttention(nn.Module):
    """What attention of linear cost has in common: its inputs, its checks, its precision.

    A kind of one's own subclasses this one and overrides ``attend``, which gets checked tensors of
    float32 or wider, and no autocast: sums over a large set overflow half precision.

    Shapes:
        - query: ``(N, H, C)``
        - key: ``(M, H, C)``
        - value: ``(M, H, D)``
        - blocks: the sets; queries attend to the keys of theirs
        - output: ``(N, H, D)``; zeros for a query of a set without keys

    Raises:
        TypeError: If an input is no floating-point tensor, or ``blocks`` no ``Blocks``.
        ValueError: If a shape does not fit the sets.
    """

    def forward(self, query: Tensor, key: Tensor, value: Tensor, blocks: Blocks) -> Tensor:
        """Attends; see the class for shapes."""
        return in_float32(self.attend, query, key, value, blocks)

    def attend(self, query: Tensor, key: Tensor, value: Tensor, blocks: Blocks) -> Tensor:
        """The attention itself."""
        raise NotImplementedError(f"{type(self).__name__} must override attend")


def in_float32(
    attend: Callable[[Tensor, Tensor, Tensor, Blocks], Tensor],
    query: Tensor,
    key: Tensor,
    value: Tensor,
    blocks: Blocks,
) -> Tensor:
    """Checks the inputs, and attends in float32 or wider; returns their own dtype."""
    check_attention(query, key, value, blocks)
    dtype = torch.promote_types(torch.promote_types(query.dtype, key.dtype), value.dtype)
    wide = torch.promote_types(dtype, torch.float32)
    with torch.autocast(query.device.type, enabled=False):
        out = attend(query.to(wide), key.to(wide), value.to(wide), blocks)
    return out.to(dtype)


def check_width(
    name: str, x: Tensor, *, heads: int | None = None, channels: int | None = None
) -> None:
    """Refuses other heads or channels than those of the parameters, which would broadcast.

    Args:
        name: How an error names ``x``.
        x: ``(N, H, C)``.
        heads: Number of heads wanted; any if None.
        channels: Width of a head wanted; any if None.

    Raises:
        ValueError: If there are others.
    """
    if heads not in (None, x.shape[1]) or channels not in (None, x.shape[2]):
        wanted = f"(N, {heads or 'H'}, {channels or 'C'})"
        raise ValueError(f"{name} must be {wanted}, as the layer was made, got {tuple(x.shape)}")


def key_counts(blocks: Blocks, like: Tensor) -> Tensor:
    """The number of keys that each query has, ``(N, 1, 1)``, at least one."""
    counts = blocks.source_ptr.diff().clamp(min=1).to(like.dtype)
    return segment_expand(counts, blocks.target_ptr, blocks.num_targets)[:, None, None]


def feature_product(query: Tensor, key: Tensor, value: Tensor, blocks: Blocks) -> Tensor:
    r"""Values weighted by the products of features of queries and keys, by the keys first.

    .. math::
        \mathrm{out}_i = \varphi(q_i)^\top \textstyle\sum_j \varphi(k_j)\, v_j^\top

    Args:
        query: Features of queries, ``(N, H, R)``, float32 or wider.
        key: Features of keys, ``(M, H, R)``.
        value: ``(M, H, D)``.
        blocks: The sets.

    Returns:
        ``(N, H, D)``; zeros for a query of a set without keys.
    """
    sums = SetTiles(blocks.transposed()).outer_sums(key, value)  # (S, H, R, D)
    return SetTiles(blocks).products(query, sums)


def feature_mean(
    query: Tensor, key: Tensor, value: Tensor, blocks: Blocks
) -> tuple[Tensor, Tensor]:
    """A ``feature_product`` and, in the same pass, the sum of its weights, ``(N, H, 1)``."""
    found = feature_product(query, key, F.pad(value, (0, 1), value=1.0), blocks)
    return found[..., :-1], found[..., -1:]


def elu_features(x: Tensor) -> Tensor:
    """ELU plus one: above zero, and linear from zero on."""
    return F.elu(x) + 1


class LinearAttention(LinearSetAttention):
    r"""Attention by a feature map that is above zero.

    .. math::
        \mathrm{out}_i = \frac{\varphi(q_i)^\top \sum_j \varphi(k_j) v_j^\top}
        {\varepsilon + \varphi(q_i)^\top \sum_j \varphi(k_j)}, \qquad
        \varphi(x) = \operatorname{elu}(x) + 1

    Args:
        epsilon: Added to the sum of weights.

    Shapes: see ``LinearSetAttention``.

    Source: Katharopoulos et al., "Transformers are RNNs: Fast Autoregressive Transformers with
        Linear Attention", ICML 2020, without a mask.
    """

    def __init__(self, epsilon: float = 1e-6) -> None:
        super().__init__()
        self.epsilon = epsilon

    def attend(self, query: Tensor, key: Tensor, value: Tensor, blocks: Blocks) -> Tensor:
        total, weight = feature_mean(elu_features(query), elu_features(key), value, blocks)
        return total / (weight + self.epsilon)

    def extra_repr(self) -> str:
        return f"epsilon={self.epsilon}"


class MagnitudeAwareLinearAttention(LinearSetAttention):
    r"""Linear attention whose weights grow sharper with the norm of the query, as softmax's do.

    .. math::
        \alpha_{ij} = \beta_i\, \varphi(q_i)^\top \varphi(k_j) - \gamma_i, \qquad
        \beta_i = 1 + \frac{1}{d_i}, \quad \gamma_i = \frac{d_i}{n}, \quad
        d_i = \varphi(q_i)^\top \textstyle\sum_j \varphi(k_j)

    with φ as in ``LinearAttention``, and ``n`` keys. Weights sum to one, and some are negative.

    Args:
        epsilon: Added to what is divided by.

    Shapes: see ``LinearSetAttention``.

    Source: "Rectifying Magnitude Neglect in Linear Attention" (MALA), 2025.
    """

    def __init__(self, epsilon: float = 1e-6) -> None:
        super().__init__()
        self.epsilon = epsilon

    def attend(self, query: Tensor, key: Tensor, value: Tensor, blocks: Blocks) -> Tensor:
        mean = segment_reduce(value, blocks.source_ptr, "mean")  # (S, H, D)
        # The weights sum to one, and the share of the mean in the large sums need not cancel.
        apart = value - segment_expand(mean, blocks.source_ptr, blocks.num_sources)
        total, weight = feature_mean(elu_features(query), elu_features(key), apart, blocks)
        of_query = segment_expand(mean, blocks.target_ptr, blocks.num_targets)
        return of_query + total * (1 + 1 / (weight + self.epsilon))

    def extra_repr(self) -> str:
        return f"epsilon={self.epsilon}"


class EfficientAttention(LinearSetAttention):
    r"""Two softmaxes: of every query over its channels, of every channel over the keys of a set.

    .. math::
        \mathrm{out}_i = \operatorname{softmax}_c(q_i)^\top \textstyle\sum_j
        \operatorname{softmax}_j(k_j)\, v_j^\top

    Each channel is a topic that collects values from all keys and is read by the queries. Latte's
    latent attention without a mask is the same formula.

    Shapes: see ``LinearSetAttention``.

    Source: Shen et al., "Efficient Attention: Attention with Linear Complexities", WACV 2021. Its
        maps before and after, and its residual, are the caller's.
    """

    def attend(self, query: Tensor, key: Tensor, value: Tensor, blocks: Blocks) -> Tensor:
        topics = segment_softmax(key, blocks.source_ptr)
        return feature_product(query.softmax(dim=-1), topics, value, blocks)
