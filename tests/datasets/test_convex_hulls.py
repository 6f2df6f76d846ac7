"""Generated hulls: held against the definition of a hull; measures of polygons, against counts."""

import itertools
import math

import pytest
import torch
from scipy.spatial import ConvexHull
from torch import Tensor

from graphattn.datasets.convex_hulls import convex_hulls, from_lowest, is_simple, polygon_area

SQUARE = [(0, 0), (1, 0), (1, 1), (0, 1)]
ARROW = [(0, 0), (4, 0), (4, 3), (2, 1)]  # the last corner turns inwards
STAR = [(math.sin(angle), math.cos(angle)) for angle in (0.8 * math.pi * k for k in range(5))]
POLYGONS = {
    "square": (SQUARE, True),
    "corner that turns inwards": (ARROW, True),
    "corner on a straight line": ([(0, 0), (1, 0), (2, 0), (1, 1)], True),
    "comb whose teeth end on one line": (
        [(0, 0), (5, 0), (5, 2), (4, 2), (3, 1), (2, 2), (1, 2)],
        True,
    ),
    "bow tie": ([(0, 0), (1, 1), (1, 0), (0, 1)], False),
    "star": (STAR, False),
    "corner on another edge": ([(0, 0), (2, 0), (2, 2), (1, 0), (0, 2)], False),
    "corner that comes twice": ([(0, 0), (1, 0), (2, 1), (1, 0), (0, 1)], False),
    "corner twice in a row": ([(0, 0), (1, 0), (1, 0), (0, 1)], False),
    "edge that runs back": ([(0, 0), (2, 0), (1, 0), (1, 2)], False),
    "three points on a line": ([(0, 0), (1, 1), (3, 3)], False),
    "one place three times": ([(1, 1), (1, 1), (1, 1)], False),
    "two corners": ([(0, 0), (1, 1)], False),
    "one corner": ([(0, 0)], False),
}


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def circle(count: int) -> Tensor:
    angle = torch.rand(count, dtype=torch.float64, generator=seeded()).sort().values * 2 * math.pi
    return torch.stack([angle.cos(), angle.sin()], dim=1)


@pytest.mark.parametrize("num_points", [3, 5, 10])
def test_all_other_points_lie_left_of_the_edges_of_a_hull(num_points: int) -> None:
    data = convex_hulls(50, num_points, generator=seeded())
    assert data.corners.dtype == data.ptr.dtype == torch.int64
    hulls = data.corners.split(data.ptr.diff().tolist())
    for own, corners in zip(data.points.double(), hulls, strict=True):
        assert len(corners) >= 3
        assert len(corners.unique()) == len(corners)
        assert corners[0] == corners.min()
        for start, end in zip(corners.tolist(), corners.roll(-1).tolist(), strict=True):
            edge, others = own[end] - own[start], own - own[start]
            left = edge[0] * others[:, 1] - edge[1] * others[:, 0] > 0
            assert left.sum() == num_points - 2


def test_points_fill_the_unit_square_evenly() -> None:
    points = convex_hulls(2000, 5, generator=seeded()).points
    assert points.shape == (2000, 5, 2)
    assert points.dtype == torch.float32
    # 10,000 draws in each direction: the error of a share is 0.004.
    shares = torch.histc(points[..., 1], 4, 0, 1) / 10_000
    assert (shares - 0.25).abs().max() < 0.02
    assert abs(float(points[..., 0].mean()) - 0.5) < 0.01


def test_hulls_have_as_many_corners_as_is_known_for_four_points() -> None:
    # Sylvester's problem: of four points in a square, one lies inside with a chance of 11/36.
    sizes = convex_hulls(4000, 4, generator=seeded()).ptr.diff()
    assert abs(float((sizes == 3).float().mean()) - 11 / 36) < 0.025


def test_a_generator_fixes_the_draws() -> None:
    one, same, other = (convex_hulls(5, 6, generator=seeded(seed)) for seed in (1, 1, 2))
    assert torch.equal(one.points, same.points)
    assert torch.equal(one.corners, same.corners)
    assert not torch.equal(one.points, other.points)


def test_no_sets_are_empty_tensors() -> None:
    data = convex_hulls(0, 5)
    assert data.points.shape == (0, 5, 2)
    assert data.corners.shape == (0,)
    assert data.corners.dtype == torch.int64
    assert data.ptr.tolist() == [0]


def test_a_polygon_is_told_from_its_lowest_corner_on() -> None:
    assert from_lowest(torch.tensor([4, 2, 0, 3])).tolist() == [0, 3, 4, 2]
    assert from_lowest(torch.tensor([0, 3, 4, 2])).tolist() == [0, 3, 4, 2]
    assert from_lowest(torch.tensor([2, 4, 3, 0])).tolist() == [0, 2, 4, 3]  # the other direction
    assert from_lowest(torch.tensor([], dtype=torch.int64)).tolist() == []


def test_areas_are_those_of_scipy_in_either_direction() -> None:
    data = convex_hulls(20, 8, generator=seeded())
    for own, corners in zip(data.points, data.corners.split(data.ptr.diff().tolist()), strict=True):
        expected = ConvexHull(own.double().numpy()).volume  # in the plane, that is the area
        for order in (corners, corners.flip(0)):
            assert abs(float(polygon_area(own[order])) - expected) < 1e-6


def test_areas_of_known_polygons() -> None:
    assert polygon_area(torch.tensor([SQUARE, ARROW]).float()).tolist() == [1.0, 5.0]
    assert polygon_area(torch.tensor([[0.0, 0.0], [1.0, 1.0]])) == 0
    assert polygon_area(torch.zeros(0, 2)) == 0


@pytest.mark.parametrize("name", POLYGONS)
def test_polygons_that_cross_or_touch_themselves_are_not_simple(name: str) -> None:
    places, expected = POLYGONS[name]
    corners = torch.tensor(places, dtype=torch.float64)
    for shift in range(len(corners)):
        moved = corners.roll(shift, 0)
        both = is_simple(torch.stack([moved, moved.flip(0)]))
        assert both.tolist() == [expected, expected]


@pytest.mark.parametrize(
    ("points", "expected"),
    [
        # A polygon of n corners has 2 n orders. On a circle, only the one around it is simple.
        (circle(3), 6),
        (circle(4), 8),
        (circle(5), 10),
        (circle(6), 12),
        # With the fourth in the triangle of the others, none of the three polygons crosses itself.
        (torch.cat([circle(3), circle(3).mean(0, keepdim=True)]), 24),
    ],
    ids=["triangle", "four on a circle", "five", "six", "one inside"],
)
def test_as_many_orders_are_simple_as_are_known(points: Tensor, expected: int) -> None:
    orders = torch.tensor(list(itertools.permutations(range(len(points)))))
    assert int(is_simple(points[orders]).sum()) == expected


def test_bad_input_is_named() -> None:
    with pytest.raises(ValueError, match="num_sets must be at least 0 and num_points at least 3"):
        convex_hulls(1, 2)
    with pytest.raises(ValueError, match=r"got -1, 5"):
        convex_hulls(-1, 5)
    for measure in (polygon_area, is_simple):
        with pytest.raises(ValueError, match=r"corners must be \(\.\.\., K, 2\) floating point"):
            measure(torch.zeros(4, 3))
        with pytest.raises(ValueError, match=r"got \(4, 2\) torch\.int64"):
            measure(torch.zeros(4, 2, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"corners must be \(K,\), got \(2, 3\)"):
        from_lowest(torch.zeros(2, 3))


def test_areas_far_away_are_those_of_near_ones() -> None:
    square = torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
    assert polygon_area(square + 1e4).item() == 1
