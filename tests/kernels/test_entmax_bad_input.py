"""Entmax over segments refuses what it cannot do, before a kernel reads it."""

import math
from typing import Any

import pytest
import torch

from graphattn.kernels.entmax.op import entmax

GOOD: dict[str, Any] = {
    "logits": torch.zeros(3, 2),
    "ptr": torch.tensor([0, 1, 3]),
    "order": torch.tensor([2, 0, 1]),
    "alpha": 1.5,
}
BAD: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "integer logits": ({"logits": torch.zeros(3, 2).int()}, TypeError, "floating-point tensor"),
    "no tensor": ({"logits": 3}, TypeError, "logits must be a floating-point tensor, got int"),
    "one dimension": ({"logits": torch.zeros(3)}, ValueError, r"logits must be \(E, H\)"),
    "short ptr type": ({"ptr": torch.tensor([0, 3]).int()}, TypeError, "ptr must be an int64"),
    "empty ptr": ({"ptr": torch.tensor([]).long()}, ValueError, r"ptr must be \(S \+ 1,\)"),
    "ptr from one": ({"ptr": torch.tensor([1, 3])}, ValueError, "ptr must rise from 0"),
    "ptr to four": ({"ptr": torch.tensor([0, 4])}, ValueError, "ptr must rise from 0"),
    "falling ptr": ({"ptr": torch.tensor([0, 9, 3])}, ValueError, "ptr must rise from 0"),
    "float order": ({"order": torch.zeros(3)}, TypeError, "order must be an int32 or int64"),
    "short order": ({"order": torch.tensor([0])}, ValueError, r"order must be \(E,\) with E = 3"),
    "large order": ({"order": torch.tensor([0, 1, 3])}, IndexError, "order must hold each row"),
    "negative order": ({"order": torch.tensor([0, 1, -1])}, IndexError, "order must hold each row"),
    "twice": ({"order": torch.tensor([0, 1, 1])}, IndexError, "order must hold each row"),
    "alpha of one": ({"alpha": 1.0}, ValueError, "alpha must be a finite number above 1, got 1.0"),
    "alpha of nothing": ({"alpha": math.nan}, ValueError, "alpha must be a finite number"),
    "alpha of words": ({"alpha": "2"}, TypeError, "alpha must be a number or a tensor, got str"),
    "integer alpha": ({"alpha": torch.tensor([2, 2])}, TypeError, "alpha must be floating point"),
    "three alphas": (
        {"alpha": torch.full((3,), 1.5)},
        ValueError,
        r"\(H,\) with H = 2, got \(3,\)",
    ),
}


@pytest.mark.parametrize("backend", ["auto", "reference"])
@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_refused_by_name(case: str, backend: str) -> None:
    changed, error, message = BAD[case]
    with pytest.raises(error, match=message):
        entmax(**{**GOOD, **changed}, backend=backend)


def test_the_operators_themselves_read_nothing_out_of_bounds() -> None:
    ptr, order = GOOD["ptr"], GOOD["order"]
    alpha = torch.full((2,), 1.5, dtype=torch.float64)
    forward, backward = torch.ops.graphattn.entmax, torch.ops.graphattn.entmax_backward
    with pytest.raises(ValueError, match="alpha must be"):
        forward(GOOD["logits"], ptr, order, alpha[:1])
    with pytest.raises(ValueError, match="logits must be"):
        forward(GOOD["logits"].half(), ptr, order, alpha)
    with pytest.raises(ValueError, match="grad must be as the weights are"):
        backward(torch.zeros(2, 2), GOOD["logits"], ptr, order, alpha, True)
    with pytest.raises(IndexError, match="order must hold each row"):
        backward(GOOD["logits"], GOOD["logits"], ptr, order + 1, alpha, True)
