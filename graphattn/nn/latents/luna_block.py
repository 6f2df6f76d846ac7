"""LUNA's way from a set of channels, such as electrodes, to a fixed number of latents."""

from torch import nn

from graphattn.nn.latents.latent import LatentLayer
from graphattn.nn.latents.residual_blocks import CrossAttentionBlock, Residual, SelfAttentionBlock
from graphattn.nn.latents.seeds import LearnedSeeds
from graphattn.nn.sets.cross_attention import CrossAttention


class LUNABlock(LatentLayer):
    r"""Learned queries that read a set of channels, whatever their number and order.

    .. math::
        z = \mathrm{MHA}(\mathrm{LN}(s), \mathrm{LN}_k(x), \mathrm{LN}_v(x)), \qquad
        z \leftarrow z + W_2\, \mathrm{LN}(\mathrm{GELU}(W_1 z)),

    then ``depth`` pre-norm blocks of self-attention. The queries are not added to what they read.

    Args:
        channels: Width of elements and latents.
        count: Number of learned queries.
        heads: Number of heads.
        hidden: Width inside the perceptrons; four times ``channels`` if None.
        depth: Number of blocks of self-attention.

    Shapes: see ``LatentLayer``, with learned seeds; the elements are returned as they came.

    Raises:
        ValueError: If ``heads`` does not divide ``channels``, or a shape does not fit.

    Source: "LUNA: Efficient and Topology-Agnostic Foundation Model for EEG Signal Analysis",
        NeurIPS 2025. The official code's ``temparature`` is never used there, and not here.
    """

    def __init__(
        self,
        channels: int,
        count: int,
        heads: int = 1,
        hidden: int | None = None,
        depth: int = 3,
    ) -> None:
        hidden = 4 * channels if hidden is None else hidden
        perceptron = nn.Sequential(
            nn.Linear(channels, hidden),
            nn.GELU(),
            nn.LayerNorm(hidden),
            nn.Linear(hidden, channels),
        )
        read = CrossAttentionBlock(
            CrossAttention(channels, heads),
            after=Residual(perceptron),
            query_norm=nn.LayerNorm(channels),
            key_norm=nn.LayerNorm(channels),
            value_norm=nn.LayerNorm(channels),
            residual=False,
        )
        compute = [
            SelfAttentionBlock.prenorm(CrossAttention(channels, heads), hidden)
            for _ in range(depth)
        ]
        super().__init__(LearnedSeeds(count, channels), [read], compute)
