"""Attention by random features, whose products are on average the weights of softmax."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from graphattn.blocks import Blocks
from graphattn.kernels.segment_reduce.op import segment_expand, segment_reduce
from graphattn.nn.linear.linear_attention import LinearSetAttention, check_width, feature_mean


def orthogonal_gaussian(num_rows: int, channels: int) -> Tensor:
    """Rows of a normal distribution, orthogonal to one another in runs of ``channels``.

    Args:
        num_rows: Number of rows, ``R``.
        channels: Their width, ``C``.

    Returns:
        ``(R, C)``: directions that are evenly spread, norms as those of independent normal rows.
    """
    count = -(-num_rows // channels)
    q, r = torch.linalg.qr(torch.randn(count, channels, channels))
    # Without this, the signs of Q are such that all first columns lie in one half of space.
    q = q * r.diagonal(dim1=-2, dim2=-1).sign().unsqueeze(-2)
    directions = q.mT.flatten(0, 1)[:num_rows]
    return directions * torch.randn(num_rows, channels).norm(dim=1, keepdim=True)


class RandomProjection(LinearSetAttention):
    """Attention by random features, which are drawn anew from time to time in training.

    Args:
        redraw_interval: After how many calls in training directions are drawn anew; never if None.

    Attributes:
        projection: The directions; saved with the parameters.

    Raises:
        ValueError: If ``redraw_interval`` is not positive.
    """

    projection: Tensor

    def __init__(self, redraw_interval: int | None = None) -> None:
        super().__init__()
        if redraw_interval is not None and redraw_interval < 1:
            raise ValueError(f"redraw_interval must be positive, got {redraw_interval}")
        self.redraw_interval, self.calls = redraw_interval, 0

    def draw(self) -> Tensor:
        """Directions of the shape of ``projection``."""
        raise NotImplementedError(f"{type(self).__name__} must override draw")

    def redraw(self) -> None:
        """Draws other directions."""
        # A tensor of its own: graphs of earlier calls still need the old one.
        self.projection = self.draw().to(self.projection)

    def forward(self, query: Tensor, key: Tensor, value: Tensor, blocks: Blocks) -> Tensor:
        """Attends; see ``LinearSetAttention``."""
        if self.training and self.redraw_interval is not None:
            self.calls += 1
            if self.calls % self.redraw_interval == 0:
                self.redraw()
        return super().forward(query, key, value, blocks)

    def extra_repr(self) -> str:
        shape = ", ".join(str(size) for size in self.projection.shape)
        return f"projection=({shape}), redraw_interval={self.redraw_interval}"


class PerformerAttention(RandomProjection):
    r"""Attention by positive features, whose products are on average those of softmax (FAVOR+).

    .. math::
        \mathrm{out}_i = \frac{\varphi(q_i)^\top \sum_j \varphi(k_j) v_j^\top}
        {\varphi(q_i)^\top \sum_j \varphi(k_j)}, \qquad
        \varphi_r(x) = \exp\bigl(\omega_r^\top \hat x - \lVert \hat x \rVert^2 / 2\bigr)
        + \varepsilon, \quad \hat x = x / C^{1/4}

    with random directions ω, orthogonal to one another. Logits are shifted by the largest of each
    query, and by that of all keys of a set. Derivatives take these for constants, as
    performer-pytorch does: without ε they cancel, and with it derivatives differ by about as much
    from those of the result.

    Args:
        channels: Width of a head's queries and keys, ``C``.
        num_features: Number of directions; about :math:`C \log C` if None.
        redraw_interval: After how many calls in training directions are drawn anew; never if None.
        epsilon: Keeps features above zero.

    Shapes: see ``LinearSetAttention``.

    Raises:
        ValueError: If ``num_features`` or ``redraw_interval`` is not positive.

    Source: Choromanski et al., "Rethinking Attention with Performers", ICLR 2021. All heads share
        their directions, and ε is added, as in the widely used performer-pytorch.
    """

    def __init__(
        self,
        channels: int,
        num_features: int | None = None,
        redraw_interval: int | None = None,
        epsilon: float = 1e-4,
    ) -> None:
        super().__init__(redraw_interval)
        if num_features is None:
            num_features = max(1, round(channels * math.log(channels)))
        if num_features < 1:
            raise ValueError(f"num_features must be positive, got {num_features}")
        self.epsilon = epsilon
        self.register_buffer("projection", orthogonal_gaussian(num_features, channels))

    def draw(self) -> Tensor:
        return orthogonal_gaussian(*self.projection.shape)

    def attend(self, query: Tensor, key: Tensor, value: Tensor, blocks: Blocks) -> Tensor:
        check_width("query", query, channels=self.projection.shape[1])
        of_query, of_key = self._logits(query), self._logits(key)  # (N, H, R), (M, H, R)
        ptr = blocks.source_ptr
        largest = segment_reduce(of_key[0].detach().amax(-1, keepdim=True), ptr, "max")
        shift = segment_expand(largest, ptr, blocks.num_sources)
        total, weight = feature_mean(
            self._features(*of_query, of_query[0].detach().amax(-1, keepdim=True)),
            self._features(*of_key, shift),
            value,
            blocks,
        )
        return total / weight.masked_fill(weight == 0, 1)  # zero without keys alone

    def _logits(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = x / x.shape[-1] ** 0.25
        return x @ self.projection.to(x.dtype).T, x.square().sum(-1, keepdim=True) / 2

    def _features(self, logits: Tensor, half_square: Tensor, shift: Tensor) -> Tensor:
        return (logits - half_square - shift).exp() + self.epsilon


class RandomFeatureAttention(RandomProjection):
    r"""Attention by sines and cosines along random directions, of queries and keys of norm one.

    .. math::
        \mathrm{out}_i = \frac{\varphi(q_i)^\top \sum_j \varphi(k_j) v_j^\top}
        {\max(\varepsilon, \varphi(q_i)^\top \sum_j \varphi(k_j))}, \qquad
        \varphi(x) = \sqrt{\tfrac 1 R} \bigl[\sin(\omega_r^\top \hat x), \cos(\omega_r^\top \hat x)
        \bigr]_{r \le R}, \quad \hat x = x / \lVert x \rVert

    with :math:`\omega_r = \sigma \odot \tilde\omega_r`, the second factor normal. The products are
    on average :math:`\exp(-\lVert \sigma \odot (\hat q - \hat k) \rVert^2 / 2)`, which is softmax
    attention of vectors of norm one. σ is learned for each head and channel, one to begin with.

    Args:
        channels: Width of a head's queries and keys, ``C``.
        heads: Number of heads.
        num_features: Number of directions, ``R``; ``channels`` if None.
        redraw_interval: After how many calls in training directions are drawn anew; never if None.
        epsilon: The least sum of weights, which random features may bring below zero.

    Shapes: see ``LinearSetAttention``.

    Raises:
        ValueError: If ``num_features`` or ``redraw_interval`` is not positive.

    Source: Peng et al., "Random Feature Attention", ICLR 2021, without gates and mask. There the
        directions of each call are one of 200 draws that are kept.
    """

    def __init__(
        self,
        channels: int,
        heads: int = 1,
        num_features: int | None = None,
        redraw_interval: int | None = None,
        epsilon: float = 1e-2,
    ) -> None:
        super().__init__(redraw_interval)
        num_features = channels if num_features is None else num_features
        if num_features < 1:
            raise ValueError(f"num_features must be positive, got {num_features}")
        self.epsilon = epsilon
        self.scale = nn.Parameter(torch.ones(heads, channels))
        self.register_buffer("projection", torch.randn(heads, num_features, channels))

    def draw(self) -> Tensor:
        return torch.randn(self.projection.shape)

    def attend(self, query: Tensor, key: Tensor, value: Tensor, blocks: Blocks) -> Tensor:
        heads, channels = self.scale.shape
        check_width("query", query, heads=heads, channels=channels)
        total, weight = feature_mean(self._features(query), self._features(key), value, blocks)
        return total / weight.clamp(min=self.epsilon)

    def _features(self, x: Tensor) -> Tensor:
        x = F.normalize(x, dim=-1) * self.scale
        angle = torch.einsum("nhc,hrc->nhr", x, self.projection.to(x.dtype))
        return torch.cat([angle.sin(), angle.cos()], dim=-1) / angle.shape[-1] ** 0.5
