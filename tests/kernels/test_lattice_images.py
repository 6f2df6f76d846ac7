"""How far sums over lattices reach: what is left out, and what they refuse."""

import math
from typing import Any

import pytest
import torch
from crystal_runs import inputs, widths
from torch import Tensor
from torch.testing import assert_close

from graphattn.kernels.lattice_sum import image_range, lattice_log_sum, lattice_sum
from graphattn.kernels.lattice_sum.cases import SMALL, crystals
from graphattn.kernels.lattice_sum.images import TAIL, reach_of
from graphattn.kernels.reciprocal_sum import reciprocal_log_sum

GOOD: dict[str, Any] = {
    "position": torch.zeros(3, 3),
    "lattice": 3 * torch.eye(3).repeat(2, 1, 1),
    "ptr": torch.tensor([0, 1, 3]),
    "sigma": torch.ones(3, 2),
    "weight": torch.ones(2, 4, 5),
    "spacing": 1.0,
}


def changed(name: str, place: tuple[int, ...], value: float) -> dict[str, Tensor]:
    x = GOOD[name].clone()
    x[place] = value
    return {name: x}


BAD: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "no tensor": ({"position": [0.0]}, TypeError, "position must be a floating-point tensor"),
    "integers": ({"sigma": torch.ones(3, 2).int()}, TypeError, "sigma must be a floating-point"),
    "flat positions": ({"position": torch.zeros(9)}, ValueError, r"position must be \(N, 3\)"),
    "one lattice": ({"lattice": torch.eye(3)}, ValueError, r"lattice must be \(2, 3, 3\)"),
    "no sigma": ({"sigma": torch.ones(2, 2)}, ValueError, r"sigma must be \(N, H\) with N = 3"),
    "no heads": ({"sigma": torch.ones(3, 0)}, ValueError, r"sigma must be \(N, H\)"),
    "three heads": ({"weight": torch.ones(3, 4, 5)}, ValueError, r"weight must be .* with H = 2"),
    "short ptr type": ({"ptr": torch.tensor([0, 1, 3]).int()}, TypeError, "ptr must be an int64"),
    "falling ptr": ({"ptr": torch.tensor([0, 4, 3])}, ValueError, "ptr must rise from 0"),
    "ptr to two": ({"ptr": torch.tensor([0, 1, 2])}, ValueError, "ptr must rise from 0"),
    "no spacing": ({"spacing": 0.0}, ValueError, "spacing and width must be positive"),
    "endless width": ({"width": math.inf}, ValueError, "spacing and width must be positive"),
    "float images": ({"images": torch.ones(2, 3)}, TypeError, "images must be an int64"),
    "one box": ({"images": torch.ones(3).long()}, ValueError, r"images must be \(2, 3\)"),
    "a box of less than nothing": (
        {"images": torch.tensor([[1, 1, 1], [1, -1, 1]])},
        ValueError,
        "crystal 1 must have from 1 to 131072 images",
    ),
    "a huge box": (
        {"images": torch.tensor([[1, 1, 1], [10**6, 10**6, 10**6]])},
        ValueError,
        "crystal 1 must have from 1 to 131072 images",
    ),
    "nothing but itself": (
        {"images": torch.zeros(2, 3).long(), "exclude_self": True},
        ValueError,
        "crystal 0 must have images beyond its own cell",
    ),
    "other pairs": ({"num_pairs": 4}, ValueError, "num_pairs must be 5, got 4"),
    "another backend": ({"backend": "cpp"}, ValueError, "backend must be 'auto' or 'reference'"),
    "a flat cell": (changed("lattice", (1, 2, 2), 0.0), ValueError, "crystal 1 must have a cell"),
    "an atom nowhere": (
        changed("position", (2, 0), math.nan),
        ValueError,
        "crystal 1 must have atoms at finite positions",
    ),
    "no width": (changed("sigma", (0, 1), 0.0), ValueError, "crystal 0 must have sigma that are"),
    "NaN": (changed("sigma", (1, 1), math.nan), ValueError, "crystal 1 must have sigma that are"),
    "endless sigma": (changed("sigma", (1, 1), math.inf), ValueError, "crystal 1 must have sigma"),
    "a wide sigma": (changed("sigma", (2, 0), 40.0), ValueError, "crystal 1 must have from 1 to"),
}


@pytest.mark.parametrize("backend", ["auto", "reference"])
@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_refused_by_name(case: str, backend: str) -> None:
    given, error, message = BAD[case]
    with pytest.raises(error, match=message):
        lattice_sum(**{"backend": backend, **GOOD, **given})


def test_the_operators_themselves_read_nothing_out_of_bounds() -> None:
    position, lattice, ptr, sigma, weight, spacing = GOOD.values()
    images, form = torch.ones(2, 3, dtype=torch.int64), (spacing, spacing, False)
    run, backward = torch.ops.graphattn.lattice_sum, torch.ops.graphattn.lattice_sum_backward
    with pytest.raises(ValueError, match="weight must be"):
        run(position, lattice, ptr, sigma, weight[:1], images, 5, *form)
    with pytest.raises(TypeError, match="all must be float32, or all float64"):
        run(position.half(), lattice, ptr, sigma, weight, images, 5, *form)
    with pytest.raises(ValueError, match="num_pairs must be 5"):
        run(position, lattice, ptr, sigma, weight, images, 6, *form)
    alpha, beta = run(position, lattice, ptr, sigma, weight, images, 5, *form)
    inputs = (position, lattice, ptr, sigma, weight, images, *form, True, True)
    with pytest.raises(ValueError, match="a result and its gradient must be"):
        backward(alpha, beta[:, :1], alpha, beta, *inputs)
    with pytest.raises(ValueError, match="ptr must rise from 0"):
        backward(alpha, beta, alpha, beta, *inputs[:2], ptr + 1, *inputs[3:])


@pytest.mark.parametrize("exclude_self", [False, True])
@pytest.mark.parametrize("case", SMALL)
@pytest.mark.parametrize("scale", [0.3, 1.0, 2.5])
def test_less_than_a_millionth_of_a_sum_is_left_out(
    case: str, scale: float, exclude_self: bool
) -> None:
    position, lattice, ptr, sigma = inputs(case)
    images = image_range(position, lattice, ptr, scale * sigma, exclude_self=exclude_self)
    sums = (
        lattice_log_sum(
            position, lattice, ptr, scale * sigma, images=box, exclude_self=exclude_self
        )
        for box in (images, images + 3)
    )
    less, all_of_it = sums
    missing = -torch.expm1(less - all_of_it)
    assert bool((missing <= TAIL).all())
    assert bool((missing >= -1e-12).all())


def test_a_sum_does_not_reach_much_farther_than_it_must() -> None:
    # Of a cubic cell, what lies outside of the box is known: the sums of three directions multiply.
    position, lattice = torch.zeros(1, 3), 0.5 * torch.eye(3).unsqueeze(0)
    ptr, sigma = torch.tensor([0, 1]), torch.full((1, 1), 1.4, dtype=torch.float64)
    (limit,) = {int(n) for n in image_range(position, lattice, ptr, sigma)[0]}
    line = torch.exp(-((0.5 * torch.arange(-99.0, 100.0).double()) ** 2) / (2 * 1.4**2))
    missing = [
        1 - (line[99 - n : 100 + n].sum() / line.sum()) ** 3 for n in (limit, 3 * limit // 4)
    ]
    assert missing[0] < TAIL < missing[1]


def test_reach_meets_the_bound_it_is_the_root_of() -> None:
    nearest = torch.tensor([0.0, 0.5, 3.0, 20.0], dtype=torch.float64)
    reach = reach_of(nearest, TAIL)
    bound = (math.e * reach**2 / 3) ** 1.5 * torch.exp((nearest**2 - reach**2) / 2)
    assert_close(bound, torch.full_like(bound, TAIL), rtol=1e-6, atol=0)


def test_positions_far_from_one_another_need_more_images() -> None:
    position, lattice, ptr = crystals("left-handed")
    sigma = widths(2)
    near = image_range(position, lattice, ptr, sigma)
    position[1] += 4 * lattice[0, 0]
    far = image_range(position, lattice, ptr, sigma)
    assert (far - near)[0, 0] >= 3
    assert torch.equal((far - near)[0, 1:], torch.zeros(2).long())


def test_waves_are_refused_as_images_are() -> None:
    good = {name: GOOD[name] for name in ("position", "lattice", "ptr", "sigma")}
    for name in ("flat positions", "falling ptr", "a flat cell", "no width", "endless sigma"):
        given, error, message = BAD[name]
        with pytest.raises(error, match=message):
            reciprocal_log_sum(**{**good, **given})
    with pytest.raises(ValueError, match="crystal 1 must have from 1 to"):
        reciprocal_log_sum(**{**good, **changed("sigma", (2, 0), 0.01)})
    waves = torch.ones(2, 3, dtype=torch.int64)
    with pytest.raises(ValueError, match="num_pairs must be 5"):
        reciprocal_log_sum(**good, waves=waves, num_pairs=7)
    tensors = (good["position"], good["lattice"], good["ptr"], good["sigma"], waves)
    with pytest.raises(ValueError, match="a result and its gradient must be"):
        torch.ops.graphattn.wave_sum_backward(torch.zeros(5, 3), *tensors, True)
