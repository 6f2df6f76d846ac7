"""Generated sets of points in the plane with their convex hulls, and measures of polygons."""

from dataclasses import dataclass

import torch
from scipy.spatial import ConvexHull  # type: ignore[import-untyped]
from torch import Tensor


@dataclass(frozen=True)
class ConvexHulls:
    """Sets of points, and the corners of the hull of each.

    Attributes:
        points: In the unit square, ``(S, N, 2)``, without unit.
        corners: Numbers of points within their set, from 0 to ``N - 1``, ``(M,)`` int64, set after
            set; of each set counter-clockwise from the lowest number on.
        ptr: Corners of set ``s`` stand at ``ptr[s]:ptr[s + 1]``, ``(S + 1,)`` int64.
    """

    points: Tensor
    corners: Tensor
    ptr: Tensor


def convex_hulls(
    num_sets: int, num_points: int, *, generator: torch.Generator | None = None
) -> ConvexHulls:
    """Draw points evenly from the unit square, and find the hulls of the sets.

    Args:
        num_sets: ``S``; none gives empty tensors.
        num_points: ``N``, of every set, at least 3.
        generator: Where random numbers come from; without it, from PyTorch's own.

    Returns:
        The sets, float32, and their hulls.

    Raises:
        ValueError: If ``num_sets`` is negative or ``num_points`` is under 3.

    Source: Vinyals, Fortunato and Jaitly, "Pointer Networks", NeurIPS 2015. They draw points in the
        same way and publish the sets that they drew; these are others.
    """
    if num_sets < 0 or num_points < 3:
        raise ValueError(
            f"num_sets must be at least 0 and num_points at least 3, got {num_sets}, {num_points}"
        )
    points = torch.rand(num_sets, num_points, 2, generator=generator)
    # Of points in the plane, SciPy gives the corners counter-clockwise.
    corners = [
        from_lowest(torch.from_numpy(ConvexHull(own).vertices).long())
        for own in points.double().numpy()
    ]
    sizes = torch.tensor([0, *map(len, corners)])
    return ConvexHulls(points, torch.cat([sizes[:0], *corners]), sizes.cumsum(0))


def from_lowest(corners: Tensor) -> Tensor:
    """The same polygon in the same direction, from the corner of the lowest number on.

    Args:
        corners: Numbers of points, ``(K,)``; none stays none.

    Returns:
        ``(K,)``.

    Raises:
        ValueError: If ``corners`` is no vector.
    """
    if corners.ndim != 1:
        raise ValueError(f"corners must be (K,), got {tuple(corners.shape)}")
    return corners.roll(-int(corners.argmin())) if len(corners) else corners


def polygon_area(corners: Tensor) -> Tensor:
    """Area inside of polygons that do not cross themselves.

    Args:
        corners: Places of the corners in order, ``(..., K, 2)``, in any unit of length.

    Returns:
        ``(...)``, in the square of that unit, of either direction positive; 0 for under three
        corners.

    Raises:
        ValueError: If the shape does not fit.
    """
    _check_corners(corners)
    # From the first corner, lest products of far places cancel.
    apart = corners.double() - corners[..., :1, :].double()
    area = _cross(apart, apart.roll(-1, dims=-2)).sum(-1).abs() / 2
    return area.to(corners.dtype)


def is_simple(corners: Tensor) -> Tensor:
    """Whether polygons neither cross nor touch themselves.

    Args:
        corners: Places of the corners in order, ``(..., K, 2)``.

    Returns:
        ``(...)`` bool; false for under three corners, for corners that come twice, and where an
        edge runs back over the one before it.

    Raises:
        ValueError: If the shape does not fit.
    """
    _check_corners(corners)
    count = corners.shape[-2]
    if count < 3:
        return torch.zeros(corners.shape[:-2], dtype=torch.bool, device=corners.device)
    corners = corners.double()
    ends = corners.roll(-1, dims=-2)
    edges, after = ends - corners, ends.roll(-1, dims=-2) - ends
    runs_back = (_cross(edges, after) == 0) & ((edges * after).sum(-1) <= 0)  # (..., K)
    # Two edges meet if their boxes do and each has no two ends strictly on one side of the other.
    low, high = torch.minimum(corners, ends), torch.maximum(corners, ends)
    overlap = (low.unsqueeze(-2) <= high.unsqueeze(-3)).all(-1)  # (..., K, K)
    side = _cross(edges.unsqueeze(-2), corners.unsqueeze(-3) - corners.unsqueeze(-2))
    parted = side * side.roll(-1, dims=-1) <= 0
    meet = overlap & overlap.mT & parted & parted.mT
    number = torch.arange(count, device=corners.device)
    steps = (number - number.unsqueeze(-1)) % count
    apart = (steps > 1) & (steps < count - 1)  # an edge always meets the ones before and after it
    return ~(runs_back.any(-1) | (meet & apart).flatten(-2).any(-1))


def _cross(first: Tensor, second: Tensor) -> Tensor:
    """Of vectors ``(..., 2)``: positive where the second turns left of the first."""
    return first[..., 0] * second[..., 1] - first[..., 1] * second[..., 0]


def _check_corners(corners: Tensor) -> None:
    if corners.ndim < 2 or corners.shape[-1] != 2 or not corners.is_floating_point():
        got = f"{tuple(corners.shape)} {corners.dtype}"
        raise ValueError(f"corners must be (..., K, 2) floating point, got {got}")
