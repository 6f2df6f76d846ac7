"""Gates and exponentials over their sums: values, the added number, targets without weight."""

import math

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from graphattn.edges import Edges
from graphattn.normalizers import ExponentialSum, FusedNormalizer, SigmoidSum

EDGES = Edges.from_edge_index(torch.tensor([[0, 1, 2, 2, 0, 1], [2, 0, 2, 0, 2, 2]]), 3, 4)


@pytest.mark.parametrize(
    ("kind", "map_of"), [(SigmoidSum, torch.sigmoid), (ExponentialSum, torch.exp)]
)
@pytest.mark.parametrize("epsilon", [0.0, 0.5])
def test_weights_are_the_share_of_each_in_the_sum(
    kind: type[SigmoidSum | ExponentialSum], map_of: type[Tensor], epsilon: float
) -> None:
    logits = torch.randn(6, 2, dtype=torch.float64)
    weights = kind(epsilon)(logits, EDGES)
    for target in range(4):
        own = map_of(logits[EDGES.target == target])
        assert_close(weights[EDGES.target == target], own / (epsilon + own.sum(0)))
    assert repr(kind(epsilon)) == f"{kind.__name__}(epsilon={epsilon})"


@pytest.mark.parametrize("normalizer", [SigmoidSum(), ExponentialSum()], ids=str)
def test_a_target_without_weight_has_zeros(normalizer: FusedNormalizer) -> None:
    assert not normalizer(torch.full((6, 1), -math.inf), EDGES).any()
