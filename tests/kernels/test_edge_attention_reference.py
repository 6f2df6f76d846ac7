"""The definition of edge attention against loops over segments in plain PyTorch."""

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck
from torch.testing import assert_close

from graphattn.kernels.edge_attention import reference

NUM_SEGMENTS = 5
SEGMENT = torch.tensor([3, 0, 3, 1, 3, 0, 4, 3])  # segment 2 is empty, 1 and 4 have one row


def test_softmax_is_that_of_each_segment() -> None:
    logits = torch.randn(8, 3, dtype=torch.float64)
    weights = reference.segment_softmax(logits, SEGMENT, NUM_SEGMENTS)
    for segment in range(NUM_SEGMENTS):
        own = segment == SEGMENT
        assert_close(weights[own], logits[own].softmax(0))


@pytest.mark.parametrize("wrong", [torch.nan, torch.inf])
def test_nan_and_infinity_act_as_in_torch_within_their_segment_and_head(wrong: float) -> None:
    logits = torch.randn(8, 3, dtype=torch.float64)
    logits[2, 1] = wrong
    weights = reference.segment_softmax(logits, SEGMENT, NUM_SEGMENTS)
    for segment in range(NUM_SEGMENTS):
        own = segment == SEGMENT
        assert_close(weights[own], logits[own].softmax(0), equal_nan=True)
    touched = torch.zeros(8, 3, dtype=torch.bool)
    touched[SEGMENT == 3, 1] = True
    assert torch.equal(weights.isnan(), touched)


def test_some_minus_infinities_are_weights_of_zero() -> None:
    logits = torch.zeros(8, 1)
    logits[[0, 2], 0] = -torch.inf
    weights = reference.segment_softmax(logits, SEGMENT, NUM_SEGMENTS)[:, 0]
    assert_close(weights, torch.tensor([0.0, 0.5, 0.0, 1.0, 0.5, 0.5, 1.0, 0.5]))


def test_a_segment_of_minus_infinities_has_no_weight_and_no_gradient() -> None:
    logits = torch.randn(8, 2, dtype=torch.float64)
    logits[SEGMENT == 3, 0] = -torch.inf
    logits.requires_grad_()
    weights = reference.segment_softmax(logits, SEGMENT, NUM_SEGMENTS)
    empty = weights[SEGMENT == 3, 0]
    assert torch.equal(empty, torch.zeros_like(empty))
    assert_close(weights[SEGMENT == 3, 1].sum(), torch.tensor(1.0, dtype=torch.float64))
    (weights * torch.randn_like(weights)).sum().backward()
    assert logits.grad is not None
    assert torch.equal(logits.grad[SEGMENT == 3, 0], torch.zeros(4, dtype=torch.float64))
    assert not logits.grad.isnan().any()


def test_softmax_does_not_overflow_in_low_precision() -> None:
    for dtype in (torch.float16, torch.bfloat16):
        logits = torch.full((8, 1), 6e4, dtype=dtype)
        weights = reference.segment_softmax(logits, SEGMENT, NUM_SEGMENTS)
        assert weights.dtype == dtype
        expected = torch.tensor([0.25, 0.5, 0.25, 1, 0.25, 0.5, 1, 0.25], dtype=dtype)
        assert_close(weights[:, 0], expected)


def test_a_weighted_sum_is_that_of_each_segment() -> None:
    weights = torch.randn(8, 3, dtype=torch.float64)
    message = torch.randn(8, 3, 2, dtype=torch.float64)
    result = reference.weighted_sum(weights, message, SEGMENT, NUM_SEGMENTS)
    for segment in range(NUM_SEGMENTS):
        own = segment == SEGMENT
        assert_close(result[segment], (weights[own, :, None] * message[own]).sum(0))


def test_a_weighted_sum_is_held_in_float32_and_promotes() -> None:
    segment = torch.zeros(5000, dtype=torch.int64)
    for dtype in (torch.bfloat16, torch.float16):
        weights, message = torch.ones(5000, 1, dtype=dtype), torch.ones(5000, 1, 1, dtype=dtype)
        result = reference.weighted_sum(weights, message, segment, 1)
        assert_close(result, torch.tensor([[[5000.0]]], dtype=dtype))
        assert result.dtype == dtype  # 256 or 2048 if it were summed in its own type
    mixed = reference.weighted_sum(weights, message.double(), segment, 1)
    assert mixed.dtype == torch.float64


@pytest.mark.parametrize("shape", [(8,), (8, 3), (8, 3, 2), (8, 0), (8, 2, 0)])
def test_sums_of_rows_of_any_shape(shape: tuple[int, ...]) -> None:
    x = torch.randn(shape)
    total = reference.segment_sum(x, SEGMENT, NUM_SEGMENTS)
    assert total.shape == (NUM_SEGMENTS, *shape[1:])
    for segment in range(NUM_SEGMENTS):
        assert_close(total[segment], x[segment == SEGMENT].sum(0))


def test_no_rows_give_zeros() -> None:
    none = torch.zeros(0, dtype=torch.int64)
    assert reference.segment_softmax(torch.zeros(0, 2), none, 3).shape == (0, 2)
    result = reference.weighted_sum(torch.zeros(0, 2), torch.zeros(0, 2, 4), none, 3)
    assert torch.equal(result, torch.zeros(3, 2, 4))


def test_gather_brings_each_role_to_the_edges() -> None:
    source, target = torch.tensor([2, 0, 1, 1]), torch.tensor([0, 0, 1, 1])
    inputs = {
        "query": torch.randn(2, 3),
        "key": torch.randn(3, 3, 2),
        "bias": torch.randn(4),
        "scale": torch.randn(()),
    }
    roles = {"query": "target", "key": "source", "bias": "edge", "scale": "shared"}
    at_edges = reference.gather(inputs, roles, source, target)
    assert torch.equal(at_edges["query"], inputs["query"][target])
    assert torch.equal(at_edges["key"], inputs["key"][source])
    assert at_edges["bias"] is inputs["bias"]
    assert at_edges["scale"] is inputs["scale"]


def test_derivatives_of_any_order() -> None:
    def attend(logits: Tensor, message: Tensor) -> tuple[Tensor, Tensor]:
        weights = reference.segment_softmax(logits, SEGMENT, NUM_SEGMENTS)
        return reference.weighted_sum(weights, message, SEGMENT, NUM_SEGMENTS), weights

    logits = torch.randn(8, 2, dtype=torch.float64, requires_grad=True)
    message = torch.randn(8, 2, 3, dtype=torch.float64, requires_grad=True)
    assert gradcheck(attend, (logits, message))
    assert gradgradcheck(attend, (logits, message))
