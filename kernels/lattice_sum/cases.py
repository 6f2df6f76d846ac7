"""Crystals that sums over lattices are tested on, named for what is hard about them."""

import torch
from torch import Tensor

# Lattice vectors in Å and fractional coordinates.
_CELLS: dict[str, tuple[list[list[float]], list[list[float]]]] = {
    "empty": ([[3, 0, 0], [0, 3, 0], [0, 0, 3]], []),
    "one atom": ([[0, 2.03, 2.03], [2.03, 0, 2.03], [2.03, 2.03, 0]], [[0.2, 0.3, 0.4]]),
    "one place": ([[4, 0, 0], [0, 4, 0], [0, 0, 5]], [[0.1, 0.2, 0.3], [0.1, 0.2, 0.3]]),
    "left-handed": ([[3.2, 0, 0], [0, 0, 5.1], [0, 3.9, 0]], [[0, 0, 0], [0.6, 0.5, 0.4]]),
    "skewed": (
        [[4.1, 0, 0], [2.9, 3.8, 0], [-2.4, 3.1, 3.3]],
        [[0.05, 0.9, 0.4], [0.7, 0.1, 0.95], [0.5, 0.5, 0.5]],
    ),
    "long": ([[2.5, 0, 0], [0.4, 2.8, 0], [0, 0, 14]], [[0, 0, 0.02], [0.5, 0.5, 0.97]]),
    "far outside": ([[3.3, 0.2, 0], [0, 3.6, 0], [0, 0.3, 4.4]], [[7.1, -5.2, 0.3], [0, 3.5, -9]]),
}

SMALL: dict[str, tuple[str, ...]] = {
    "no crystals": (),
    "empty crystals": ("empty", "empty"),
    "one atom": ("one atom",),
    "two atoms at one place": ("one place",),
    "a skewed cell": ("skewed",),
    "assorted": ("empty", "left-handed", "skewed", "empty", "one atom", "long", "empty"),
}


def crystals(*names: str, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor]:
    """Positions, ``(N, 3)``, lattices, ``(S, 3, 3)``, both in Å, and ``ptr``, ``(S + 1,)``."""
    positions, lattices, sizes = [torch.zeros(0, 3)], [torch.zeros(0, 3, 3)], [0]
    for name in names:
        rows, places = _CELLS[name]
        lattice = torch.tensor(rows, dtype=torch.float64)
        positions.append(torch.tensor(places, dtype=torch.float64).view(-1, 3) @ lattice)
        lattices.append(lattice.unsqueeze(0))
        sizes.append(len(places))
    return (
        torch.cat(positions).to(dtype),
        torch.cat(lattices).to(dtype),
        torch.tensor(sizes).cumsum(0),
    )
