"""Sparsemax, entmax-1.5, entmax of given and of learned alpha, in attention and by themselves."""

import copy
import math
from typing import Any

import pytest
import torch
from attention_cases import HEADS, attention, inputs_for, structures
from torch import Tensor, nn
from torch.autograd import gradcheck, gradgradcheck
from torch.testing import assert_close

from graphattn.edges import Edges
from graphattn.normalizers.normalizer import Normalizer
from graphattn.normalizers.sparse import AdaptiveEntmax, Entmax, Entmax15, Sparsemax

NORMALIZERS: dict[str, Normalizer] = {
    "sparsemax": Sparsemax(),
    "entmax15": Entmax15(),
    "entmax": Entmax(1.3),
    "entmax of each head": Entmax(torch.tensor([1.2, 1.9])),
    "adaptive": AdaptiveEntmax(HEADS),
}
EDGES = Edges.from_edge_index(torch.tensor([[0, 1, 2, 2, 0, 1], [2, 0, 2, 0, 2, 2]]), 3, 4)


def sparsemax_by_sorting(logits: Tensor) -> Tensor:
    ordered = logits.sort(descending=True).values
    sums = ordered.cumsum(0) - 1
    size = int((ordered * torch.arange(1, len(logits) + 1) > sums).sum())
    return (logits - sums[size - 1] / size).clamp(min=0)


def test_sparsemax_is_the_projection_onto_the_simplex() -> None:
    logits = torch.randn(6, 2, dtype=torch.float64)
    weights = Sparsemax()(logits, EDGES)
    for target in range(4):
        own = EDGES.target == target
        for head in range(2):
            if own.any():
                assert_close(weights[own, head], sparsemax_by_sorting(logits[own, head]))


def test_entmax15_of_two_edges_is_as_computed_by_hand() -> None:
    edges = Edges.from_edge_index(torch.tensor([[0, 1], [0, 0]]), 2, 1)
    # (t + 1/2)^2 + t^2 = 1 for the smaller root t of the two weights.
    small = (math.sqrt(7) - 1) / 4
    weights = Entmax15()(torch.tensor([[2.0], [1.0]], dtype=torch.float64), edges)
    expected = torch.tensor([[(small + 0.5) ** 2], [small**2]], dtype=torch.float64)
    assert_close(weights, expected)
    assert torch.equal(Entmax15()(torch.tensor([[2.0], [0.0]]), edges), torch.tensor([[1.0], [0]]))


def test_entmax_contains_the_two() -> None:
    logits = torch.randn(6, 3)
    assert torch.equal(Entmax(2.0)(logits, EDGES), Sparsemax()(logits, EDGES))
    assert torch.equal(Entmax(1.5)(logits, EDGES), Entmax15()(logits, EDGES))
    together = Entmax(torch.tensor([2.0, 1.5, 1.2]))(logits, EDGES)
    for head, alpha in enumerate((2.0, 1.5, 1.2)):
        assert_close(together[:, head], Entmax(alpha)(logits, EDGES)[:, head])


@pytest.mark.parametrize("structure", structures())
@pytest.mark.parametrize("name", NORMALIZERS)
def test_attention_with_it_is_the_weighted_sum(name: str, structure: str) -> None:
    edges = structures()[structure]
    inputs = inputs_for(edges, requires_grad=True)
    run = attention(normalizer=copy.deepcopy(NORMALIZERS[name]))
    output, weights, logits = run(edges, **inputs, return_weights=True, return_logits=True)
    expected = torch.zeros_like(output)
    for target in range(edges.num_targets):
        own = edges.target == target
        if own.any():
            alone = Edges.from_edge_index(
                torch.stack([torch.arange(int(own.sum())), torch.zeros(int(own.sum())).long()]),
                int(own.sum()),
                1,
            )
            assert_close(weights[own], NORMALIZERS[name](logits[own], alone))
            assert_close(weights[own].sum(0), torch.ones(HEADS, dtype=torch.float64))
            value = inputs["value"][edges.source[own]]
            expected[target] = (weights[own].unsqueeze(-1) * value).sum(0)
    assert_close(output, expected)
    output.square().sum().backward()
    for gradient in (tensor.grad for tensor in inputs.values()):
        assert gradient is not None
        assert bool(gradient.isfinite().all())


@pytest.mark.parametrize("name", NORMALIZERS)
def test_attention_with_it_can_be_differentiated_twice(name: str) -> None:
    edges = structures()["random"]
    inputs = inputs_for(edges, requires_grad=True)
    run = attention(normalizer=copy.deepcopy(NORMALIZERS[name]))

    def output(*tensors: Tensor) -> Tensor:
        result: Tensor = run(edges, **dict(zip(inputs, tensors, strict=True)))
        return result

    assert gradcheck(output, tuple(inputs.values()))
    assert gradgradcheck(output, tuple(inputs.values()))


def test_a_parameter_as_alpha_is_learned_and_a_tensor_is_not() -> None:
    logits = torch.randn(6, 2)
    learned = Entmax(nn.Parameter(torch.tensor([1.3, 1.7])))
    learned(logits, EDGES).square().sum().backward()
    (parameter,) = learned.parameters()
    assert parameter.grad is not None
    assert bool((parameter.grad > 0).all())  # sparser weights have a larger sum of squares
    fixed = Entmax(torch.tensor([1.3, 1.7]))
    assert list(fixed.parameters()) == []
    assert list(fixed.state_dict()) == ["alpha"]
    assert "alpha=[1.29" in repr(fixed)


def test_adaptive_entmax_learns_to_be_sparse_within_its_bounds() -> None:
    logits = torch.randn(6, 2)
    normalizer = AdaptiveEntmax(2, alpha=1.2)
    assert_close(normalizer.alpha, torch.tensor([1.2, 1.2]))
    assert_close(normalizer(logits, EDGES), Entmax(1.2)(logits, EDGES))
    optimizer = torch.optim.SGD(normalizer.parameters(), lr=1.0)
    before = normalizer.alpha.detach()
    for _ in range(10):
        optimizer.zero_grad()
        (-normalizer(logits, EDGES).square().sum()).backward()
        optimizer.step()
    assert bool((normalizer.alpha > before).all())
    for extreme in (-1e4, 1e4):
        with torch.no_grad():
            normalizer.free_alpha.fill_(extreme)
        assert bool(normalizer(logits, EDGES).isfinite().all())
        assert bool(((normalizer.alpha > 1) & (normalizer.alpha <= 2)).all())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32], ids=str)
@pytest.mark.parametrize("name", NORMALIZERS)
def test_the_element_type_is_kept(name: str, dtype: torch.dtype) -> None:
    edges = Edges.from_edge_index(torch.zeros(2, 3000, dtype=torch.int64), 1, 1)
    weights = NORMALIZERS[name](torch.zeros(3000, 2, dtype=dtype), edges)
    assert weights.dtype == dtype
    assert_close(weights, torch.full((3000, 2), 1 / 3000, dtype=dtype))


@pytest.mark.parametrize(
    ("alpha", "error", "message"),
    [
        (1.0, ValueError, "alpha must be finite and above 1, got 1.0"),
        (math.nan, ValueError, "alpha must be finite and above 1, got nan"),
        (torch.tensor([1.5, 0.5]), ValueError, r"above 1, got \[1.5, 0.5\]"),
        (torch.full((1, 2), 1.5), ValueError, r"alpha must be a number or \(H,\), got \(1, 2\)"),
        (torch.tensor([2]), TypeError, "alpha must be floating point, got torch.int64"),
        ("sparse", TypeError, "alpha must be a number or a tensor, got str"),
    ],
)
def test_a_wrong_alpha_is_refused(alpha: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        Entmax(alpha)


def test_a_wrong_start_is_refused() -> None:
    for alpha in (1.0, 2.0, math.nan):
        with pytest.raises(ValueError, match=r"alpha must lie between 1\.001 and 2, got"):
            AdaptiveEntmax(2, alpha)
    with pytest.raises(ValueError, match="heads must not be negative, got -1"):
        AdaptiveEntmax(-1)
    with pytest.raises(ValueError, match=r"alpha must be \(H,\) with H = 3, got \(2,\)"):
        AdaptiveEntmax(2)(torch.zeros(6, 3), EDGES)
