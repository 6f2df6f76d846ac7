"""Sums over the reciprocal lattice: official results, the definition, the sum over images."""

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest
import torch
from crystal_runs import HEADS, TOLERANCES, Official, boxes, inputs, run, widths
from segments import without_compiler
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck
from torch.library import opcheck
from torch.testing import assert_close

from graphattn.kernels.lattice_sum import lattice_log_sum
from graphattn.kernels.lattice_sum.cases import SMALL, crystals
from graphattn.kernels.reciprocal_sum import reciprocal_log_sum, reference

Backend = Literal["auto", "reference"]
BACKENDS: tuple[Backend, ...] = ("auto", "reference")


@pytest.fixture
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("dtype", TOLERANCES, ids=str)
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("case", ["attn_04_reci", "attn_05_reci_frozen", "attn_19_RECI"])
def test_sums_are_the_official_ones(
    case: str, backend: Backend, dtype: torch.dtype, golden_folder: Path
) -> None:
    official = Official.load(golden_folder / "crystalformer" / f"{case}.npz", dtype)
    position, lattice, ptr = official.structure()
    power = -0.5 if official.lattice["domain"] == "RECI" else 0.5
    sigma = official.lattice["scale_reci"] * official.shape() ** power
    limit = official.lattice["lattice_range"]
    waves = boxes(ptr, limit, limit, limit)
    alpha = reciprocal_log_sum(position, lattice, ptr, sigma, waves=waves, backend=backend)
    assert_close(alpha.double(), official.tensor("out.bias"), **TOLERANCES[dtype])


@pytest.mark.parametrize("dtype", TOLERANCES, ids=str)
@pytest.mark.parametrize("case", SMALL)
def test_the_kernel_meets_the_definition(case: str, dtype: torch.dtype) -> None:
    position, lattice, ptr, sigma = inputs(case)

    def sums(backend: Backend, *tensors: Tensor) -> Tensor:
        position, lattice, sigma = tensors
        return reciprocal_log_sum(position, lattice, ptr, sigma, backend=backend)

    tensors = (position, lattice, 1.5 * sigma)
    found = run(functools.partial(sums, "auto"), *tensors, dtype=dtype)
    expected = run(functools.partial(sums, "reference"), *tensors, dtype=torch.float64)
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == dtype
        assert_close(one.double(), other, **TOLERANCES[dtype])


@pytest.mark.parametrize("case", SMALL)
def test_waves_and_images_have_the_same_sum(case: str) -> None:
    position, lattice, ptr, sigma = inputs(case)

    def waves(*tensors: Tensor) -> Tensor:
        return reciprocal_log_sum(*tensors[:2], ptr, tensors[2])

    def images(*tensors: Tensor) -> Tensor:
        return lattice_log_sum(*tensors[:2], ptr, tensors[2])

    tensors = (position, lattice, 1.5 * sigma)
    found = run(waves, *tensors, dtype=torch.float64)
    expected = run(images, *tensors, dtype=torch.float64)
    for one, other in zip(found, expected, strict=True):
        assert_close(one, other, rtol=1e-4, atol=1e-4)  # each leaves a millionth out


def test_between_images_a_narrow_sum_is_a_millionth_without_a_slope() -> None:
    position, lattice, ptr = crystals("long")
    sigma = torch.full((2, 1), 0.4, dtype=torch.float64)
    position[1] = position[0] + lattice[0, 2] / 2
    runs = []
    for backend in BACKENDS:
        leaves = [x.clone().requires_grad_() for x in (position, sigma)]
        alpha = reciprocal_log_sum(leaves[0], lattice, ptr, leaves[1], backend=backend)
        scale = 1.5 * (2 * torch.pi * 0.4**2 * torch.ones(1, dtype=torch.float64)).log()
        assert_close(alpha[1], torch.tensor(1e-6).log() + scale - lattice.det().log())
        runs.append(torch.autograd.grad(alpha[1].sum(), leaves))
        assert not runs[-1][0].any()
    assert_close(runs[0], runs[1])


@pytest.mark.parametrize("case", SMALL)
def test_the_written_gradients_are_those_of_autograd(case: str) -> None:
    position, lattice, ptr, sigma = inputs(case)
    leaves = [x.requires_grad_() for x in (position, lattice, sigma)]
    waves = boxes(ptr, 2, 1, 1)
    total = reference.wave_sum(*leaves[:2], ptr, leaves[2], waves)
    arriving = torch.randn_like(total)
    expected = torch.autograd.grad(total, leaves, arriving, materialize_grads=True)
    found = reference.gradients(arriving, *leaves[:2], ptr, leaves[2], waves)
    for one, other in zip(found, expected, strict=True):
        assert_close(one, other)


@pytest.mark.parametrize("backend", BACKENDS)
def test_first_and_second_derivatives(backend: Backend) -> None:
    position, lattice, ptr = crystals("left-handed", "empty", "one atom")
    sigma = 1.5 * widths(len(position))[:, :2]

    def sums(*tensors: Tensor) -> Tensor:
        position, lattice, sigma = tensors
        return reciprocal_log_sum(position, lattice, ptr, sigma, backend=backend)

    tensors = tuple(x.requires_grad_() for x in (position, lattice, sigma))
    assert gradcheck(sums, tensors, fast_mode=True)
    assert gradgradcheck(sums, tensors, fast_mode=True)


@pytest.mark.usefixtures("threads")
def test_the_bits_are_the_same_for_any_number_of_threads() -> None:
    position, lattice, ptr, sigma = inputs("assorted", torch.float32)

    def sums(*tensors: Tensor) -> Tensor:
        position, lattice, sigma = tensors
        return reciprocal_log_sum(position, lattice, ptr, sigma)

    found = []
    for number in (1, 2, 3, 1):
        torch.set_num_threads(number)
        found.append(run(sums, position, lattice, sigma, dtype=torch.float32))
    for other in found[1:]:
        for one, known in zip(other, found[0], strict=True):
            assert torch.equal(one, known)


def test_the_operators_are_sound() -> None:
    position, lattice, ptr, sigma = inputs("two atoms at one place")
    leaves = [x.requires_grad_() for x in (position, lattice, sigma)]
    waves = boxes(ptr, 1, 1, 1).contiguous()
    opcheck(torch.ops.graphattn.wave_sum.default, (*leaves[:2], ptr, leaves[2], waves, 4))
    plain = (position.detach(), lattice.detach(), ptr, sigma.detach(), waves)
    arriving = torch.randn(4, HEADS, dtype=torch.float64)
    for want in (False, True):
        opcheck(torch.ops.graphattn.wave_sum_backward.default, (arriving, *plain, want))
    opcheck(torch.ops.graphattn.lattice_waves.default, (plain[1], ptr, plain[3]))


def test_without_a_compiler_it_is_right(monkeypatch: pytest.MonkeyPatch) -> None:
    position, lattice, ptr, sigma = inputs("two atoms at one place")

    def sums(position: Tensor, sigma: Tensor) -> Tensor:
        return reciprocal_log_sum(position, lattice, ptr, sigma)

    expected = run(sums, position, sigma, dtype=torch.float64)
    without_compiler(monkeypatch)
    for one, other in zip(run(sums, position, sigma, dtype=torch.float64), expected, strict=True):
        assert_close(one, other)
