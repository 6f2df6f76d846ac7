"""The block of recurrent interface networks: read, compute, write."""

from torch import nn

from graphattn.nn.latents.latent import LatentLayer
from graphattn.nn.latents.residual_blocks import (
    CrossAttentionBlock,
    SelfAttentionBlock,
    prenorm_perceptron,
)
from graphattn.nn.sets.cross_attention import CrossAttention

EPS = 1e-6  # of layer norms, as in the official code


class RINBlock(LatentLayer):
    r"""Latents read the interface, compute, and write to it.

    .. math::
        z \leftarrow z + \mathrm{MHA}(\mathrm{LN}(z), x), \qquad
        \mathrm{depth} \times \bigl(z \leftarrow z + \mathrm{MHA}(\mathrm{LN}(z))\bigr), \qquad
        x \leftarrow x + \mathrm{MHA}(\mathrm{LN}(x), z),

    each of them followed by a perceptron, :math:`+\,\mathrm{MLP}(\mathrm{LN}(\cdot))`. Keys and
    values are not normed. A network starts from ``CarriedSeeds``, which see the latents of the step
    before (latent self-conditioning), and hands latents and interface from block to block::

        blocks, seeds = Blocks.from_ptr(ptr), CarriedSeeds(128, 512)
        latents = seeds(x, blocks, previous)
        for layer in layers:
            latents, x = layer(x, blocks.seeds(128), latents)

    Args:
        channels: Width of the elements, which are the interface.
        latent_channels: Width of the latents.
        depth: Number of blocks of self-attention among latents.
        heads: Number of their heads.
        cross_heads: Number of heads to read and to write; the width of queries, keys and values
            there is the lesser of ``channels`` and ``latent_channels``.
        widening: Width inside the perceptrons over that outside, to read, compute and write.

    Shapes: see ``LatentLayer``, without seeds.

    Raises:
        ValueError: If heads do not divide widths, or a shape does not fit.

    Source: Jabri, Fleet and Chen, "Scalable Adaptive Computation for Iterative Generation",
        ICML 2023.
    """

    def __init__(
        self,
        channels: int,
        latent_channels: int,
        depth: int = 4,
        heads: int = 8,
        cross_heads: int = 8,
        widening: tuple[float, float, float] = (4, 4, 4),
    ) -> None:
        width = min(channels, latent_channels)
        of_read, of_compute, of_write = widening
        super().__init__(
            read=[_cross(latent_channels, channels, cross_heads, width, of_read)],
            compute=[
                SelfAttentionBlock.prenorm(
                    CrossAttention(latent_channels, heads),
                    int(of_compute * latent_channels),
                    eps=EPS,
                )
                for _ in range(depth)
            ],
            write=[_cross(channels, latent_channels, cross_heads, width, of_write)],
        )


def _cross(
    channels: int, source_channels: int, heads: int, qk_channels: int, widening: float
) -> CrossAttentionBlock:
    return CrossAttentionBlock(
        CrossAttention(channels, heads, source_channels, qk_channels),
        after=prenorm_perceptron(channels, int(widening * channels), eps=EPS),
        query_norm=nn.LayerNorm(channels, eps=EPS),
    )
