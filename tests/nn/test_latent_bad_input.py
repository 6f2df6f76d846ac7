"""Bad input to the latent layer and those made of it is refused by the caller's own names."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from graphattn import Blocks
from graphattn.nn.latents.agile3d_block import AGILE3DBlock
from graphattn.nn.latents.fourier_features import octave_features
from graphattn.nn.latents.latent import LatentLayer
from graphattn.nn.latents.luna_block import LUNABlock
from graphattn.nn.latents.perceiver_layer import PerceiverLayer
from graphattn.nn.latents.residual_blocks import CrossAttentionBlock, SelfAttentionBlock
from graphattn.nn.latents.rin_block import RINBlock
from graphattn.nn.latents.seeds import CarriedSeeds, LearnedSeeds, PooledSeeds
from graphattn.nn.latents.virtual_node import VirtualNode
from graphattn.nn.sets.cross_attention import CrossAttention

C = 8
SIZES = [3, 0, 5, 1]
LATENTS = [2, 1, 0, 3]


def pooled() -> LatentLayer:
    write = CrossAttentionBlock.prenorm(CrossAttention(C, 2), C)
    return LatentLayer(PooledSeeds(2, C, C), write=[write])


LAYERS: dict[str, Callable[[], LatentLayer]] = {
    "Perceiver": lambda: PerceiverLayer(C, C, depth=1, heads=2, cross_heads=2),
    "RIN": lambda: RINBlock(C, C, depth=1, heads=2, cross_heads=2),
    "AGILE3D": lambda: AGILE3DBlock(C, heads=2, hidden=6),
    "virtual node": lambda: VirtualNode(C),
    "LUNA": lambda: LUNABlock(C, 2, heads=2, depth=1),
    "pooled seeds": pooled,
}
WITH_SEEDS = ("LUNA", "pooled seeds")


def ptr_of(sizes: list[int]) -> Tensor:
    return torch.tensor([0, *sizes]).cumsum(0)


def inputs(name: str) -> tuple[Tensor, Blocks, Any]:
    """Elements, structure, latents."""
    counts = [1] * len(SIZES) if name == "virtual node" else LATENTS
    latents = None if name in WITH_SEEDS else torch.randn(sum(counts), C)
    return torch.randn(sum(SIZES), C), Blocks.from_ptr(ptr_of(counts), ptr_of(SIZES)), latents


def test_bad_input_is_named() -> None:
    layer, (x, blocks, latents) = LAYERS["RIN"](), inputs("RIN")
    run: Any = layer
    with pytest.raises(TypeError, match=r"blocks must be a graphattn\.Blocks, got int"):
        run(x, 3, latents)
    with pytest.raises(ValueError, match="latents must be given to a layer without seeds"):
        run(x, blocks)
    with pytest.raises(ValueError, match=r"latents must be \(6, latent_channels\), one for each"):
        run(x, blocks, x)
    with pytest.raises(ValueError, match=r"x must be \(9, channels\), got \(8, 8\)"):
        run(x[1:], blocks, latents)
    with pytest.raises(ValueError, match=r"latents must be \(6, 8\), got \(6, 7\)"):
        run(x, blocks, torch.randn(6, 7))
    with pytest.raises(TypeError, match=r"pairs must be graphattn\.Edges, got Blocks"):
        run(x, blocks, latents, pairs=blocks)
    with pytest.raises(ValueError, match="pairs must run from 9 elements to 6 latents, got 6 and"):
        run(x, blocks, latents, pairs=blocks.transposed().edges())
    with pytest.raises(ValueError, match=r"a position must be \(9, 8\), got \(9, 1\)"):
        run(x, blocks, latents, position=x[:, :1])
    with pytest.raises(ValueError, match="latents must be None for a layer that starts from seeds"):
        LUNABlock(C, 2)(x, blocks, latents)
    with pytest.raises(ValueError, match=r"latents of the step before must be \(8, 8\), got"):
        CarriedSeeds(2, C)(x, blocks, latents)
    with pytest.raises(ValueError, match="must have blocks to read, compute or write, got none"):
        LatentLayer()
    with pytest.raises(ValueError, match="steps must be positive, got 0"):
        LatentLayer(read=layer.read, steps=0)
    with pytest.raises(ValueError, match="count must be positive, got 0"):
        LearnedSeeds(0, C)
    with pytest.raises(ValueError, match="heads must divide qk_channels, got 3 and 8"):
        CrossAttention(C, 3)
    with pytest.raises(ValueError, match=r"dropout must lie in \[0, 1\], got 2"):
        CrossAttention(C, 2, dropout=2)


@pytest.mark.parametrize("name", LAYERS)
def test_elements_and_latents_are_named_as_they_were_given(name: str) -> None:
    layer, (x, blocks, latents) = LAYERS[name](), inputs(name)
    run: Any = layer
    with pytest.raises(TypeError, match=r"x must be a floating-point tensor, got torch\.int64"):
        run(x.long(), blocks, latents)
    with pytest.raises(ValueError, match=r"x must be \(9, 8\), got \(9, 7\)"):
        run(x[:, 1:], blocks, latents)
    if latents is None:
        return
    with pytest.raises(TypeError, match=r"latents must be a floating-point tensor, got torch\.int"):
        run(x, blocks, latents.long())
    with pytest.raises(ValueError, match=r"latents must be \(\d, 8\), got \(\d, 7\)"):
        run(x, blocks, latents[:, 1:])


def test_bad_input_of_single_layers_is_named() -> None:
    x, blocks = torch.randn(4, C), Blocks.from_ptr(torch.tensor([0, 1, 4]))
    with pytest.raises(ValueError, match=r"x must be \(4, 3\), got \(4, 8\)"):
        PooledSeeds(2, C, 3)(x, blocks)
    with pytest.raises(TypeError, match=r"x must be a floating-point tensor, got torch\.int64"):
        PooledSeeds(2, C, C)(x.long(), blocks)
    with pytest.raises(ValueError, match=r"y must be \(4, 8\), got \(4, 7\)"):
        CrossAttentionBlock(CrossAttention(C, 2))(x, x[:, 1:], blocks)
    block: Any = SelfAttentionBlock.prenorm(CrossAttention(C, 2), C)
    with pytest.raises(TypeError, match="structure must be Blocks or Edges, got Tensor"):
        block(x, x)
    node = VirtualNode(C).eval()
    with pytest.raises(ValueError, match="one latent for each of 2 sets, got 4"):
        node(x, blocks, x)
    with pytest.raises(TypeError, match="a virtual node reads all of a graph, got Edges"):
        node(x, blocks.seeds(1), x[:2], pairs=blocks.seeds(1).edges())
    with pytest.raises(ValueError, match=r"must be as wide, got \(2, 8\) and \(4, 7\)"):
        VirtualNode.start(C)(x[:, 1:], blocks)
    with pytest.raises(TypeError, match=r"position must be a floating-point tensor, got torch\.in"):
        octave_features(x.long(), 6)
    with pytest.raises(ValueError, match="there must be axes and channels, got 8 and -1"):
        octave_features(x, -1)
