"""How much of a lattice sum a program of Triton looks at together, and its radial functions."""

from typing import NamedTuple

import torch
import triton
from torch import Tensor

_LEAST_LOG = {torch.float32: 22.0, torch.float64: 44.0}
_LEAST = 16  # of what is multiplied as matrices
_MOST_BYTES = 2048  # of a result of that, by a warp


class Tile(NamedTuple):
    """How much a program looks at together, in powers of two, and of how much in all.

    Attributes:
        num_heads: Of the tensors.
        num_basis: Of the tensors: radial functions.
        images: At a time.
        heads: All of them.
        basis: Radial functions at a time.
        pulled: Radial functions at a time that gradients come from.
        least_log: Of a part of a sum that is still seen, below the largest.
        num_warps: That work on it.
    """

    num_heads: int
    num_basis: int
    images: int
    heads: int
    basis: int
    pulled: int
    least_log: float
    num_warps: int

    @classmethod
    def of(cls, dtype: torch.dtype, num_heads: int, num_basis: int) -> "Tile":
        """The tile for so many heads and radial functions."""
        heads = triton.next_power_of_2(num_heads)
        basis = max(_LEAST, min(triton.next_power_of_2(num_basis), 64))
        # The compiler does several parts side by side, which then fill the registers.
        pulled = basis if num_basis <= basis else basis // 2
        num_warps = max(1, min(heads * basis * dtype.itemsize // _MOST_BYTES, 16))
        sizes = (heads, basis, pulled, _LEAST_LOG[dtype], num_warps)
        return cls(num_heads, num_basis, _LEAST, *sizes)


class Radial(NamedTuple):
    """The radial functions.

    Attributes:
        center: The distance at which each is largest, ``(K,)``, in Å.
        width: Of all, ``(1,)``, in Å.
    """

    center: Tensor
    width: Tensor

    @classmethod
    def of(cls, like: Tensor, num_basis: int, spacing: float, width: float) -> "Radial":
        """So many functions, of the type and on the device of a tensor."""
        number = torch.arange(1, num_basis + 1, dtype=like.dtype, device=like.device)
        return cls(spacing * number, like.new_full((1,), width))
