"""Operators inside ``torch.func`` and forward-mode differentiation: as right as outside of them."""

from collections.abc import Callable

import pytest
import torch
from crystal_runs import HEADS, SPACING, inputs
from torch import Tensor
from torch.autograd import forward_ad
from torch.testing import assert_close

from graphattn.kernels.entmax.op import entmax
from graphattn.kernels.lattice_sum import lattice_sum
from graphattn.kernels.reciprocal_sum import reciprocal_log_sum
from graphattn.kernels.segment_reduce.op import segment_expand, segment_reduce
from graphattn.kernels.segment_softmax import segment_softmax

PTR, ORDER = torch.tensor([0, 3, 3, 7]), torch.tensor([4, 0, 6, 2, 1, 5, 3])
ALPHA = torch.tensor([1.3, 1.5, 2.6], dtype=torch.float64)
PLACE, LATTICE, ATOMS, _ = inputs("two atoms at one place")
SIGMA = torch.linspace(0.7, 1.5, 2 * HEADS, dtype=torch.float64).reshape(2, HEADS)
RADIAL = torch.arange(HEADS * 10, dtype=torch.float64).sin().reshape(HEADS, 2, 5)  # (H, C, K)
Run = Callable[[Tensor], Tensor]


def _lattice_sums(place: Tensor, sigma: Tensor) -> Tensor:
    """All sums over images and waves, for atoms at these places, ``(2, 3)``."""
    alpha, beta = lattice_sum(place, LATTICE, ATOMS, sigma, RADIAL, spacing=SPACING)
    waves = reciprocal_log_sum(place, LATTICE, ATOMS, sigma)
    return torch.cat([alpha, waves, beta.flatten(1)], 1)


RUNS: dict[str, tuple[Run, tuple[int, ...]]] = {
    "sum": (lambda x: segment_reduce(x, PTR, "sum"), (7, 3)),
    "mean": (lambda x: segment_reduce(x, PTR, "mean"), (7, 3)),
    "min": (lambda x: segment_reduce(x, PTR, "min"), (7, 3)),
    "max": (lambda x: segment_reduce(x, PTR, "max"), (7, 3)),
    "expand": (lambda x: segment_expand(x, PTR, 7), (3, 3)),
    "softmax": (lambda x: segment_softmax(x, PTR), (7, 3)),
    "entmax": (lambda x: entmax(x, PTR, ORDER, ALPHA), (7, 3)),
    "entmax of alpha": (lambda a: entmax(_logits(), PTR, ORDER, a.exp() + 1), (3,)),
    "lattice sums of places": (lambda x: _lattice_sums(x, SIGMA), (2, 3)),
    "lattice sums of widths": (lambda x: _lattice_sums(PLACE, x.square() + 0.8), (2, HEADS)),
}


def _logits() -> Tensor:
    return torch.linspace(-1, 1, 21, dtype=torch.float64).sin().reshape(7, 3)


@pytest.fixture(params=RUNS)
def case(request: pytest.FixtureRequest) -> tuple[Run, Tensor]:
    run, shape = RUNS[request.param]
    return run, torch.randn(*shape, dtype=torch.float64)


def cubes(run: Run) -> Run:
    return lambda x: run(x).pow(3).sum()


def test_first_derivatives_are_those_outside(case: tuple[Run, Tensor]) -> None:
    run, x = case
    expected = torch.autograd.functional.jacobian(run, x)
    assert expected.any()
    assert_close(torch.func.jacfwd(run)(x), expected)
    assert_close(torch.func.jacrev(run)(x), expected)
    assert_close(torch.autograd.functional.jacobian(run, x, vectorize=True), expected)
    direction = torch.randn_like(x)
    with forward_ad.dual_level():
        found = forward_ad.unpack_dual(run(forward_ad.make_dual(x, direction))).tangent
    assert_close(found, (expected * direction).flatten(-x.ndim).sum(-1))


def test_second_derivatives_are_those_outside(case: tuple[Run, Tensor]) -> None:
    run, x = cubes(case[0]), case[1]
    expected = torch.autograd.functional.hessian(run, x)
    assert_close(torch.func.hessian(run)(x), expected)
    assert_close(torch.func.jacrev(torch.func.jacfwd(run))(x), expected)


def test_maps_are_those_of_each_entry(case: tuple[Run, Tensor]) -> None:
    run, x = case
    entries = torch.stack([x, 0.9 * x])
    assert_close(torch.vmap(run)(entries), torch.stack([run(x), run(0.9 * x)]))
    found = torch.vmap(torch.func.grad(cubes(run)))(entries)
    assert_close(found[1], torch.func.grad(cubes(run))(0.9 * x))


def test_a_backward_pass_can_be_differentiated_forwards(case: tuple[Run, Tensor]) -> None:
    run, x = case
    x.requires_grad_()
    result = run(x)
    arriving, direction = torch.randn_like(result), torch.randn_like(result)
    (expected,) = torch.autograd.grad(result, x, direction, retain_graph=True)
    with forward_ad.dual_level():  # the backward pass is linear in what arrives
        dual = forward_ad.make_dual(arriving, direction)
        (found,) = torch.autograd.grad(result, x, dual, retain_graph=True)
        assert_close(forward_ad.unpack_dual(found).tangent, expected)


def test_derivatives_that_entmax_does_not_have_are_refused() -> None:
    run = cubes(RUNS["entmax"][0])
    with pytest.raises(NotImplementedError, match="cannot be differentiated forwards twice"):
        torch.func.jacfwd(torch.func.jacfwd(run))(_logits())


def test_what_is_wrong_with_one_crystal_of_a_map_is_said() -> None:
    run = RUNS["lattice sums of places"][0]
    entries = torch.zeros(2, 2, 3, dtype=torch.float64)
    entries[1] = torch.inf
    with pytest.raises(ValueError, match="crystal 0 must have atoms at finite positions"):
        torch.vmap(run)(entries)
    images = torch.ones(1, 3, dtype=torch.int64)
    with pytest.raises(ValueError, match="crystal 0 must have sigma that are positive"):
        torch.vmap(lambda own: reciprocal_log_sum(PLACE, LATTICE, ATOMS, own, waves=images))(
            torch.stack([SIGMA, -SIGMA])
        )
