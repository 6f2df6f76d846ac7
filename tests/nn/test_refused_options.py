"""Options that no layer can keep are refused when it is made, not at its first call."""

import math
from collections.abc import Callable

import pytest
from torch import nn

from graphattn.nn import (
    AgentAttention,
    CrossAttention,
    CrystalformerAttention,
    DistanceAttention,
    DualAttention,
    EdgeSetAttention,
    ExphormerLayer,
    GraphormerAttention,
    GraphormerLayer,
    GraphTransformerLayer,
    GRITLayer,
    NeuralAttention,
    PositionalAttention,
    PositionalTransformerLayer,
    RelationalAttention,
    Relations,
)
from graphattn.normalizers import ClampedSoftmax

WITH_DROPOUT: dict[str, Callable[[float], nn.Module]] = {
    "agents": lambda dropout: AgentAttention(8, 2, dropout),
    "sets": lambda dropout: CrossAttention(8, 2, dropout=dropout),
    "crystals": lambda dropout: CrystalformerAttention(8, 2, dropout=dropout),
    "distances": lambda dropout: DistanceAttention(8, 2, dropout=dropout),
    "edges": lambda dropout: EdgeSetAttention(8, 8, 8, 2, dropout),
    "biases": lambda dropout: GraphormerAttention(8, 2, dropout),
    "Graphormer": lambda dropout: GraphormerLayer(8, 2, dropout=dropout),
    "GRIT": lambda dropout: GRITLayer(8, 2, dropout=dropout),
    "perceptrons": lambda dropout: NeuralAttention(8, 2, dropout=dropout),
    "positions": lambda dropout: PositionalAttention(8, 3, 2, dropout),
    "positions and a perceptron": lambda dropout: PositionalTransformerLayer(
        8, 3, 2, 8, dropout=dropout
    ),
}
WITH_CLAMP: dict[str, Callable[[float], nn.Module]] = {
    "graph transformer": lambda clamp: GraphTransformerLayer(8, 2, clamp=clamp),
    "Exphormer": lambda clamp: ExphormerLayer(8, 2, 8, clamp=clamp),
    "GRIT": lambda clamp: GRITLayer(8, 2, clamp=clamp),
}


@pytest.mark.parametrize("layer", WITH_DROPOUT)
@pytest.mark.parametrize("dropout", [2, -0.1, math.nan])
def test_dropout_is_a_probability(layer: str, dropout: float) -> None:
    with pytest.raises(ValueError, match=rf"dropout must lie in \[0, 1\], got {dropout}"):
        WITH_DROPOUT[layer](dropout)


@pytest.mark.parametrize("layer", WITH_CLAMP)
@pytest.mark.parametrize("clamp", [-1.0, 0.0, math.nan])
def test_a_clamp_leaves_room_for_logits(layer: str, clamp: float) -> None:
    with pytest.raises(ValueError, match=f"clamp must be above 0.*, got {clamp}"):
        WITH_CLAMP[layer](clamp)
    with pytest.raises(ValueError, match=f"bound must be above 0, got {clamp}"):
        ClampedSoftmax(clamp)


def test_there_are_heads_of_both_kinds() -> None:
    for heads, relational_heads in ((4, 0), (0, 4), (4, -2)):
        got = f"{heads} and {relational_heads}"
        with pytest.raises(
            ValueError, match=f"heads and relational_heads must be positive, got {got}"
        ):
            DualAttention(8, heads, relational_heads, 2)
    with pytest.raises(ValueError, match="heads must be positive, got 0"):
        RelationalAttention(8, 0, Relations(8, 2, 4), head_channels=4)
