"""AGILE3D's block: clicks read a scene, attend to one another, and the scene reads the clicks."""

from torch import nn

from graphattn.nn.latents.latent import LatentLayer
from graphattn.nn.latents.residual_blocks import CrossAttentionBlock, Residual, SelfAttentionBlock
from graphattn.nn.sets.cross_attention import CrossAttention


class AGILE3DBlock(LatentLayer):
    r"""Attention of clicks over a scene, among clicks, and of the scene over clicks; post-norm.

    .. math::
        q \leftarrow \mathrm{LN}\bigl(q + \mathrm{MHA}(q + p_q,\, x + p_x,\, x)\bigr), \qquad
        q \leftarrow \mathrm{LN}\bigl(q + \mathrm{MHA}(q + p_q,\, q + p_q,\, q)\bigr)

        q \leftarrow \mathrm{LN}\bigl(q + W_2\, \mathrm{ReLU}(W_1 q)\bigr), \qquad
        x \leftarrow \mathrm{LN}\bigl(x + \mathrm{MHA}(x + p_x,\, q + p_q,\, q)\bigr)

    Clicks are the latents, as many for each scene as there are; points are the elements. A mask of
    the step before is ``pairs``: the points that each click may read.

    Args:
        channels: Width of clicks and points.
        heads: Number of heads.
        hidden: Width inside the perceptron.

    Shapes: see ``LatentLayer``, without seeds; ``position`` is that of the points, and
        ``latent_position`` that of the clicks.

    Raises:
        ValueError: If ``heads`` does not divide ``channels``, or a shape does not fit.

    Source: Yue et al., "AGILE3D: Attention Guided Interactive Multi-object 3D Segmentation",
        ICLR 2024. A click that may read nothing gets the output bias; the official code gives NaN
        there, or lifts the mask before.
    """

    def __init__(self, channels: int, heads: int = 8, hidden: int = 1024) -> None:
        perceptron = nn.Sequential(
            nn.Linear(channels, hidden), nn.ReLU(), nn.Linear(hidden, channels)
        )
        after = nn.Sequential(nn.LayerNorm(channels), Residual(perceptron), nn.LayerNorm(channels))
        super().__init__(
            read=[_cross(channels, heads)],
            compute=[SelfAttentionBlock(CrossAttention(channels, heads), after)],
            write=[_cross(channels, heads)],
        )


def _cross(channels: int, heads: int) -> CrossAttentionBlock:
    return CrossAttentionBlock(CrossAttention(channels, heads), nn.LayerNorm(channels))
