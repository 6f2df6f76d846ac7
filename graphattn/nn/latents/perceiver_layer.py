"""One round of Perceiver: latents read the elements, then attend to one another."""

from graphattn.nn.latents.latent import LatentLayer
from graphattn.nn.latents.residual_blocks import CrossAttentionBlock, SelfAttentionBlock
from graphattn.nn.sets.cross_attention import CrossAttention


class PerceiverLayer(LatentLayer):
    r"""One cross-attention of given latents over the elements, and a stack of self-attention.

    .. math::
        z \leftarrow z + \mathrm{MHA}(\mathrm{LN}(z), \mathrm{LN}(x)),\quad
        z \leftarrow z + \mathrm{MLP}(\mathrm{LN}(z)), \qquad
        \mathrm{depth} \times \bigl(z \leftarrow z + \mathrm{MHA}(\mathrm{LN}(z)),\quad
        z \leftarrow z + \mathrm{MLP}(\mathrm{LN}(z))\bigr)

    Args:
        channels: Width of the elements.
        latent_channels: Width of the latents.
        depth: Number of blocks of self-attention.
        heads: Number of their heads.
        cross_heads: Number of heads of the cross-attention.
        qk_channels: Width of queries, keys and values of the cross-attention; ``channels`` if None.

    Shapes: see ``LatentLayer``, without seeds; the elements are returned as they came.

    Raises:
        ValueError: If heads do not divide widths, or a shape does not fit.

    Source: Jaegle et al., "Perceiver: General Perception with Iterative Attention", ICML 2021. The
        official code has GELU in its tanh form, here it is exact.
    """

    def __init__(
        self,
        channels: int,
        latent_channels: int,
        depth: int = 6,
        heads: int = 8,
        cross_heads: int = 1,
        qk_channels: int | None = None,
    ) -> None:
        width = channels if qk_channels is None else qk_channels
        read = CrossAttention(latent_channels, cross_heads, channels, width)
        super().__init__(
            read=[CrossAttentionBlock.prenorm(read, latent_channels)],
            compute=[
                SelfAttentionBlock.prenorm(CrossAttention(latent_channels, heads), latent_channels)
                for _ in range(depth)
            ],
        )
