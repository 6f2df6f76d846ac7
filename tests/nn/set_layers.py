"""Every layer and network on sets of unequal size, made small and called in one way."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from graphattn import Blocks
from graphattn.models import (
    DeepSets,
    GraphReadout,
    Perceiver,
    PerceiverEncoder,
    PerceiverIO,
    SetTransformer,
)
from graphattn.nn import (
    ACMIL,
    ISAB,
    PMA,
    SAB,
    AgentAttention,
    AGILE3DBlock,
    BlockForm,
    CrossAttention,
    CrossAttentionBlock,
    DistanceAttention,
    DualAttention,
    EdgeSetAttention,
    EfficientAttention,
    FlowAttention,
    FourierAttention,
    GalerkinAttention,
    GatedAttentionPooling,
    GPSConv,
    InducedSetAttentionBlock,
    LatentLayer,
    LearnedSeeds,
    LinearAttention,
    LUNABlock,
    MagnitudeAwareLinearAttention,
    MultiheadACMIL,
    NeuralAttention,
    PerceiverLayer,
    PerformerAttention,
    PNAAttention,
    PointerAttention,
    PooledSeeds,
    PoolingByMultiheadAttention,
    PositionalAttention,
    PositionalTransformerLayer,
    RandomFeatureAttention,
    RelationalAttention,
    Relations,
    RINBlock,
    SetAttentionBlock,
    SetTransformerAggregation,
    VirtualNode,
)

C = 8  # width of the elements; widths inside are those of other tests, which saves kernels
FORM = BlockForm(heads=2)


@dataclass(frozen=True)
class SetLayer:
    """How a layer is made, and called with elements ``(N, C)`` and sets of them.

    Attributes:
        make: Makes the layer.
        call: Of layer, elements and sets: one row for each element, or one for each set.
        is_of_elements: Whether the rows are those of elements.
    """

    make: Callable[[], nn.Module]
    call: Callable[[Any, Tensor, Blocks], Tensor]
    is_of_elements: bool = True


def encoder() -> PerceiverEncoder:
    layer = PerceiverLayer(C, C, depth=1, heads=2, cross_heads=2)
    return PerceiverEncoder(LearnedSeeds(2, C), [layer])


def latent_layer() -> LatentLayer:
    read, write = (CrossAttentionBlock.prenorm(CrossAttention(C, 2), C) for _ in range(2))
    return LatentLayer(PooledSeeds(2, C, C), [read], write=[write])


def latents(count: int, blocks: Blocks) -> Tensor:
    """The same for every set, for layers without seeds."""
    return torch.linspace(-1, 1, count * C).view(count, C).repeat(blocks.num_sets, 1)


def with_clusters(layer: AgentAttention, x: Tensor, blocks: Blocks) -> Tensor:
    """Two agents a set, one for the elements of either sign of their first number."""
    agents = blocks.seeds(2)
    number = torch.arange(blocks.num_sets).repeat_interleave(blocks.target_ptr.diff())
    return layer(x, agents, 2 * number + (x[:, 0] > 0))


def plain(layer: nn.Module, x: Tensor, blocks: Blocks) -> Tensor:
    return layer(x, blocks)


def by_name(layer: nn.Module, x: Tensor, blocks: Blocks) -> Tensor:
    return layer(x, blocks=blocks)


def as_heads(layer: nn.Module, x: Tensor, blocks: Blocks) -> Tensor:
    """Of queries, keys and values in two heads."""
    own = x.unflatten(1, (2, -1))
    return layer(own, own, own, blocks).flatten(1)


SET_LAYERS = {
    "SAB": SetLayer(lambda: SAB(C, C, FORM), by_name),
    "ISAB": SetLayer(lambda: ISAB(C, C, 3, FORM), by_name),
    "PMA": SetLayer(lambda: PMA(C, 2, FORM), by_name, is_of_elements=False),
    "SetAttentionBlock": SetLayer(lambda: SetAttentionBlock(C, 2), by_name),
    "InducedSetAttentionBlock": SetLayer(lambda: InducedSetAttentionBlock(C, 3, 2), by_name),
    "PoolingByMultiheadAttention": SetLayer(
        lambda: PoolingByMultiheadAttention(C, 2, 2), by_name, is_of_elements=False
    ),
    "SetTransformerAggregation": SetLayer(
        lambda: SetTransformerAggregation(C, 2, heads=2),
        lambda layer, x, blocks: layer(x, ptr=blocks.target_ptr),
        is_of_elements=False,
    ),
    "SetTransformer": SetLayer(
        lambda: SetTransformer(C, 3, 2, C, 3, FORM), by_name, is_of_elements=False
    ),
    "GraphReadout": SetLayer(lambda: GraphReadout(C, 3), plain, is_of_elements=False),
    "DeepSets": SetLayer(lambda: DeepSets(C, 3, channels=C), by_name, is_of_elements=False),
    "CrossAttention": SetLayer(
        lambda: CrossAttention(C, 2), lambda layer, x, blocks: layer(x, x, x, blocks)
    ),
    "LatentLayer": SetLayer(latent_layer, lambda layer, x, blocks: layer(x, blocks)[1]),
    "Perceiver": SetLayer(lambda: Perceiver(encoder(), C, 3), plain, is_of_elements=False),
    "PerceiverIO": SetLayer(
        lambda: PerceiverIO(encoder(), CrossAttentionBlock.prenorm(CrossAttention(C, 2), C)),
        lambda layer, x, blocks: layer(x, x, blocks),
    ),
    "LUNABlock": SetLayer(
        lambda: LUNABlock(C, 2, heads=2, depth=1),
        lambda layer, x, blocks: layer(x, blocks)[0].unflatten(0, (-1, 2)),
        is_of_elements=False,
    ),
    "RINBlock": SetLayer(
        lambda: RINBlock(C, C, depth=1, heads=2, cross_heads=2),
        lambda layer, x, blocks: layer(x, blocks.seeds(2), latents(2, blocks))[1],
    ),
    "AGILE3DBlock": SetLayer(
        lambda: AGILE3DBlock(C, heads=2, hidden=6),
        lambda layer, x, blocks: layer(x, blocks.seeds(2), latents(2, blocks))[1],
    ),
    "VirtualNode": SetLayer(
        lambda: VirtualNode(C).eval(),
        lambda layer, x, blocks: layer(x, blocks.seeds(1), latents(1, blocks))[1],
    ),
    "AgentAttention": SetLayer(lambda: AgentAttention(C, 2), with_clusters),
    "GatedAttentionPooling": SetLayer(
        lambda: GatedAttentionPooling(3 * C, 8, branches=2),
        lambda layer, x, blocks: layer(x.repeat(1, 3), blocks),
        is_of_elements=False,
    ),
    "ACMIL": SetLayer(
        lambda: ACMIL(C, 24, 8, 2, branches=2).eval(),
        lambda layer, x, blocks: layer(x, blocks)[0],
        is_of_elements=False,
    ),
    "MultiheadACMIL": SetLayer(
        lambda: MultiheadACMIL(C, 16, 3, branches=4).eval(),
        lambda layer, x, blocks: layer(x, blocks)[0],
        is_of_elements=False,
    ),
    "PointerAttention": SetLayer(  # one query a set: a row for each pair is one for each element
        lambda: PointerAttention(3, 4, 6),
        lambda layer, x, blocks: layer(latents(1, blocks)[:, :3], x[:, :4], blocks.seeds(1)),
    ),
    "PositionalAttention": SetLayer(
        lambda: PositionalAttention(C, 3, 2),
        lambda layer, x, blocks: layer(x, x[:, :3], blocks),
    ),
    "PositionalTransformerLayer": SetLayer(
        lambda: PositionalTransformerLayer(C, 3, 2, 16),
        lambda layer, x, blocks: layer(x, x[:, :3], blocks),
    ),
    "RelationalAttention": SetLayer(
        lambda: RelationalAttention(2 * C, 4, Relations(2 * C, 4, 4)),
        lambda layer, x, blocks: layer(x.repeat(1, 2), x.repeat(1, 2).flip(1), blocks),
    ),
    "DualAttention": SetLayer(
        lambda: DualAttention(2 * C, 2, 2, 4, activation=nn.ReLU()),
        lambda layer, x, blocks: layer(x.repeat(1, 2), x.repeat(1, 2).flip(1), blocks),
    ),
    "EdgeSetAttention": SetLayer(
        lambda: EdgeSetAttention(C, C, C, 2), lambda layer, x, blocks: layer(x, x, blocks)
    ),
    "GPSConv": SetLayer(
        lambda: GPSConv(C, None, heads=2, norm=None),
        lambda layer, x, blocks: layer(x, torch.empty(2, 0, dtype=torch.int64), blocks),
    ),
    "PNAAttention": SetLayer(lambda: PNAAttention(C, 2), plain),
    "LinearAttention": SetLayer(LinearAttention, as_heads),
    "MagnitudeAwareLinearAttention": SetLayer(  # adds numbers as large as the set
        MagnitudeAwareLinearAttention,
        lambda layer, x, blocks: as_heads(layer, x.double(), blocks),
    ),
    "EfficientAttention": SetLayer(EfficientAttention, as_heads),
    "PerformerAttention": SetLayer(lambda: PerformerAttention(C // 2), as_heads),
    "RandomFeatureAttention": SetLayer(lambda: RandomFeatureAttention(C // 2, 2), as_heads),
    "FlowAttention": SetLayer(FlowAttention, as_heads),
    "GalerkinAttention": SetLayer(lambda: GalerkinAttention(C // 2, 2), as_heads),
    "FourierAttention": SetLayer(lambda: FourierAttention(C // 2, 2), as_heads),
    "NeuralAttention": SetLayer(lambda: NeuralAttention(C, 2), plain),
    "DistanceAttention": SetLayer(lambda: DistanceAttention(C, 2), plain),
}


def sets(sizes: list[int]) -> tuple[Tensor, Blocks]:
    """Elements ``(N, C)`` and their sets."""
    return torch.randn(sum(sizes), C), Blocks.from_ptr(torch.tensor([0, *sizes]).cumsum(0))
