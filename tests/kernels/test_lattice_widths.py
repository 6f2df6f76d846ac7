"""Sums over lattices where Gaussians are narrow, or have no width at all."""

import math
from typing import Any, Literal

import pytest
import torch
from crystal_runs import SPACING, boxes, weights
from torch import Tensor
from torch.testing import assert_close

from graphattn.kernels.lattice_sum import lattice_sum
from graphattn.kernels.lattice_sum.cases import crystals
from graphattn.kernels.reciprocal_sum import reciprocal_log_sum

Backend = Literal["auto", "reference"]
BACKENDS: tuple[Backend, ...] = ("auto", "reference")


@pytest.mark.parametrize("width", [0.3, 1 / 16])
@pytest.mark.parametrize("backend", BACKENDS)
def test_narrow_gaussians_have_the_digits_of_float32_left(backend: Backend, width: float) -> None:
    # Of few binary digits, so that float32 rounds none of the distances.
    lattice = torch.tensor([[[4.0, 0, 0], [1.5, 3.75, 0], [-1.25, 0.5, 3.5]]])
    position = torch.tensor([[0.25, 0.5, 0.125], [1.75, 2.25, 1.5], [2.5, 0.75, 2.875]])
    ptr, weight, sigma = torch.tensor([0, 3]), weights(torch.float32), torch.full((3, 3), width)
    arriving = torch.randn(9, 3, 2)

    def gradients(dtype: torch.dtype) -> tuple[Tensor, ...]:
        leaves = [x.to(dtype).requires_grad_() for x in (sigma, weight)]
        _, beta = lattice_sum(
            *(position.to(dtype), lattice.to(dtype), ptr, *leaves),
            spacing=SPACING,
            images=boxes(ptr, 1, 1, 1),
            backend=backend,
        )
        return torch.autograd.grad(beta, leaves, arriving.to(dtype))

    # Of beta alone, whose mean hardly changes with sigma where one image is all that counts.
    found, expected = gradients(torch.float32), gradients(torch.float64)
    for one, known in zip(found, expected, strict=True):
        assert_close(one.double(), known, rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("value", [0.0, -1.0, math.inf])
def test_widths_that_are_none_are_refused_with_given_images(backend: Backend, value: float) -> None:
    position, lattice, ptr = crystals("one atom", "empty", "left-handed")
    sigma = torch.ones(3, 2, dtype=torch.float64)
    sigma[1, 1] = value
    given: dict[str, Any] = {"position": position, "lattice": lattice, "ptr": ptr, "sigma": sigma}
    message = "crystal 2 must have sigma that are positive and finite"
    weight, images = weights()[:2], boxes(ptr, 1, 1, 1)
    with pytest.raises(ValueError, match=message):
        lattice_sum(**given, weight=weight, spacing=SPACING, images=images, backend=backend)
    with pytest.raises(ValueError, match=message):
        reciprocal_log_sum(**given, waves=images, backend=backend)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("rows", [[2], [1, 2], [0, 1, 2]], ids=str)
def test_flat_cells_are_refused_with_given_images(backend: Backend, rows: list[int]) -> None:
    position, lattice, ptr = crystals("one atom", "empty", "left-handed")
    lattice[2, rows] = 0
    given: dict[str, Any] = {"position": position, "lattice": lattice, "ptr": ptr}
    given |= {"sigma": torch.ones(3, 2, dtype=torch.float64), "backend": backend}
    message = "crystal 2 must have a cell with a volume"
    weight, images = weights()[:2], boxes(ptr, 1, 1, 1)
    with pytest.raises(ValueError, match=message):
        lattice_sum(**given, weight=weight, spacing=SPACING, images=images)
    with pytest.raises(ValueError, match=message):
        reciprocal_log_sum(**given, waves=images)
