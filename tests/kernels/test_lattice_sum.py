"""Sums over lattices: official results, the definition, derivatives, symmetries, bits."""

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest
import torch
from crystal_runs import (
    HEADS,
    SPACING,
    TOLERANCES,
    Official,
    boxes,
    inputs,
    run,
    turned,
    weights,
    widths,
)
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck
from torch.testing import assert_close

from graphattn.blocks import Blocks
from graphattn.kernels.lattice_sum import lattice_log_sum, lattice_sum, reference
from graphattn.kernels.lattice_sum.cases import SMALL, crystals

Backend = Literal["auto", "reference"]
BACKENDS: tuple[Backend, ...] = ("auto", "reference")
OFFICIAL = (
    "attn_00_real_nope",
    "attn_01_real_dist",
    "attn_02_real_dist_frozen",
    "attn_09_real_exclself_unheaded",
    "attn_17_real_dist_r4_w05",
    "attn_24_real_batch6_frozen",
)


@pytest.fixture
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("dtype", TOLERANCES, ids=str)
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("case", OFFICIAL)
def test_sums_are_the_official_ones(
    case: str, backend: Backend, dtype: torch.dtype, golden_folder: Path
) -> None:
    official = Official.load(golden_folder / "crystalformer" / f"{case}.npz", dtype)
    position, lattice, ptr = official.structure()
    sigma = official.lattice["scale_real"] * official.shape().rsqrt()
    limit = official.lattice["lattice_range"]
    form = {
        "images": boxes(ptr, limit, limit, limit),
        "exclude_self": official.lattice["exclude_self"],
        "backend": backend,
    }
    if "out.psi" in official.arrays:
        weight, spacing, width = official.basis()
        alpha, beta = lattice_sum(
            position, lattice, ptr, sigma, weight, spacing=spacing, width=width, **form
        )
        assert_close(beta.double(), official.tensor("out.psi"), **TOLERANCES[dtype])
    else:
        alpha = lattice_log_sum(position, lattice, ptr, sigma, **form)
    assert_close(alpha.double(), official.tensor("out.bias"), **TOLERANCES[dtype])
    query, key = official.tensor("out.edges")
    blocks = Blocks.from_ptr(ptr)
    assert torch.equal(blocks.target, query)
    assert torch.equal(blocks.source, key)


@pytest.mark.parametrize("exclude_self", [False, True])
@pytest.mark.parametrize("dtype", TOLERANCES, ids=str)
@pytest.mark.parametrize("case", SMALL)
def test_the_kernel_meets_the_definition(case: str, dtype: torch.dtype, exclude_self: bool) -> None:
    position, lattice, ptr, sigma = inputs(case)

    def sums(backend: Backend, *tensors: Tensor) -> tuple[Tensor, Tensor]:
        position, lattice, sigma, weight = tensors
        form = {"spacing": SPACING, "width": 1.1, "exclude_self": exclude_self}
        return lattice_sum(position, lattice, ptr, sigma, weight, backend=backend, **form)

    tensors = (position, lattice, sigma, weights())
    found = run(functools.partial(sums, "auto"), *tensors, dtype=dtype)
    expected = run(functools.partial(sums, "reference"), *tensors, dtype=torch.float64)
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == dtype
        assert_close(one.double(), other, **TOLERANCES[dtype])


@pytest.mark.parametrize("wanted", ["sigma", "weight", "position", "lattice"])
def test_single_gradients_are_those_that_are_asked_for_together(wanted: str) -> None:
    position, lattice, ptr, sigma = inputs("assorted")
    tensors = {"position": position, "lattice": lattice, "sigma": sigma, "weight": weights()}
    images = boxes(ptr, 2, 2, 2)

    def gradients(*names: str) -> tuple[Tensor, ...]:
        given = {n: x.detach().requires_grad_(n in names) for n, x in tensors.items()}
        alpha, beta = lattice_sum(ptr=ptr, spacing=SPACING, images=images, **given)
        total = alpha.sin().sum() + beta.square().sum()
        return torch.autograd.grad(total, [given[name] for name in names])

    together = dict(zip(tensors, gradients(*tensors), strict=True))
    assert_close(gradients(wanted)[0], together[wanted], rtol=0, atol=0)


@pytest.mark.parametrize("case", SMALL)
def test_the_written_gradients_are_those_of_autograd(case: str) -> None:
    position, lattice, ptr, sigma = inputs(case)
    leaves = [x.requires_grad_() for x in (position, lattice, sigma, weights())]
    rest = (boxes(ptr, 2, 1, 1), SPACING, 1.1, False)
    results = reference.lattice_sum(*leaves[:2], ptr, *leaves[2:], *rest)
    arriving = [torch.randn_like(x) for x in results]
    expected = torch.autograd.grad(results, leaves, arriving, materialize_grads=True)
    found = reference.gradients(*arriving, *leaves[:2], ptr, *leaves[2:], *rest)
    for one, other in zip(found, expected, strict=True):
        assert_close(one, other)


@pytest.mark.parametrize("backend", BACKENDS)
def test_first_and_second_derivatives(backend: Backend) -> None:
    position, lattice, ptr = crystals("left-handed", "empty", "one atom")
    sigma, weight = widths(len(position))[:, :1], weights()[:1]

    def sums(*tensors: Tensor) -> tuple[Tensor, Tensor]:
        position, lattice, sigma, weight = tensors
        return lattice_sum(position, lattice, ptr, sigma, weight, spacing=SPACING, backend=backend)

    tensors = tuple(x.requires_grad_() for x in (position, lattice, sigma, weight))
    assert gradcheck(sums, tensors, fast_mode=True)
    assert gradgradcheck(sums, tensors, fast_mode=True)


def test_at_distance_zero_forces_are_zero() -> None:
    position, lattice, ptr, sigma = inputs("two atoms at one place")

    def first(backend: Backend) -> Tensor:
        leaf = position.clone().requires_grad_()
        alpha, beta = lattice_sum(
            leaf, lattice, ptr, sigma, weights(), spacing=SPACING, backend=backend,
            images=boxes(ptr, 0, 0, 0),
        )  # fmt: skip
        assert_close(alpha, torch.zeros_like(alpha))
        return torch.autograd.grad(alpha.sum() + beta.sum(), leaf)[0]

    for backend in BACKENDS:
        assert torch.equal(first(backend), torch.zeros(2, 3, dtype=torch.float64))


def test_moving_atoms_by_whole_cells_and_choosing_another_cell_change_nothing() -> None:
    position, lattice, ptr, sigma = inputs("assorted")
    weight = weights()
    expected = lattice_sum(position, lattice, ptr, sigma, weight, spacing=SPACING)
    steps = torch.randint(-3, 4, (len(position), 1, 3), dtype=torch.float64)
    owner = torch.arange(len(ptr) - 1).repeat_interleave(ptr.diff())
    away = position + (steps @ lattice[owner]).squeeze(1)
    other = torch.tensor([[1.0, 1, 0], [0, 1, 0], [-1, 0, 1]], dtype=torch.float64) @ lattice
    for found in (
        lattice_sum(away, lattice, ptr, sigma, weight, spacing=SPACING),
        lattice_sum(position, other, ptr, sigma, weight, spacing=SPACING),
        lattice_sum(position @ turned(), lattice @ turned(), ptr, sigma, weight, spacing=SPACING),
    ):
        for one, known in zip(found, expected, strict=True):
            assert_close(one, known, rtol=0, atol=1e-5)  # what is left out, a millionth, differs


def test_a_cell_taken_twice_has_the_same_sum() -> None:
    position, lattice, ptr, sigma = inputs("a skewed cell")
    twice = lattice * torch.tensor([2.0, 1, 1]).view(1, 3, 1)
    both = torch.cat([position, position + lattice[0, 0]])
    found = lattice_log_sum(both, twice, 2 * ptr, sigma.repeat(2, 1))
    found = found.view(2, 3, 2, 3, HEADS)[0].logsumexp(1)
    assert_close(
        found.flatten(0, 1), lattice_log_sum(position, lattice, ptr, sigma), atol=2e-6, rtol=0
    )


@pytest.mark.usefixtures("threads")
def test_the_bits_are_the_same_for_any_number_of_threads() -> None:
    position, lattice, ptr, sigma = inputs("assorted", torch.float32)
    tensors = (position, lattice, sigma, weights())

    def sums(*tensors: Tensor) -> tuple[Tensor, Tensor]:
        position, lattice, sigma, weight = tensors
        return lattice_sum(position, lattice, ptr, sigma, weight, spacing=SPACING)

    found = []
    for number in (1, 2, 3, 1):
        torch.set_num_threads(number)
        found.append(run(sums, *tensors, dtype=torch.float32))
    for other in found[1:]:
        for one, known in zip(other, found[0], strict=True):
            assert torch.equal(one, known)


@pytest.mark.parametrize("spoilt", ["position", "lattice", "sigma", "weight"])
def test_nan_stays_in_its_crystal(spoilt: str) -> None:
    position, lattice, ptr = crystals("left-handed", "skewed")
    tensors = {"position": position, "lattice": lattice, "sigma": widths(len(position))}
    tensors["weight"] = weights()
    tensors[spoilt][0, 0] = torch.nan
    found = lattice_sum(ptr=ptr, spacing=SPACING, images=boxes(ptr, 1, 1, 1), **tensors)
    expected = lattice_sum(
        ptr=ptr, spacing=SPACING, images=boxes(ptr, 1, 1, 1), backend="reference", **tensors
    )
    for one, known in zip(found, expected, strict=True):
        assert one.isnan().any() == known.isnan().any()
        assert_close(one, known, equal_nan=True)
    assert found[1][:4].isnan().any()
    assert spoilt == "weight" or not any(x[4:].isnan().any() for x in found)


def test_other_types_and_layouts_give_the_same() -> None:
    position, lattice, ptr, sigma = inputs("a skewed cell", torch.float32)
    weight = weights(torch.float32)
    expected = lattice_sum(position, lattice, ptr, sigma, weight, spacing=SPACING)
    spread = (torch.stack([x, x], -1)[..., 0] for x in (position, lattice))
    ends = torch.stack([ptr, ptr], -1)[:, 0]
    found = lattice_sum(*spread, ends, sigma.T.contiguous().T, weight, spacing=SPACING)
    assert all(torch.equal(one, known) for one, known in zip(found, expected, strict=True))
    with torch.autocast("cpu", torch.bfloat16):
        rounded = lattice_sum(position, lattice, ptr, sigma, weight, spacing=SPACING)
    assert all(torch.equal(one, known) for one, known in zip(rounded, expected, strict=True))
    half = lattice_log_sum(position, lattice, ptr, sigma.bfloat16())
    assert half.dtype == torch.float32
    assert torch.equal(half, lattice_log_sum(position, lattice, ptr, sigma.bfloat16().float()))
    assert lattice_log_sum(position, lattice, ptr, sigma.double()).dtype == torch.float64


def test_many_heads_and_functions_of_one_call() -> None:
    position, lattice, ptr = crystals("left-handed", "skewed")
    sigma = 1 + torch.rand(len(position), 19, dtype=torch.float64)

    def sums(backend: Backend, *tensors: Tensor) -> tuple[Tensor, Tensor]:
        sigma, weight = tensors
        return lattice_sum(
            position, lattice, ptr, sigma, weight, spacing=0.2, backend=backend, num_pairs=13
        )

    tensors = sigma, torch.randn(19, 3, 64, dtype=torch.float64)
    found = run(functools.partial(sums, "auto"), *tensors, dtype=torch.float32)
    expected = run(functools.partial(sums, "reference"), *tensors, dtype=torch.float64)
    for one, other in zip(found, expected, strict=True):
        assert_close(one.double(), other, **TOLERANCES[torch.float32])
