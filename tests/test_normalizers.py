"""Normalizers: weights from logits, dropout of weights."""

import pytest
import torch
from torch.nn import functional as F
from torch.testing import assert_close

from graphattn.dropout import drop_weights
from graphattn.edges import Edges
from graphattn.normalizers import Normalizer, Softmax


def edges_of(weights: torch.Tensor) -> Edges:
    return Edges.from_edge_index(torch.zeros(2, len(weights), dtype=torch.int64), 1, 1)


EDGES = Edges.from_edge_index(torch.tensor([[0, 1, 2, 2, 0, 1], [2, 0, 2, 0, 2, 2]]), 3, 4)


def test_softmax_is_that_of_each_target() -> None:
    logits = torch.randn(6, 2, dtype=torch.float64)
    weights = Softmax()(logits, EDGES)
    for target in range(4):
        own = EDGES.target == target
        assert_close(weights[own], logits[own].softmax(0))


def test_softmax_of_large_logits_does_not_overflow() -> None:
    logits = torch.tensor([1e30, -1e30, 1e30, 88.8, 1e30, 1e30]).unsqueeze(1)
    weights = Softmax()(logits, EDGES)
    assert_close(weights.squeeze(1), torch.tensor([0.25, 0.0, 0.25, 1.0, 0.25, 0.25]))


def test_softmax_keeps_the_element_type_and_sums_in_a_wider_one() -> None:
    edges = Edges.from_edge_index(torch.zeros(2, 5000, dtype=torch.int64), 1, 1)
    for dtype in (torch.bfloat16, torch.float16, torch.float32, torch.float64):
        weights = Softmax()(torch.zeros(5000, 1, dtype=dtype), edges)
        assert weights.dtype == dtype
        assert_close(weights, torch.full((5000, 1), 1 / 5000, dtype=dtype))


def test_a_normalizer_of_ones_own_must_say_what_it_does() -> None:
    class Nothing(Normalizer):
        pass

    with pytest.raises(NotImplementedError, match="Nothing must override forward"):
        Nothing()(torch.zeros(6, 2), EDGES)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
@pytest.mark.parametrize("probability", [0.1, 0.5, 0.6, 0.9])
def test_dropout_is_that_of_pytorch_for_the_same_seed(
    probability: float, dtype: torch.dtype
) -> None:
    weights = torch.rand(1000, 8).to(dtype)
    torch.manual_seed(7)
    expected = F.dropout(weights, probability)
    after_expected = torch.get_rng_state()
    torch.manual_seed(7)
    dropped = drop_weights(edges_of(weights), weights, probability)
    assert torch.equal(dropped == 0, expected == 0)
    assert_close(dropped, expected)
    assert torch.equal(torch.get_rng_state(), after_expected)


def test_dropout_of_nothing_and_of_everything() -> None:
    weights = torch.rand(4, 2, requires_grad=True)
    assert drop_weights(edges_of(weights), weights, 0.0) is weights
    dropped = drop_weights(edges_of(weights), weights, 1.0)
    assert torch.equal(dropped, torch.zeros(4, 2))
    dropped.sum().backward()
    assert weights.grad is not None
    assert torch.equal(weights.grad, torch.zeros(4, 2))


@pytest.mark.parametrize("probability", [-0.1, 1.1, float("nan")])
def test_a_probability_lies_between_zero_and_one(probability: float) -> None:
    with pytest.raises(ValueError, match=r"dropout must lie in \[0, 1\], got"):
        drop_weights(EDGES, torch.ones(6, 1), probability)
