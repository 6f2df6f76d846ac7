"""Attention with the norms, residuals and perceptrons around it, each of them a part."""

from typing import Self

from torch import Tensor, nn

from graphattn.blocks import Blocks
from graphattn.edges import Edges
from graphattn.nn.sets.cross_attention import CrossAttention


class Residual(nn.Module):
    """A module whose input is added to its output."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        """Of any shape that the inner module keeps."""
        out: Tensor = x + self.inner(x)
        return out


def prenorm_perceptron(
    channels: int, hidden: int, activation: nn.Module | None = None, eps: float = 1e-5
) -> Residual:
    r"""The perceptron of a pre-norm transformer, :math:`x + W_2\, \sigma(W_1 \mathrm{LN}(x))`.

    Args:
        channels: Width of input and output.
        hidden: Width between the two maps.
        activation: GELU, the exact one, if None.
        eps: Of the layer norm.
    """
    return Residual(
        nn.Sequential(
            nn.LayerNorm(channels, eps=eps),
            nn.Linear(channels, hidden),
            nn.GELU() if activation is None else activation,
            nn.Linear(hidden, channels),
        )
    )


class CrossAttentionBlock(nn.Module):
    r"""Attention of one set over another, between norms and a residual.

    .. math::
        x' = \mathrm{after}\bigl([x +]\; \mathrm{attention}(
        \mathrm{LN}_q(x) + p_x,\; \mathrm{LN}_k(y) + p_y,\; \mathrm{LN}_v(y))\bigr)

    Pre-norm transformers norm ``x`` and ``y``, and a perceptron comes after; post-norm ones norm
    neither, and a ``LayerNorm`` comes after. ``prenorm`` builds the former.

    Args:
        attention: The attention itself.
        after: What follows the residual; nothing if None.
        query_norm: Of ``x``; none if None.
        key_norm: Of ``y``, for keys; none if None.
        value_norm: Of ``y``, for values; what the keys have if None.
        residual: Whether ``x``, as it came, is added to what is attended.

    Shapes:
        - x: ``(N, channels)``, the targets of ``structure``
        - y: ``(M, source_channels)``, its sources
        - x_position, y_position: what is added to queries and to keys, and not to values; as ``x``
          and ``y``
        - output: ``(N, channels)``

    Raises:
        TypeError: If an input is no floating-point tensor, or ``structure`` no structure.
        ValueError: If a shape does not fit.
    """

    def __init__(
        self,
        attention: CrossAttention,
        after: nn.Module | None = None,
        query_norm: nn.Module | None = None,
        key_norm: nn.Module | None = None,
        value_norm: nn.Module | None = None,
        residual: bool = True,
    ) -> None:
        super().__init__()
        self.attention, self.residual = attention, residual
        self.after = nn.Identity() if after is None else after
        self.query_norm = nn.Identity() if query_norm is None else query_norm
        self.key_norm = nn.Identity() if key_norm is None else key_norm
        self.value_norm = value_norm

    @classmethod
    def prenorm(
        cls, attention: CrossAttention, hidden: int, *, residual: bool = True, eps: float = 1e-5
    ) -> Self:
        """With layer norms of queries and keys, and a perceptron after.

        Args:
            attention: The attention itself.
            hidden: Width inside the perceptron.
            residual: Whether ``x`` is added to what is attended.
            eps: Of the layer norms.
        """
        channels = attention.lin_query.in_features
        return cls(
            attention,
            after=prenorm_perceptron(channels, hidden, eps=eps),
            query_norm=nn.LayerNorm(channels, eps=eps),
            key_norm=nn.LayerNorm(attention.lin_key.in_features, eps=eps),
            residual=residual,
        )

    def forward(
        self,
        x: Tensor,
        y: Tensor,
        structure: Blocks | Edges,
        x_position: Tensor | None = None,
        y_position: Tensor | None = None,
    ) -> Tensor:
        """Attends; see the class for shapes."""
        query, key, value = self._normed(x, y, structure, x_position, y_position)
        attended = self.attention(query, key, value, structure)
        out: Tensor = self.after(x + attended if self.residual else attended)
        return out

    def attention_weights(
        self,
        x: Tensor,
        y: Tensor,
        structure: Blocks | Edges,
        x_position: Tensor | None = None,
        y_position: Tensor | None = None,
    ) -> Tensor:
        """How much each element of ``x`` reads of those in ``y`` that it may read.

        Args:
            x: As in ``forward``.
            y: As in ``forward``.
            structure: As in ``forward``.
            x_position: As in ``forward``.
            y_position: As in ``forward``.

        Returns:
            One row for each pair of ``structure``, ``(P, heads)``, before dropout.
        """
        query, key, value = self._normed(x, y, structure, x_position, y_position)
        weights: Tensor = self.attention(query, key, value, structure, return_weights=True)[1]
        return weights

    def _normed(
        self,
        x: Tensor,
        y: Tensor,
        structure: Blocks | Edges,
        x_position: Tensor | None,
        y_position: Tensor | None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values, with what is added to them."""
        self.attention.check(x, y, structure, names=("x", "y"))
        query, key = self.query_norm(x), self.key_norm(y)
        value = key if self.value_norm is None else self.value_norm(y)
        return _placed(query, x_position), _placed(key, y_position), value


class SelfAttentionBlock(nn.Module):
    r"""Attention of a set over itself, between a norm and a residual.

    .. math::
        x' = \mathrm{after}\bigl(x + \mathrm{attention}(\mathrm{LN}(x) + p,\; \mathrm{LN}(x) + p,\;
        \mathrm{LN}(x))\bigr)

    Args:
        attention: The attention itself.
        after: What follows the residual; nothing if None.
        norm: Of ``x``; none if None.

    Shapes:
        - x: ``(N, channels)``
        - position: what is added to queries and keys, and not to values, ``(N, channels)``
        - output: ``(N, channels)``

    Raises:
        TypeError: If an input is no floating-point tensor, or ``structure`` no structure.
        ValueError: If a shape does not fit.
    """

    def __init__(
        self,
        attention: CrossAttention,
        after: nn.Module | None = None,
        norm: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.attention = attention
        self.after = nn.Identity() if after is None else after
        self.norm = nn.Identity() if norm is None else norm

    @classmethod
    def prenorm(cls, attention: CrossAttention, hidden: int, *, eps: float = 1e-5) -> Self:
        """With a layer norm before, and a perceptron after.

        Args:
            attention: The attention itself.
            hidden: Width inside the perceptron.
            eps: Of the layer norms.
        """
        channels = attention.lin_query.in_features
        after = prenorm_perceptron(channels, hidden, eps=eps)
        return cls(attention, after, nn.LayerNorm(channels, eps=eps))

    def forward(
        self, x: Tensor, structure: Blocks | Edges, position: Tensor | None = None
    ) -> Tensor:
        """Attends; see the class for shapes."""
        self.attention.check(x, x, structure, names=("x", "x"))
        value = self.norm(x)
        placed = _placed(value, position)
        out: Tensor = self.after(x + self.attention(placed, placed, value, structure))
        return out


def _placed(x: Tensor, position: Tensor | None) -> Tensor:
    if position is None:
        return x
    if position.shape != x.shape:
        raise ValueError(f"a position must be {tuple(x.shape)}, got {tuple(position.shape)}")
    return x + position
