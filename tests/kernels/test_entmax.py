"""Entmax over segments: official results, the definition, derivatives, odd values."""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck
from torch.library import opcheck
from torch.testing import assert_close

from graphattn.kernels.cpp import compiler
from graphattn.kernels.cpp.compiler import find_compiler
from graphattn.kernels.entmax.op import entmax

Backend = Literal["auto", "reference"]
BACKENDS: tuple[Backend, ...] = ("auto", "reference")
OFFICIAL = (
    *(f"bisect_{alpha}_rows{rows}" for alpha in (1.05, 1.3, 1.5, 2.0) for rows in (0, 1, 4)),
    *(f"{name}_rows{rows}" for name in ("sparsemax", "entmax15") for rows in (0, 1, 4)),
    *(f"sparsemax_bisect_rows{rows}" for rows in (0, 1, 4)),
    "bisect_learned_alpha_0",
)
TOLERANCES = {torch.float32: 1e-5, torch.float64: 1e-9}


@pytest.fixture
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def structure(counts: list[int], index: torch.dtype = torch.int32) -> tuple[Tensor, Tensor]:
    """Segments of these many rows, the rows in random order."""
    ptr = torch.tensor([0, *counts]).cumsum(0)
    return ptr, torch.randperm(sum(counts)).to(index)


def test_every_official_case_is_run(golden_folder: Path) -> None:
    stored = {path.stem for path in golden_folder.glob("entmax/*.npz")}
    assert {name for name in stored if "loss" not in name} == set(OFFICIAL)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", TOLERANCES, ids=str)
@pytest.mark.parametrize("case", OFFICIAL)
def test_weights_and_gradients_are_the_official_ones(
    case: str, dtype: torch.dtype, backend: Backend, golden_folder: Path
) -> None:
    with np.load(golden_folder / "entmax" / f"{case}.npz") as arrays:
        stored: dict[str, Any] = dict(arrays)
    tensors = {
        name: torch.from_numpy(array)
        for name, array in stored.items()
        if name not in ("cfg", "in.ptr")
    }
    logits = tensors["in.x"].to(dtype).requires_grad_()
    ptr = torch.from_numpy(stored.get("in.ptr", np.array([0, len(logits)])))
    alpha: float | Tensor
    if "in.alpha" in tensors:
        alpha = tensors["in.alpha"][0].to(dtype).requires_grad_()
    else:
        alpha = json.loads(str(stored["cfg"]))["alpha"]
    order = torch.randperm(len(logits))
    shuffled = torch.empty_like(logits).index_copy(0, order, logits)
    weights = entmax(shuffled, ptr, order, alpha, backend=backend)[order]
    weights.backward(tensors["cot.out"].to(dtype))
    tolerance = {"atol": TOLERANCES[dtype], "rtol": TOLERANCES[dtype]}
    assert_close(weights.double(), tensors["out.out"], **tolerance)
    assert logits.grad is not None
    assert_close(logits.grad.double(), tensors["grad_in.x"], **tolerance)
    if isinstance(alpha, Tensor):
        assert alpha.grad is not None
        assert_close(alpha.grad.double(), tensors["grad_in.alpha"][0], **tolerance)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("index", [torch.int32, torch.int64], ids=str)
def test_the_kernel_meets_the_definition(dtype: torch.dtype, index: torch.dtype) -> None:
    ptr, order = structure([0, 1, 2, 700, 0, 31, 5000, 3], index)
    alpha = torch.tensor([1.02, 1.3, 1.5, 1.9, 2.0, 2.7], dtype=torch.float64)
    logits = 3 * torch.randn(order.shape[0], 6).double()
    arriving = torch.randn_like(logits)

    def run(dtype: torch.dtype, backend: Backend) -> tuple[Tensor, ...]:
        x, a = logits.to(dtype).requires_grad_(), alpha.clone().requires_grad_()
        weights = entmax(x, ptr, order, a, backend=backend)
        gradients = torch.autograd.grad(weights, (x, a), arriving.to(dtype))
        return (weights.double(), *(gradient.double() for gradient in gradients))

    weights, *gradients = run(dtype, "auto")
    expected, *expected_gradients = run(torch.float64, "reference")
    tolerance = {"rtol": 1e-5, "atol": 1e-6} if dtype == torch.float32 else {}
    assert_close(weights, expected, **tolerance)
    # Of thousands of rows, float32 rounds what the gradient of alpha is summed from.
    tolerance = {"rtol": 1e-3, "atol": 1e-4} if dtype == torch.float32 else {}
    for gradient, own in zip(gradients, expected_gradients, strict=True):
        assert_close(gradient, own, **tolerance)


@pytest.mark.parametrize("backend", BACKENDS)
def test_weights_sum_to_one_and_nothing_below_the_threshold_has_any(backend: Backend) -> None:
    counts = [4, 1, 200, 17]
    ptr, order = structure(counts)
    logits = torch.randn(order.shape[0], 1, dtype=torch.float64)
    supports = []
    for alpha in (1.01, 1.5, 2.0, 4.0, 30.0):
        weights = entmax(logits, ptr, order, alpha, backend=backend)[order.long()]
        assert bool((weights >= 0).all())
        for part in weights.split(counts):
            assert_close(part.sum(), torch.ones((), dtype=torch.float64))
        supports.append(int((weights > 0).sum()))
    assert supports[0] == order.shape[0]
    assert supports == sorted(supports, reverse=True)
    assert supports[-1] < 10


@pytest.mark.parametrize("backend", BACKENDS)
def test_towards_one_it_becomes_softmax(backend: Backend) -> None:
    ptr, order = torch.tensor([0, 50]), torch.arange(50)
    logits = torch.randn(50, 2, dtype=torch.float64)
    weights = entmax(logits, ptr, order, 1 + 1e-6, backend=backend)
    assert_close(weights, logits.softmax(0), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("alpha", [1.2, 1.5, 2.0, 3.0])
@pytest.mark.parametrize("backend", BACKENDS)
def test_infinities_and_nan_mean_what_is_said(alpha: float, backend: Backend) -> None:
    inf, nan = math.inf, math.nan
    values = torch.tensor([-inf, -inf, -inf, 2.0, inf, 1.0, inf, -inf, 0.0, nan, 1.0, 1e38, -3e38])
    expected = torch.tensor([0.0, 0.0, 0.0, 1.0, 0.5, 0.0, 0.5, 0.0, nan, nan, nan, 1.0, 0.0])
    ptr = torch.tensor([0, 2, 4, 8, 11, 13])
    order = torch.randperm(13)
    logits = torch.zeros(13, 2)
    logits[order, 0] = values
    logits.requires_grad_()
    weights = entmax(logits, ptr, order, alpha, backend=backend)
    assert_close(weights[order, 0], expected, equal_nan=True)
    (gradient,) = torch.autograd.grad(weights, logits, torch.randn_like(weights))
    assert torch.equal(gradient[order, 0].isnan(), expected.isnan())
    assert torch.equal(gradient[order[:2], 0], torch.zeros(2))
    for other_head in (weights, gradient):
        assert bool(other_head[:, 1].isfinite().all())


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_alpha_that_is_not_above_one_gives_nan_in_its_head_alone(backend: Backend) -> None:
    ptr, order = structure([3, 0, 2])
    alpha = torch.tensor([1.0, 1.5, math.nan, math.inf, 0.5])
    weights = entmax(torch.randn(5, 5), ptr, order, alpha, backend=backend)
    assert weights.isnan().all(0).tolist() == [True, False, True, True, True]
    assert bool(weights[:, 1].isfinite().all())


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("shape", [(0, 2), (0, 0), (4, 0)])
def test_nothing_in_gives_nothing_out(shape: tuple[int, int], backend: Backend) -> None:
    ptr, order = structure([0, shape[0], 0])
    logits = torch.randn(shape, requires_grad=True)
    alpha = torch.full(shape[1:], 1.5, requires_grad=True)
    weights = entmax(logits, ptr, order, alpha, backend=backend)
    assert weights.shape == shape
    weights.sum().backward()
    assert alpha.grad is not None
    assert torch.equal(alpha.grad, torch.zeros(shape[1:]))


@pytest.mark.parametrize("alpha", [1.3, 2.0])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_half_precisions_are_computed_in_float32(dtype: torch.dtype, alpha: float) -> None:
    ptr, order = structure([3000, 5])
    logits = torch.randn(3005, 2).to(dtype).requires_grad_()
    wide = logits.detach().float().requires_grad_()
    weights, expected = (entmax(x, ptr, order, alpha) for x in (logits, wide))
    assert weights.dtype == dtype
    assert torch.equal(weights, expected.to(dtype))
    arriving = torch.randn_like(weights)
    weights.backward(arriving)
    expected.backward(arriving.float())
    assert wide.grad is not None
    assert logits.grad is not None
    assert torch.equal(logits.grad, wide.grad.to(dtype))


def test_layouts_that_are_not_contiguous_give_the_same() -> None:
    ptr, order = structure([5, 3])
    logits = torch.randn(3, 8, dtype=torch.float64).T
    spread = torch.stack([order, order], 1)[:, 0]
    assert_close(
        entmax(logits, ptr, spread, 1.5),
        entmax(logits.contiguous(), ptr, order, 1.5),
        rtol=0,
        atol=0,
    )


@pytest.mark.usefixtures("threads")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_the_bits_are_the_same_for_any_number_of_threads(dtype: torch.dtype) -> None:
    ptr, order = structure([9000, *torch.randint(0, 30, (1500,)).tolist()])
    logits, arriving = torch.randn(2, order.shape[0], 3, dtype=dtype)
    found = []
    for number in (1, 2, 3, 1):
        torch.set_num_threads(number)
        x = logits.clone().requires_grad_()
        alpha = torch.tensor([1.2, 1.5, 2.0], requires_grad=True)
        weights = entmax(x, ptr, order, alpha)
        found.append((weights, *torch.autograd.grad(weights, (x, alpha), arriving)))
    for run in found[1:]:
        for one, other in zip(found[0], run, strict=True):
            assert torch.equal(one, other)


@pytest.mark.parametrize("backend", BACKENDS)
def test_first_and_second_derivatives(backend: Backend) -> None:
    ptr, order = structure([3, 0, 1, 6, 2])
    logits = torch.randn(12, 3, dtype=torch.float64, requires_grad=True)
    alpha = torch.tensor([1.2, 1.7, 2.6], dtype=torch.float64, requires_grad=True)

    def run(logits: Tensor, alpha: float | Tensor) -> Tensor:
        return entmax(logits, ptr, order, alpha, backend=backend)

    assert gradcheck(run, (logits, alpha))
    assert gradgradcheck(run, (logits, alpha))
    for fixed in (1.5, 2.0):
        assert gradcheck(run, (logits, fixed))
        assert gradgradcheck(run, (logits, fixed))


def test_third_derivatives_are_those_of_the_closed_form() -> None:
    # Of two rows with alpha 2, whose difference is below one, the weights are linear.
    x = torch.tensor([[0.1], [0.4]], dtype=torch.float64, requires_grad=True)
    ptr, order = torch.tensor([0, 2]), torch.arange(2)
    weights = entmax(x, ptr, order, 2.0)
    (first,) = torch.autograd.grad(weights[0].pow(4).sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(first[0].sum(), x, create_graph=True)
    (third,) = torch.autograd.grad(second[0].sum(), x)
    weight = 0.5 * (1 + 0.1 - 0.4)
    assert_close(third[0], torch.tensor([24 * weight / 8], dtype=torch.float64))


def test_the_operators_are_sound() -> None:
    ptr, order = structure([3, 0, 4])
    logits = torch.randn(7, 2, dtype=torch.float64, requires_grad=True)
    alpha = torch.tensor([1.3, 2.0], dtype=torch.float64, requires_grad=True)
    opcheck(torch.ops.graphattn.entmax.default, (logits, ptr, order, alpha))
    plain = logits.detach(), alpha.detach()
    weights = entmax(plain[0], ptr, order, plain[1])
    for want_alpha in (True, False):
        inputs = (plain[0], weights, ptr, order, plain[1], want_alpha)
        opcheck(torch.ops.graphattn.entmax_backward.default, inputs)


def test_the_compiler_of_pytorch_takes_it_whole() -> None:
    ptr, order = structure([3, 0, 4])
    logits = torch.randn(7, 2, requires_grad=True)
    alpha = torch.tensor([1.3, 2.0], requires_grad=True)

    def run(logits: Tensor, alpha: Tensor) -> Tensor:
        return entmax(logits * 2, ptr, order, alpha).square().sum()

    compiled = torch.compile(run, fullgraph=True, backend="aot_eager")
    expected = torch.autograd.grad(run(logits, alpha), (logits, alpha))
    found = torch.autograd.grad(compiled(logits, alpha), (logits, alpha))
    for one, other in zip(found, expected, strict=True):
        assert_close(one, other)


def test_without_a_compiler_it_warns_once_and_is_right(monkeypatch: pytest.MonkeyPatch) -> None:
    ptr, order = structure([5, 2])
    logits = torch.randn(7, 2, dtype=torch.float64, requires_grad=True)
    expected = entmax(logits, ptr, order, 1.5)
    (gradient,) = torch.autograd.grad(expected.square().sum(), logits)
    monkeypatch.setattr(compiler, "_search", lambda: None)
    compiler.is_available.cache_clear()
    try:
        with pytest.warns(
            UserWarning, match="in plain PyTorch, several times slower: no C.. compiler"
        ):
            weights = entmax(logits, ptr, order, 1.5)
        again = entmax(logits, ptr, order, 1.5)
    finally:
        monkeypatch.undo()
        compiler.is_available.cache_clear()
        find_compiler()
    assert_close(weights, expected)
    (other,) = torch.autograd.grad(again.square().sum(), logits)
    assert_close(other, gradient)
