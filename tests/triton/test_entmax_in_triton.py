"""Entmax in Triton's interpreter: the definition, derivatives, odd values, bad input."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from graphattn.kernels.entmax import op, reference, triton
from graphattn.kernels.triton import segments

ALPHAS = (1.02, 1.3, 1.5, 1.9, 2.0, 2.7)


def structure(counts: list[int], index: torch.dtype = torch.int32) -> tuple[Tensor, Tensor]:
    """Segments of these many rows, the rows in random order."""
    ptr = torch.tensor([0, *counts]).cumsum(0)
    return ptr, torch.randperm(sum(counts)).to(index)


@pytest.fixture
def small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiles that are smaller than segments and than the number of heads."""
    monkeypatch.setattr(segments, "_MOST_COLUMNS", 4)
    monkeypatch.setattr(segments, "_THREADS", (8, 8))


@pytest.mark.parametrize(
    ("dtype", "index"), [(torch.float32, torch.int32), (torch.float64, torch.int64)], ids=str
)
@pytest.mark.usefixtures("small_tiles")
def test_weights_and_gradients_are_the_reference(dtype: torch.dtype, index: torch.dtype) -> None:
    ptr, order = structure([0, 1, 2, 23, 0, 5], index)
    alpha = torch.tensor(ALPHAS, dtype=torch.float64)
    logits, arriving = 3 * torch.randn(2, 31, len(ALPHAS)).to(dtype)
    weights = triton.entmax(logits, ptr, order, alpha)
    wide, alpha = logits.double().requires_grad_(), alpha.requires_grad_()
    expected = reference.entmax(wide, ptr, order, alpha)
    tolerance = {"rtol": 1e-5, "atol": 1e-6} if dtype == torch.float32 else {}
    assert_close(weights.double(), expected.detach(), **tolerance)
    given = (arriving, weights, ptr, order, alpha.detach(), True)
    of_logits, of_alpha = triton.entmax_backward(*given)
    of_wide, expected_of_alpha = torch.autograd.grad(expected, (wide, alpha), arriving.double())
    tolerance = {"rtol": 1e-4, "atol": 1e-5} if dtype == torch.float32 else {}
    assert_close(of_logits.double(), of_wide, **tolerance)
    assert_close(of_alpha, expected_of_alpha, **tolerance)
    without, none = triton.entmax_backward(*given[:-1], False)
    assert torch.equal(without, of_logits)
    assert none.shape == (0,)


@pytest.mark.parametrize("alpha", [1.2, 1.5, 2.0, 3.0])
def test_infinities_and_nan_mean_what_is_said(alpha: float) -> None:
    inf, nan = math.inf, math.nan
    values = torch.tensor([-inf, -inf, -inf, 2.0, inf, 1.0, inf, -inf, 0.0, nan, 1.0, 1e38, -3e38])
    expected = torch.tensor([0.0, 0.0, 0.0, 1.0, 0.5, 0.0, 0.5, 0.0, nan, nan, nan, 1.0, 0.0])
    ptr, order = torch.tensor([0, 2, 4, 8, 11, 13]), torch.randperm(13)
    logits = torch.zeros(13, 2)
    logits[order, 0] = values
    alphas = torch.full((2,), alpha, dtype=torch.float64)
    weights = triton.entmax(logits, ptr, order, alphas)
    assert_close(weights[order, 0], expected, equal_nan=True)
    arriving = torch.randn_like(weights)
    gradient, _ = triton.entmax_backward(arriving, weights, ptr, order, alphas, True)
    assert torch.equal(gradient[order, 0].isnan(), expected.isnan())
    assert torch.equal(gradient[order[:2], 0], torch.zeros(2))
    for other_head in (weights, gradient):
        assert bool(other_head[:, 1].isfinite().all())


def test_an_alpha_that_is_not_above_one_gives_nan_in_its_head_alone() -> None:
    ptr, order = structure([3, 0, 2])
    alpha = torch.tensor([1.0, 1.5, math.nan, math.inf, 0.5], dtype=torch.float64)
    weights = triton.entmax(torch.randn(5, 5), ptr, order, alpha)
    assert weights.isnan().all(0).tolist() == [True, False, True, True, True]
    assert bool(weights[:, 1].isfinite().all())


@pytest.mark.parametrize("alpha", [1.0001, 30.0])
def test_it_ends_near_softmax_and_near_the_largest(alpha: float) -> None:
    ptr, order = torch.tensor([0, 9]), torch.arange(9)
    logits, alphas = torch.randn(9, 1).double(), torch.tensor([alpha], dtype=torch.float64)
    weights = triton.entmax(logits, ptr, order, alphas)
    assert_close(weights, reference.entmax(logits, ptr, order, alphas))
    assert_close(weights.sum(), torch.ones((), dtype=torch.float64))


@pytest.mark.parametrize("shape", [(0, 2), (0, 0), (4, 0)])
def test_nothing_in_gives_nothing_out(shape: tuple[int, int]) -> None:
    ptr, order = structure([0, shape[0], 0])
    logits, alpha = torch.randn(shape), torch.full(shape[1:], 1.5, dtype=torch.float64)
    weights = triton.entmax(logits, ptr, order, alpha)
    assert weights.shape == shape
    _, of_alpha = triton.entmax_backward(weights, weights, ptr, order, alpha, True)
    assert torch.equal(of_alpha, torch.zeros_like(alpha))


def test_what_a_gpu_would_run_checks_rows_and_gives_the_same() -> None:
    ptr, order = structure([3, 0, 4])
    logits, alpha = torch.randn(7, 2), torch.tensor([1.3, 2.0], dtype=torch.float64)
    forward: Any = op._entmax._backend_fns["cuda"]
    backward: Any = op._entmax_backward._backend_fns["cuda"]
    weights = forward(logits, ptr, order, alpha)
    assert_close(weights, op._entmax(logits, ptr, order, alpha))
    arriving = torch.randn_like(weights)
    for want_alpha in (True, False):
        given = (arriving, weights, ptr, order, alpha, want_alpha)
        for ours, expected in zip(backward(*given), op._entmax_backward(*given), strict=True):
            assert_close(ours, expected)
    twice = order.clone()
    twice[0] = order[1]
    with pytest.raises(RuntimeError, match="order must hold each row once"):
        forward(logits, ptr, twice, alpha)
    with pytest.raises(RuntimeError, match="out of bounds"):
        forward(logits, ptr, order + 1, alpha)
    with pytest.raises(ValueError, match="ptr must rise from 0"):
        backward(arriving, weights, ptr + 1, order, alpha, True)
    with pytest.raises(ValueError, match="grad must be as the weights are"):
        backward(arriving[:2], weights, ptr, order, alpha, True)
