"""Sets with labels, as data sets of sets give them."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class LabelledSets:
    """Sets of unequal size, one label a set: instances in bags, points of objects.

    Attributes:
        x: Elements of all sets one after another, ``(N, F)`` float32; of points, coordinates come
            first and what else is told of them after.
        ptr: Elements of set ``s`` stand at ``ptr[s]:ptr[s + 1]``, ``(S + 1,)`` int64.
        y: Labels, ``(S,)`` int64.
    """

    x: Tensor
    ptr: Tensor
    y: Tensor

    @classmethod
    def joined(cls, elements: Sequence[Tensor], y: Tensor) -> "LabelledSets":
        """Puts sets one after another.

        Args:
            elements: Elements of each set, ``(n, F)`` float32; at least one set, which may be
                empty.
            y: Label of each set, ``(S,)`` int64.

        Raises:
            ValueError: If there is no set, or not one label for each.
        """
        if not elements or y.shape != (len(elements),):
            found = f"{len(elements)} and {tuple(y.shape)}"
            raise ValueError(f"there must be sets and one label for each, got {found}")
        sizes = torch.tensor([0, *map(len, elements)])
        return cls(torch.cat(list(elements)), sizes.cumsum(0), y)

    def split(self) -> tuple[Tensor, ...]:
        """The elements of each set, ``(n, F)``, as views of ``x``."""
        return self.x.split(self.ptr.diff().tolist())
