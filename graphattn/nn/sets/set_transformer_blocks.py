"""The blocks of the Set Transformer under the names of the paper, of any widths."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from graphattn.blocks import Blocks
from graphattn.nn.elements import check_dense_or_sets, check_heads
from graphattn.nn.sets.dense_attention import dense_attention
from graphattn.nn.sets.dot_product import attend, dot_product_attention


@dataclass(frozen=True)
class BlockForm:
    """How the blocks compute where the paper and the authors' code differ.

    The defaults, ``PAPER``, are the paper's formulas; ``OFFICIAL_CODE`` is what the authors ran.
    ``dataclasses.replace(OFFICIAL_CODE, heads=8)`` changes one thing.

    Attributes:
        heads: Number of heads; divides the width.
        layer_norm: Whether layers are normalized.
        full_width_scale: Whether logits are divided by the square root of the whole width, not by
            that of a head's.
        project_residual: Whether the projected query is added to what a head reads, and heads are
            mixed by the feed-forward layer alone. Otherwise the element itself is added to the
            output projection of the heads, so that it must have the width of the block.
        pooling_feedforward: Whether a feed-forward layer comes before the attention of ``PMA``.
    """

    heads: int = 4
    layer_norm: bool = True
    full_width_scale: bool = False
    project_residual: bool = False
    pooling_feedforward: bool = True


PAPER = BlockForm()
OFFICIAL_CODE = BlockForm(
    layer_norm=False, full_width_scale=True, project_residual=True, pooling_feedforward=False
)


class MAB(nn.Module):
    r"""Attention of one set over another, with residuals.

    .. math::
        \mathrm{MAB}(x, y) = \mathrm{LN}(h + \mathrm{ReLU}(W h)), \qquad
        h = \mathrm{LN}(x + \mathrm{Multihead}(x, y, y))

    and with ``form.project_residual``, :math:`h = \mathrm{LN}(W_q x + \Vert_h A^h W_v^h y)`.

    Args:
        query_channels: Width of the elements that attend.
        key_channels: Width of those attended to.
        channels: Width of the output, and of all heads together.
        form: Paper or official code.

    Shapes:
        - x: ``(B, N, query_channels)``, or with ``blocks`` ``(N, query_channels)``, set after set
        - y: ``(B, M, key_channels)``, or with ``blocks`` ``(M, key_channels)``
        - output: ``(B, N, channels)``, or ``(N, channels)``; where there is nothing to attend to,
          what the attention adds is its output bias, or nothing with ``form.project_residual``

    Raises:
        TypeError: If an input is no floating-point tensor.
        ValueError: If ``heads`` does not divide ``channels``, the residual does not fit, or a shape
            does not.

    Source: Lee et al., "Set Transformer", ICML 2019; with ``OFFICIAL_CODE``, the authors' code. The
        default is ``MultiheadAttentionBlock`` of equal widths, with one matrix each for queries,
        keys and values.
    """

    def __init__(
        self, query_channels: int, key_channels: int, channels: int, form: BlockForm = PAPER
    ) -> None:
        super().__init__()
        check_heads(channels, form.heads)
        if not form.project_residual and query_channels != channels:
            raise ValueError(
                "query_channels must be channels, to be added to the output, or project_residual"
                f" set, got {query_channels} and {channels}"
            )
        self.form = form
        self.query = nn.Linear(query_channels, channels)
        self.key = nn.Linear(key_channels, channels)
        self.value = nn.Linear(key_channels, channels)
        self.output = None if form.project_residual else nn.Linear(channels, channels)
        self.attended_norm = nn.LayerNorm(channels) if form.layer_norm else nn.Identity()
        self.feedforward = nn.Linear(channels, channels)
        self.output_norm = nn.LayerNorm(channels) if form.layer_norm else nn.Identity()

    def forward(self, x: Tensor, y: Tensor, *, blocks: Blocks | None = None) -> Tensor:
        """Attends; see the class for shapes."""
        query, key, value = self._projected(x, y, blocks)  # (..., N, H, C)
        scaled = self._scaled(query)
        if blocks is None:
            dense = [part.transpose(1, 2) for part in (scaled, key, value)]  # (B, H, N, C)
            heads = dense_attention(dense[0], dense[1], dense[2]).transpose(1, 2)
        else:
            heads = dot_product_attention(blocks, scaled, key, value)
        if self.output is None:
            h = (query + heads).flatten(-2)
        else:
            h = x + self.output(heads.flatten(-2))
        h = self.attended_norm(h)
        finished: Tensor = self.output_norm(h + self.feedforward(h).relu())
        return finished

    def attention_weights(self, x: Tensor, y: Tensor, *, blocks: Blocks | None = None) -> Tensor:
        """How much each element of ``x`` reads of each of its set's in ``y``.

        Args:
            x: As in ``forward``.
            y: As in ``forward``.
            blocks: As in ``forward``.

        Returns:
            ``(B, H, N, M)``, or with ``blocks`` one row for each pair of theirs, ``(P, H)``. They
            sum to one over ``M``.
        """
        query, key, value = self._projected(x, y, blocks)
        scaled = self._scaled(query)
        if blocks is None:
            logits = torch.einsum("bnhc,bmhc->bhnm", scaled, key) / key.shape[-1] ** 0.5
            return logits.softmax(-1)
        _, weights = attend(blocks, query=scaled, key=key, value=value, return_weights=True)
        found: Tensor = weights
        return found

    def _projected(
        self, x: Tensor, y: Tensor, blocks: Blocks | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        check_dense_or_sets("x", x, self.query.in_features, blocks)
        check_dense_or_sets("y", y, self.key.in_features, blocks, are_keys=True)
        if blocks is None and x.shape[0] != y.shape[0]:
            raise ValueError(
                f"x and y must be of as many sets, got {tuple(x.shape)} and {tuple(y.shape)}"
            )
        parts = (self.query(x), self.key(y), self.value(y))
        query, key, value = (part.unflatten(-1, (self.form.heads, -1)) for part in parts)
        return query, key, value

    def _scaled(self, query: Tensor) -> Tensor:
        """What is left to divide by after the square root of a head's width."""
        return query / self.form.heads**0.5 if self.form.full_width_scale else query


class SAB(nn.Module):
    r"""Attention of a set over itself.

    .. math::
        \mathrm{SAB}(x) = \mathrm{MAB}(x, x)

    Args:
        in_channels: Width of the elements.
        channels: Width of the output.
        form: Paper or official code.

    Shapes:
        - x: ``(B, N, in_channels)``, or ``(N, in_channels)`` with ``blocks``
        - output: ``(B, N, channels)``, or ``(N, channels)``

    Source: see ``MAB``.
    """

    def __init__(self, in_channels: int, channels: int, form: BlockForm = PAPER) -> None:
        super().__init__()
        self.mab = MAB(in_channels, in_channels, channels, form)

    def forward(self, x: Tensor, *, blocks: Blocks | None = None) -> Tensor:
        """Attends; see the class for shapes."""
        attended: Tensor = self.mab(x, x, blocks=blocks)
        return attended


class ISAB(nn.Module):
    r"""Attention of a set over itself by way of a few learned points, at a cost linear in the set.

    .. math::
        \mathrm{ISAB}(x) = \mathrm{MAB}(x, h), \qquad h = \mathrm{MAB}(I, x)

    Args:
        in_channels: Width of the elements.
        channels: Width of the output.
        num_induced_points: Number of learned points, the rows of ``I``.
        form: Paper or official code.

    Shapes:
        - x: ``(B, N, in_channels)``, or ``(N, in_channels)`` with ``blocks``
        - output: ``(B, N, channels)``, or ``(N, channels)``

    Raises:
        ValueError: If there is no induced point.

    Source: see ``MAB``.
    """

    def __init__(
        self, in_channels: int, channels: int, num_induced_points: int, form: BlockForm = PAPER
    ) -> None:
        super().__init__()
        self.points = _learned("num_induced_points", num_induced_points, channels)
        self.read = MAB(channels, in_channels, channels, form)
        self.write = MAB(in_channels, channels, channels, form)

    def forward(self, x: Tensor, *, blocks: Blocks | None = None) -> Tensor:
        """Attends; see the class for shapes."""
        points, reading = _for_each_set(self.points, x, self.read.key.in_features, blocks)
        h = self.read(points, x, blocks=reading)
        attended: Tensor = self.write(x, h, blocks=reading and reading.transposed())
        return attended

    def attention_weights(self, x: Tensor, *, blocks: Blocks | None = None) -> Tensor:
        """How much each learned point reads of each element.

        Args:
            x: As in ``forward``.
            blocks: As in ``forward``.

        Returns:
            ``(B, H, num_induced_points, N)``, or with ``blocks`` one row for each pair of
            ``blocks.seeds(num_induced_points)``, ``(P, H)``. They sum to one over the elements.
        """
        points, reading = _for_each_set(self.points, x, self.read.key.in_features, blocks)
        return self.read.attention_weights(points, x, blocks=reading)


class PMA(nn.Module):
    r"""Learned seeds that read a set.

    .. math::
        \mathrm{PMA}(x) = \mathrm{MAB}(S, \mathrm{ReLU}(W x))

    and without ``form.pooling_feedforward``, :math:`\mathrm{MAB}(S, x)`.

    Args:
        channels: Width of the elements and of the output.
        num_seeds: Number of seeds, the rows of ``S``.
        form: Paper or official code.

    Shapes:
        - x: ``(B, N, channels)``, or ``(N, channels)`` with ``blocks``
        - output: ``(B, num_seeds, channels)``, with ``blocks`` one for each set; an empty set gives
          what the seeds give without attention

    Raises:
        ValueError: If there is no seed.

    Source: see ``MAB``.
    """

    def __init__(self, channels: int, num_seeds: int, form: BlockForm = PAPER) -> None:
        super().__init__()
        self.seeds = _learned("num_seeds", num_seeds, channels)
        self.feedforward = nn.Linear(channels, channels) if form.pooling_feedforward else None
        self.mab = MAB(channels, channels, channels, form)

    def forward(self, x: Tensor, *, blocks: Blocks | None = None) -> Tensor:
        """Pools; see the class for shapes."""
        seeds, elements, reading = self._reading(x, blocks)
        pooled: Tensor = self.mab(seeds, elements, blocks=reading)
        return pooled if blocks is None else pooled.unflatten(0, (-1, self.seeds.shape[0]))

    def attention_weights(self, x: Tensor, *, blocks: Blocks | None = None) -> Tensor:
        """How much each seed reads of each element.

        Args:
            x: As in ``forward``.
            blocks: As in ``forward``.

        Returns:
            ``(B, H, num_seeds, N)``, or with ``blocks`` one row for each pair of
            ``blocks.seeds(num_seeds)``, ``(P, H)``. They sum to one over the elements.
        """
        seeds, elements, reading = self._reading(x, blocks)
        return self.mab.attention_weights(seeds, elements, blocks=reading)

    def _reading(self, x: Tensor, blocks: Blocks | None) -> tuple[Tensor, Tensor, Blocks | None]:
        seeds, reading = _for_each_set(self.seeds, x, self.seeds.shape[1], blocks)
        return seeds, x if self.feedforward is None else self.feedforward(x).relu(), reading


def _learned(name: str, count: int, channels: int) -> nn.Parameter:
    if count < 1:
        raise ValueError(f"{name} must be at least 1, got {count}")
    # Of one set, as the authors have it: with three dimensions the rule draws smaller numbers.
    return nn.Parameter(nn.init.xavier_uniform_(torch.empty(1, count, channels))[0])


def _for_each_set(
    points: Tensor, x: Tensor, channels: int, blocks: Blocks | None
) -> tuple[Tensor, Blocks | None]:
    """The learned points of every set, and the structure in which they are the queries."""
    check_dense_or_sets("x", x, channels, blocks)
    if blocks is None:
        return points.expand(x.shape[0], -1, -1), None
    return points.repeat(blocks.num_sets, 1), blocks.seeds(points.shape[0])
