"""Philox in plain PyTorch: the definition that every backend must meet."""

import torch
from torch import Tensor

ROUNDS = 10
MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
INCREMENTS = (0x9E3779B9, 0xBB67AE85)
_LOW = 0xFFFFFFFF


def philox(seed: int, counter: Tensor) -> Tensor:
    """The first number of Philox-4x32-10, by which a GPU's generators draw too.

    Args:
        seed: The key, from 0 to 2⁶³ − 1.
        counter: Any shape, int64, not negative.

    Returns:
        Of the shape of ``counter``, int64, from 0 to 2³² − 1. Nothing for an empty ``counter``.

    Raises:
        TypeError: If ``counter`` is not int64.
        ValueError: If ``seed`` is out of range.

    Source: Salmon et al., "Parallel Random Numbers: As Easy as 1, 2, 3", SC 2011.
    """
    if counter.dtype != torch.int64:
        raise TypeError(f"counter must be int64, got {counter.dtype}")
    if not 0 <= seed < 1 << 63:
        raise ValueError(f"seed must lie in [0, 2**63), got {seed}")
    keys = (seed & _LOW, seed >> 32)
    x = (counter & _LOW, counter >> 32, torch.zeros_like(counter), torch.zeros_like(counter))
    for _ in range(ROUNDS):
        (high, low), (other_high, other_low) = (
            _product(factor, word) for factor, word in zip(MULTIPLIERS, (x[0], x[2]), strict=True)
        )
        x = (other_high ^ x[1] ^ keys[0], other_low, high ^ x[3] ^ keys[1], low)
        keys = ((keys[0] + INCREMENTS[0]) & _LOW, (keys[1] + INCREMENTS[1]) & _LOW)
    return x[0]


def _product(factor: int, word: Tensor) -> tuple[Tensor, Tensor]:
    """The upper and the lower 32 bits of a product, of which int64 holds all but the sign."""
    upper = (word >> 16) * factor  # at most 48 bits
    lower = (word & 0xFFFF) * factor
    whole = (upper & 0xFFFF) * 65536 + lower
    return ((upper >> 16) + (whole >> 32)) & _LOW, whole & _LOW
