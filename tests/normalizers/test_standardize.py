"""Standardised weights: mean zero and variance one for each target, gain, shift, odd cases."""

import math

import pytest
import torch
from attention_cases import HEADS, attention, inputs_for, structures
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck
from torch.testing import assert_close

from graphattn.edges import Edges
from graphattn.normalizers.standardize import Standardize

# Targets 0 and 2 have two and four edges, 1 and 3 none, 4 has one.
EDGES = Edges.from_edge_index(torch.tensor([[0, 1, 2, 2, 0, 1, 1], [2, 0, 2, 0, 2, 2, 4]]), 3, 5)


def test_weights_are_the_logits_less_their_mean_over_their_deviation() -> None:
    logits = 5 + 3 * torch.randn(7, 2, dtype=torch.float64)
    weights = Standardize()(logits, EDGES)
    for target in (0, 2):
        own = logits[EDGES.target == target]
        expected = (own - own.mean(0)) / own.std(0, correction=0)
        assert_close(weights[EDGES.target == target], expected)
    assert torch.equal(weights[6], torch.zeros(2, dtype=torch.float64))


def test_epsilon_is_added_to_the_sum_of_squares() -> None:
    edges = Edges.from_edge_index(torch.tensor([[0, 1], [0, 0]]), 2, 1)
    logits = torch.tensor([[1.0], [3.0]])
    weights = Standardize(epsilon=0.5)(logits, edges)
    assert_close(weights, torch.tensor([[-1.0], [1.0]]) / math.sqrt((2 + 0.5) / 2))


def test_gain_and_shift_are_learned_for_each_head() -> None:
    logits = torch.randn(7, 2)
    plain, normalizer = Standardize(), Standardize(heads=2)
    assert torch.equal(normalizer(logits, EDGES), plain(logits, EDGES))
    assert normalizer.gain is not None
    assert normalizer.shift is not None
    with torch.no_grad():
        normalizer.gain.copy_(torch.tensor([2.0, -1.0]))
        normalizer.shift.copy_(torch.tensor([0.5, 3.0]))
    weights = normalizer(logits, EDGES)
    standard = plain(logits, EDGES)
    assert_close(weights, standard * torch.tensor([2.0, -1.0]) + torch.tensor([0.5, 3.0]))
    weights.square().sum().backward()
    assert_close(normalizer.gain.grad, 2 * (weights * standard).sum(0).detach())
    assert_close(normalizer.shift.grad, 2 * weights.sum(0).detach())
    assert list(plain.parameters()) == []


@pytest.mark.parametrize("value", [0.0, 0.1, 1e4, -7e20])
def test_equal_logits_have_no_weight_and_finite_gradients(value: float) -> None:
    logits = torch.full((7, 1), value, requires_grad=True)
    weights = Standardize()(logits, EDGES)
    assert torch.equal(weights, torch.zeros(7, 1))
    (gradient,) = torch.autograd.grad((weights * torch.randn(7, 1)).sum(), logits)
    assert bool(gradient.isfinite().all())
    assert gradient[6] == 0  # one edge alone


def test_a_logit_of_minus_infinity_is_an_edge_that_is_absent() -> None:
    logits = torch.randn(7, 2, dtype=torch.float64)
    masked = logits.clone()
    masked[0] = masked[6] = -math.inf
    masked.requires_grad_()
    normalizer = Standardize(heads=2).double()
    assert normalizer.shift is not None
    torch.nn.init.ones_(normalizer.shift)
    weights = normalizer(masked, EDGES)
    kept = Edges.from_edge_index(EDGES.edge_index[:, 1:6], 3, 5)
    assert_close(weights[1:6], normalizer(logits[1:6], kept))
    assert torch.equal(weights[[0, 6]], torch.zeros(2, 2, dtype=torch.float64))
    (gradient,) = torch.autograd.grad(weights.square().sum(), masked)
    assert torch.equal(gradient[[0, 6]], torch.zeros(2, 2, dtype=torch.float64))
    assert bool(gradient.isfinite().all())


@pytest.mark.parametrize("odd", [math.nan, math.inf])
def test_nan_and_infinity_stay_within_their_target_and_head(odd: float) -> None:
    logits = torch.randn(7, 2)
    logits[1, 0] = odd  # into target 0
    is_nan = Standardize()(logits, EDGES).isnan()
    expected = torch.zeros(7, 2, dtype=torch.bool)
    expected[EDGES.target == 0, 0] = True
    assert torch.equal(is_nan, expected)


@pytest.mark.parametrize("structure", structures())
def test_attention_with_it_is_the_weighted_sum(structure: str) -> None:
    edges = structures()[structure]
    inputs = inputs_for(edges, requires_grad=True)
    run = attention(normalizer=Standardize(HEADS).double())
    output, weights = run(edges, **inputs, return_weights=True)
    expected = torch.zeros_like(output)
    for edge, (source, target) in enumerate(zip(edges.source, edges.target, strict=True)):
        expected[target] += weights[edge].unsqueeze(-1) * inputs["value"][source]
    assert_close(output, expected)


def test_attention_with_it_can_be_differentiated_twice() -> None:
    edges = structures()["complete"]
    inputs = inputs_for(edges, requires_grad=True)
    run = attention(normalizer=Standardize(HEADS).double())

    def output(*tensors: Tensor) -> Tensor:
        result: Tensor = run(edges, **dict(zip(inputs, tensors, strict=True)))
        return result

    assert gradcheck(output, tuple(inputs.values()))
    assert gradgradcheck(output, tuple(inputs.values()))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32], ids=str)
def test_half_precisions_sum_in_float32(dtype: torch.dtype) -> None:
    edges = Edges.from_edge_index(torch.zeros(2, 4000, dtype=torch.int64), 1)
    logits = torch.tensor([1.0, 3.0], dtype=dtype).repeat(2000).unsqueeze(1)
    weights = Standardize()(logits, edges)
    assert weights.dtype == dtype
    assert_close(weights, logits - 2)


def test_wrong_settings_are_refused() -> None:
    with pytest.raises(ValueError, match=r"logits must have 3 heads, got shape \(7, 1\)"):
        Standardize(3)(torch.zeros(7, 1), EDGES)
    with pytest.raises(ValueError, match="heads must not be negative, got -1"):
        Standardize(-1)
    for epsilon in (0.0, -1.0, math.nan):
        with pytest.raises(ValueError, match="epsilon must be above 0, got"):
            Standardize(epsilon=epsilon)
