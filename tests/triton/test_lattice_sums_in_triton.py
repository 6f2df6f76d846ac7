"""Sums over lattices in Triton's interpreter: the definition, odd values, what a GPU would run."""

import importlib.util
import math
from typing import Any

import pytest
import torch
from crystal_runs import CHANNELS, HEADS, SPACING, TOLERANCES, boxes, inputs, weights, widths
from sizes import LargestTensor
from torch import Tensor
from torch.testing import assert_close

from graphattn.kernels.lattice_sum import op, reference, triton
from graphattn.kernels.lattice_sum.cases import crystals
from graphattn.kernels.lattice_sum.images import reciprocal_rows
from graphattn.kernels.lattice_sum.pairs import Pairs
from graphattn.kernels.reciprocal_sum import op as waves_op
from graphattn.kernels.reciprocal_sum import reference as waves_reference
from graphattn.kernels.reciprocal_sum import triton as waves_triton


@pytest.fixture(autouse=True)
def few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two pairs of radial functions at once, and one left over."""
    monkeypatch.setattr(triton, "_MOST_SUMS", 2 * HEADS * 5)


def arriving(num_pairs: int) -> tuple[Tensor, Tensor]:
    rows = torch.randn(num_pairs, HEADS, CHANNELS + 1, dtype=torch.float64)
    return rows[..., 0], rows[..., 1:]


def check(given: tuple[Any, ...], form: tuple[Any, ...], dtype: torch.dtype, **loose: Any) -> None:
    """Both sums and all gradients are those of the definition in float64."""
    num_pairs = int(given[2].diff().square().sum())
    low = tuple(x.to(dtype) if x.is_floating_point() else x for x in given)
    wide = tuple(x.double() if x.is_floating_point() else x for x in low)
    results = triton.lattice_sum(*low, num_pairs, *form)
    grads = tuple(x.to(dtype) for x in arriving(num_pairs))
    found = triton.lattice_sum_backward(*grads, *results, *low, *form, True, True)
    expected = reference.lattice_sum(*wide, *form)
    expected += reference.gradients(*(x.double() for x in grads), *wide, *form)
    for one, other in zip((*results, *found), expected, strict=True):
        assert one.dtype == dtype
        assert_close(one.double(), other, **{**TOLERANCES[dtype], **loose})


@pytest.mark.parametrize("exclude_self", [False, True])
@pytest.mark.parametrize(
    ("case", "dtype"),
    [
        ("empty crystals", torch.float32),
        ("one atom", torch.float32),
        ("one atom", torch.float64),
        ("a skewed cell", torch.float64),
        ("assorted", torch.float32),
    ],
    ids=str,
)
def test_sums_and_gradients_are_the_definition(
    case: str, dtype: torch.dtype, exclude_self: bool
) -> None:
    position, lattice, ptr, sigma = inputs(case)
    limits = (2, 1, 1) if case == "one atom" else (1, 1, 0)
    given = (position, lattice, ptr, sigma, weights(), boxes(ptr, *limits))
    check(given, (SPACING, 1.1, exclude_self), dtype)


@pytest.mark.parametrize("num_basis", [0, 70])
def test_there_may_be_no_radial_functions_or_more_than_fit_at_once(num_basis: int) -> None:
    position, lattice, ptr = crystals("one place")
    weight = torch.randn(HEADS, CHANNELS, num_basis, dtype=torch.float64)
    given = (position, lattice, ptr, widths(2), weight, boxes(ptr, 1, 1, 0))
    check(given, (0.1, 0.1, False), torch.float64)


@pytest.mark.parametrize("dtype", TOLERANCES, ids=str)
def test_gaussians_may_be_much_narrower_than_the_cell(dtype: torch.dtype) -> None:
    lattice = torch.tensor([[[4.0, 0, 0], [1.5, 3.75, 0], [-1.25, 0.5, 3.5]]])
    position = torch.tensor([[0.25, 0.5, 0.125], [1.75, 2.25, 1.5]])
    ptr, sigma = torch.tensor([0, 2]), torch.tensor([[1 / 16, 3 / 32, 1.0], [0.3, 1 / 8, 1 / 16]])
    given = (position, lattice, ptr, sigma, weights(), boxes(ptr, 1, 1, 1))
    # Alpha is as large as the square of the distance over sigma, and float32 has seven digits.
    check(given, (SPACING, 1.1, False), dtype, atol=1e-3 if dtype == torch.float32 else 1e-9)


def test_narrow_gaussians_have_the_digits_of_float32_left() -> None:
    # Of few binary digits, so that float32 rounds none of the distances.
    lattice = torch.tensor([[[4.0, 0, 0], [1.5, 3.75, 0], [-1.25, 0.5, 3.5]]])
    position = torch.tensor([[0.25, 0.5, 0.125], [1.75, 2.25, 1.5]])
    ptr, sigma = torch.tensor([0, 2]), torch.tensor([[1 / 16, 0.3, 0.1]]).expand(2, 3)
    given = (position, lattice, ptr, sigma, weights(torch.float32), boxes(ptr, 1, 1, 1))
    results = triton.lattice_sum(*given, 4, SPACING, 1.1, False)
    rows = (torch.zeros(4, 3), torch.randn(4, 3, 2))  # of beta alone, which hardly changes
    found = triton.lattice_sum_backward(*rows, *results, *given, SPACING, 1.1, False, False, False)
    wide = (x.double() if x.is_floating_point() else x for x in (*rows, *given))
    expected = reference.gradients(*wide, SPACING, 1.1, False)
    assert_close(found[2].double(), expected[2], rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("wants", [(False, False), (True, False), (False, True)])
def test_gradients_that_are_not_wanted_are_empty(wants: tuple[bool, bool]) -> None:
    position, lattice, ptr, sigma = inputs("two atoms at one place")
    given = (position, lattice, ptr, sigma, weights(), boxes(ptr, 1, 0, 0))
    results = triton.lattice_sum(*given, 4, SPACING, 1.1, True)
    rows = (*arriving(4), *results, *given, SPACING, 1.1, True)
    everything = triton.lattice_sum_backward(*rows, True, True)
    found = triton.lattice_sum_backward(*rows, *wants)
    for one, known, is_there in zip(
        found, everything, (wants[0], wants[0], True, wants[1]), strict=True
    ):
        assert torch.equal(one, known if is_there else known.new_empty(0))


def test_at_distance_zero_forces_are_zero() -> None:
    position, lattice, ptr, sigma = inputs("two atoms at one place")
    given = (position, lattice, ptr, sigma, weights(), boxes(ptr, 0, 0, 0))
    results = triton.lattice_sum(*given, 4, SPACING, 1.1, False)
    assert_close(results[0], torch.zeros_like(results[0]))
    rows = (*arriving(4), *results, *given, SPACING, 1.1, False, True, True)
    assert torch.equal(triton.lattice_sum_backward(*rows)[0], torch.zeros_like(position))


@pytest.mark.parametrize("spoilt", ["position", "lattice", "sigma", "weight"])
def test_nan_stays_in_its_crystal(spoilt: str) -> None:
    position, lattice, ptr = crystals("left-handed", "one atom")
    tensors = {"position": position, "lattice": lattice, "sigma": widths(3), "weight": weights()}
    tensors[spoilt][0, 0] = torch.nan
    position, lattice, sigma, weight = tensors.values()
    given, form = (position, lattice, ptr, sigma, weight, boxes(ptr, 1, 0, 0)), (SPACING, 1, False)
    results = triton.lattice_sum(*given, 5, *form)
    for one, known in zip(results, reference.lattice_sum(*given, *form), strict=True):
        assert_close(one, known, equal_nan=True)
    found = triton.lattice_sum_backward(*arriving(5), *results, *given, *form, True, True)
    of_position, of_lattice, of_sigma, _ = found
    if spoilt != "weight":
        assert all(bool(x[0].isnan().any()) for x in (of_lattice, of_sigma))
        assert all(bool(x[-1].isfinite().all()) for x in (of_position, of_lattice, of_sigma))


def test_nothing_is_kept_of_single_images() -> None:
    position, lattice, ptr, sigma = inputs("one atom")
    given = (position, lattice, ptr, 0.2 * sigma, weights(), boxes(ptr, 4, 4, 4))
    with LargestTensor() as largest:
        results = triton.lattice_sum(*given, 1, SPACING, 1.1, False)
        rows = (*arriving(1), *results, *given, SPACING, 1.1, False, True, True)
        triton.lattice_sum_backward(*rows)
    assert largest.numel < 9**3


@pytest.mark.parametrize("dtype", TOLERANCES, ids=str)
@pytest.mark.parametrize("case", ["a skewed cell", "one atom", "assorted", "empty crystals"])
def test_waves_and_gradients_are_the_definition(case: str, dtype: torch.dtype) -> None:
    position, lattice, ptr, sigma = inputs(case)
    cell = 2 * math.pi * reciprocal_rows(lattice)
    limits = boxes(ptr, 1, 0, 9) if case == "assorted" else boxes(ptr, 1, 2, 1)
    num_pairs = int(ptr.diff().square().sum())
    low = tuple(x.to(dtype) for x in (position, cell, sigma, arriving(num_pairs)[0]))
    given, grad = (*low[:2], ptr, low[2], limits), low[3]
    wide = tuple(x.double() for x in low)
    wide_given = (*wide[:2], ptr, wide[2], limits)
    total = waves_triton.wave_sum(*given, num_pairs)
    found = (total, *waves_triton.wave_sum_backward(grad, *given, True))
    expected = waves_reference.wave_sum(*wide_given)
    gradients = waves_reference.gradients(wide[3], *wide_given)
    for one, known in zip(found, (expected, *gradients), strict=True):
        assert one.dtype == dtype
        assert_close(one.double(), known, **TOLERANCES[dtype])
    *empty, of_sigma = waves_triton.wave_sum_backward(grad, *given, False)
    assert torch.equal(of_sigma, found[3])
    assert [x.shape for x in empty] == [(0,), (0,)]


def test_a_gpu_would_check_and_run_these() -> None:
    position, lattice, ptr, sigma = inputs("two atoms at one place")
    forward: Any = op._lattice_sum._backend_fns["cuda"]
    backward: Any = op._lattice_sum_backward._backend_fns["cuda"]
    tensors, form = (
        (position, lattice, ptr, sigma, weights(), boxes(ptr, 1, 0, 0)),
        (0.9, 1.1, True),
    )
    results = forward(*tensors, 4, *form)
    rows = (*arriving(4), *results, *tensors, *form, True, True)
    expected = (*op._by_definition(*tensors, 4, *form),)
    expected += reference.gradients(*rows[:2], *tensors, *form)
    for one, known in zip((*results, *backward(*rows)), expected, strict=True):
        assert_close(one, known)
    with pytest.raises(ValueError, match="ptr must rise from 0"):
        forward(*tensors[:2], ptr + 1, *tensors[3:], 4, *form)
    with pytest.raises(ValueError, match="num_pairs must be 4"):
        forward(*tensors, 5, *form)
    with pytest.raises(ValueError, match="crystal 0 must have sigma that are positive"):
        forward(*tensors[:3], -sigma, *tensors[4:], 4, *form)
    with pytest.raises(ValueError, match="crystal 0 must have a cell with a volume"):
        forward(position, 0 * lattice, *tensors[2:], 4, *form)
    with pytest.raises(ValueError, match="a result and its gradient must be"):
        backward(rows[0], rows[1][1:], *rows[2:])


def test_a_gpu_would_check_and_run_these_of_waves() -> None:
    position, lattice, ptr, sigma = inputs("two atoms at one place")
    forward: Any = waves_op._wave_sum._backend_fns["cuda"]
    backward: Any = waves_op._wave_sum_backward._backend_fns["cuda"]
    tensors = (position, 2 * math.pi * reciprocal_rows(lattice), ptr, sigma, boxes(ptr, 1, 0, 0))
    grad, _ = arriving(4)
    expected = (waves_op._by_definition(*tensors, 4), *waves_reference.gradients(grad, *tensors))
    found = (forward(*tensors, 4), *backward(grad, *tensors, True))
    for one, known in zip(found, expected, strict=True):
        assert_close(one, known)
    with pytest.raises(ValueError, match="num_pairs must be 4"):
        forward(*tensors, 5)
    with pytest.raises(ValueError, match="crystal 0 must have a cell with a volume"):
        forward(position, reciprocal_rows(0 * lattice), *tensors[2:], 4)
    with pytest.raises(ValueError, match="a result and its gradient must be"):
        backward(grad[:, 1:], *tensors, True)


def test_without_triton_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    position, lattice, ptr, sigma = inputs("one atom")
    limits = boxes(ptr, 1, 0, 0)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    for operator, arguments in (
        (op._lattice_sum, (weights(), limits, 1, 0.9, 1.1, True)),
        (waves_op._wave_sum, (limits, 1)),
    ):
        run: Any = operator._backend_fns["cuda"]
        with pytest.raises(ModuleNotFoundError, match=r'pip install "graphattn\[triton\]"'):
            run(position, lattice, ptr, sigma, *arguments)


def test_nothing_waits_for_values_on_a_device() -> None:
    # Whoever asks for a value on this device, which has none, fails.
    on_device = [x.to("meta") for x in (*inputs("assorted"), weights())]
    position, lattice, ptr, sigma, weight = on_device
    limits = torch.ones(len(ptr) - 1, 3, dtype=torch.int64)
    op._check((position, lattice, ptr, sigma, weight, limits), 18, True)
    waves_op._check(position, lattice, ptr, sigma, limits.to("meta"), 18)
    pairs = Pairs.of(ptr, len(position), 18)
    assert pairs.place.shape == (18, 3)
    assert pairs.crystals(position, lattice, limits, sigma).limits.device.type == "meta"
