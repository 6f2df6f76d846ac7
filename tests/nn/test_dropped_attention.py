"""Attention that drops weights some queries at a time: which, how many, derivatives, and where."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck
from torch.testing import assert_close

from graphattn import Blocks
from graphattn.nn import dot_product_attention
from graphattn.nn.sets import dot_product, dropped_attention

SHAPE = (3, 2, 30, 20)  # sets, heads, queries, keys
# All together; one set at a time; one head; some queries of one head.
HELD = {"all": 1 << 17, "sets": 1300, "heads": 700, "queries": 400}


@pytest.fixture(params=HELD)
def tiles(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dropped_attention, "_HELD", HELD[request.param])


def inputs(width: int = 4) -> list[Tensor]:
    sets, heads, queries, keys = SHAPE
    shapes = [(sets, heads, queries, 4), (sets, heads, keys, 4), (sets, heads, keys, width)]
    return [torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in shapes]


def attend(*given: Tensor, probability: float = 0.3, seed: int = 0) -> Tensor:
    torch.manual_seed(seed)
    return dropped_attention.dropped_attention(*given, probability)


def mask_of(query: Tensor, key: Tensor, seed: int = 0) -> Tensor:
    """Which weights are kept, read from values that name the keys."""
    names = torch.eye(SHAPE[3], dtype=query.dtype).expand(*SHAPE[:2], -1, -1)
    return (attend(query, key, names, seed=seed) != 0).to(query.dtype)


@pytest.mark.usefixtures("tiles")
def test_it_is_the_softmax_without_what_is_dropped() -> None:
    query, key, value = inputs(5)
    mask = mask_of(query, key)
    weights = (query @ key.transpose(-1, -2) / 2).softmax(-1) * mask
    assert_close(attend(query, key, value), weights @ value / 0.7, rtol=1e-4, atol=0.0)


@pytest.mark.usefixtures("tiles")
def test_derivatives_are_of_the_weights_that_were_dropped() -> None:
    assert gradcheck(attend, inputs(5), fast_mode=True)
    assert gradgradcheck(attend, inputs(5), fast_mode=True)


@pytest.mark.parametrize("needed", [0, 1, 2])
def test_one_input_may_be_differentiated_alone(needed: int) -> None:
    given = [x.detach() for x in inputs()]
    given[needed].requires_grad_()
    assert gradgradcheck(attend, given, fast_mode=True)


def test_the_seed_decides() -> None:
    query, key, _ = inputs()
    first, same, other = (mask_of(query, key, seed) for seed in (0, 0, 1))
    assert torch.equal(first, same)
    assert not torch.equal(first, other)
    assert len({tuple(own.flatten().tolist()) for own in first.flatten(0, 1)}) == 6


@pytest.mark.usefixtures("tiles")
def test_as_many_are_dropped_as_was_said() -> None:
    query, key, _ = inputs()
    masks = torch.stack([mask_of(query, key, seed) for seed in range(50)])
    error = (0.3 * 0.7 / masks.numel()) ** 0.5
    assert masks.mean().item() == pytest.approx(0.7, abs=4 * error)
    error = (0.3 * 0.7 / (50 * SHAPE[0] * SHAPE[1] * SHAPE[2])) ** 0.5
    assert (masks.mean((0, 1, 2, 3)) - 0.7).abs().max() < 4 * error  # of each key
    both = (masks[..., 1:] * masks[..., :-1]).mean().item()
    assert both == pytest.approx(0.49, abs=0.006)


def of_sets(**how: Any) -> Tensor:
    """Weights of two sets of 40 and one of 3 elements, with half of them dropped."""
    torch.manual_seed(0)
    blocks = Blocks.from_ptr(torch.tensor([0, 40, 80, 83]))
    query, key = (torch.randn(83, 2, 4).to(**how) for _ in range(2))
    names = torch.eye(83)[:, None].expand(-1, 2, -1).to(**how)
    return dot_product_attention(blocks, query, key, names, 0.5)


def test_ragged_sets_are_dropped_of_whatever_size() -> None:
    out = of_sets(dtype=torch.float64)
    assert out[:40, :, 40:].eq(0).all()
    assert out[40:80, :, :40].eq(0).all()
    assert out[80:, :, :80].eq(0).all()
    for own in (out[:40, :, :40], out[40:80, :, 40:80]):
        assert (own != 0).double().mean().item() == pytest.approx(0.5, abs=0.04)
    assert 0 < int((out[80:, :, 80:] != 0).sum()) < 18


@pytest.mark.parametrize("where", ["few", "many threads", "16 bits", "transformed"])
def test_where_it_is_not_faster_the_program_drops(
    where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    called: list[float] = []

    def noted(*given: Tensor, probability: float) -> Tensor:
        called.append(probability)
        return dropped_attention.dropped_attention(*given, probability)

    monkeypatch.setattr(dot_product, "dropped_attention", noted)
    if where == "many threads":
        monkeypatch.setattr(torch, "get_num_threads", lambda: 64)
    if where == "transformed":
        x = torch.randn(80, 2, 4)
        blocks = Blocks.from_ptr(torch.tensor([0, 40, 80]))
        found = torch.func.grad(lambda y: dot_product_attention(blocks, y, x, x, 0.5).sum())(x)
        assert found.isfinite().all()
    else:
        out = of_sets(dtype=torch.bfloat16 if where == "16 bits" else torch.float32)
        assert (out[:40, :, :40] != 0).double().mean().item() == pytest.approx(0.5, abs=0.04)
    assert called == ([0.5] if where == "few" else [])
