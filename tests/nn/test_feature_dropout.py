"""Dropout of features: how many, which, and what becomes of the others."""

import pytest
import torch
from torch import nn

from graphattn.nn.feature_dropout import FeatureDropout


@pytest.mark.parametrize("probability", [0.03, 0.3, 0.9])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
def test_as_many_are_dropped_as_was_said(probability: float, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    out = FeatureDropout(probability)(torch.ones(2_000, 200, dtype=dtype))
    assert out.dtype == dtype
    assert len(out.unique()) == 2
    error = (probability * (1 - probability) / 100_000) ** 0.5
    # Each of the four that one number decides about, too.
    for part in out.view(-1, 4).unbind(1):
        assert float((part == 0).double().mean()) == pytest.approx(probability, abs=4 * error)
    precise = 1e-2 if dtype == torch.bfloat16 else 1e-3
    assert float(out.max()) == pytest.approx(1 / (1 - probability), rel=precise)


def test_neighbours_are_dropped_independently() -> None:
    torch.manual_seed(0)
    dropped = (FeatureDropout(0.4)(torch.ones(400_000)) == 0).double()
    for apart in range(1, 9):
        both = float((dropped[apart:] * dropped[:-apart]).mean())
        assert both == pytest.approx(0.16, abs=0.003)  # four deviations are 0.0024


def test_the_expectation_is_the_input() -> None:
    torch.manual_seed(0)
    x = torch.rand(100, 7)
    mean = sum(FeatureDropout(0.5)(x) for _ in range(4_000)) / 4_000
    torch.testing.assert_close(mean, x, atol=0.08, rtol=0.0)
    # To 16 bits this is 1 / 65,536; what is kept is divided by what is, not by what was said.
    kept = FeatureDropout(1.2e-5)(torch.ones(10, dtype=torch.float64)).max()
    assert kept.item() == pytest.approx(1 + 1 / 65_535, abs=1e-9)


@pytest.mark.parametrize("shape", [(0, 3), (1,), (5, 3), (2, 3, 7), ()], ids=str)
def test_any_shape(shape: tuple[int, ...]) -> None:
    assert FeatureDropout(0.5)(torch.ones(shape)).shape == shape


def test_the_gradient_is_of_what_was_kept() -> None:
    x = torch.randn(6, 5).t().requires_grad_()  # not contiguous
    out = FeatureDropout(0.5)(x)
    (gradient,) = torch.autograd.grad(out.sum(), x)
    torch.testing.assert_close(out, gradient * x)
    assert set(gradient.unique().tolist()) == {0.0, 2.0}


def test_the_seed_decides() -> None:
    results = []
    for seed in (3, 3, 4):
        torch.manual_seed(seed)
        results.append(FeatureDropout(0.5)(torch.ones(100)))
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])


def test_nothing_and_all() -> None:
    x = torch.randn(4, 3)
    module = FeatureDropout(0.5)
    assert repr(module) == "FeatureDropout(p=0.5, inplace=False)"
    assert torch.equal(module.eval()(x), x)
    assert torch.equal(FeatureDropout(0.0)(x), x)
    assert torch.equal(FeatureDropout(1.0)(x), torch.zeros_like(x))
    assert torch.equal(FeatureDropout(1e-9)(x), x)  # less than can be told
    with pytest.raises(ValueError, match=r"1\.5"):
        FeatureDropout(1.5)(x)
    with pytest.raises(ValueError, match=r"-0\.1"):
        FeatureDropout(-0.1)


def test_transforms_and_the_compiler_have_pytorchs() -> None:
    x = torch.ones(3, 8)
    rows = torch.func.vmap(lambda row: FeatureDropout(0.5)(row), randomness="different")(x)
    assert set(rows.unique().tolist()) <= {0.0, 2.0}
    compiled = torch.compile(FeatureDropout(0.5), backend="eager", fullgraph=True)
    torch.manual_seed(0)
    expected = nn.Dropout(0.5)(x)
    torch.manual_seed(0)
    assert torch.equal(compiled(x), expected)
