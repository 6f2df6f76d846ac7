"""What the tests of operations on segments share: cuts that are hard in one way each."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from graphattn.kernels.cpp import fallback, segment_walk

LONG = 40  # rows of a block, in place of thousands
CUTS = {
    "nothing": [0],
    "empty segments alone": [0, 0, 0],
    "one row": [0, 1],
    "empty first and last": [0, 0, 3, 3, 7, 20, 20],
    "just a block": [0, LONG, 2 * LONG],
    "long ones": [0, 1, 2 * LONG, 3 * LONG + 1, 3 * LONG + 1, 3 * LONG + 5, 9 * LONG + 3],
}
COLUMNS = [(), (1,), (3,), (2, 2), (8,), (16,), (19,), (0,)]
DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)


def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes segments long that are not, and little work enough for a thread of its own."""
    monkeypatch.setattr(segment_walk, "_BLOCK", LONG)
    monkeypatch.setattr(segment_walk, "_VALUES_PER_THREAD", 10)


def without_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fallback, "is_available", lambda: False)
    assert not fallback.can_compile(torch.zeros(1))


def cut(name: str) -> Tensor:
    return torch.tensor(CUTS[name])


def pieces(x: Tensor, ptr: Tensor) -> Iterator[Tensor]:
    """The rows of each segment, one after the other."""
    return iter(x.split(ptr.diff().tolist()))
