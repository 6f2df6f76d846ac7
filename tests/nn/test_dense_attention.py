"""PyTorch's attention of sets of one size: derivatives of any order, types, transforms."""

import math

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck
from torch.nn import functional as F
from torch.testing import assert_close

from graphattn import Blocks
from graphattn.nn import dot_product_attention
from graphattn.nn.sets import dot_product
from graphattn.nn.sets.dense_attention import dense_attention


@pytest.fixture(autouse=True)
def _no_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a GPU."""
    monkeypatch.setattr(dot_product, "_QUERIES", math.inf)


# Two sets of one size with more than 600 pairs, and one with few.
BLOCKS = Blocks.from_ptr(torch.tensor([0, 30, 60, 70]), torch.tensor([0, 25, 50, 54]))


def inputs(dtype: torch.dtype = torch.float64) -> list[Tensor]:
    shapes = [(70, 2, 4), (54, 2, 4), (54, 2, 3)]
    return [torch.randn(shape, dtype=dtype, requires_grad=True) for shape in shapes]


def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    return dot_product_attention(BLOCKS, query, key, value)


def test_derivatives_of_derivatives() -> None:
    given = inputs()
    assert gradcheck(attend, given, fast_mode=True)
    assert gradgradcheck(attend, given, fast_mode=True)


@pytest.mark.parametrize("needed", [0, 1, 2])
def test_one_input_may_be_differentiated_alone(needed: int) -> None:
    given = [x.detach() for x in inputs()]
    given[needed].requires_grad_()
    assert gradgradcheck(attend, given, fast_mode=True)


def test_first_derivatives_are_those_of_pytorch() -> None:
    query, key, value = (torch.randn(2, 3, 40, 8, requires_grad=True) for _ in range(3))
    cotangent = torch.randn(2, 3, 40, 8)
    for _ in range(2):  # once more over the same graph
        out = dense_attention(query, key, value)
        found = torch.autograd.grad(out, (query, key, value), cotangent, retain_graph=True)
        again = torch.autograd.grad(out, (query, key, value), cotangent)
        own = F.scaled_dot_product_attention(query, key, value)
        expected = torch.autograd.grad(own, (query, key, value), cotangent)
        for one, two, three in zip(found, again, expected, strict=True):
            assert torch.equal(one, three)
            assert torch.equal(two, three)
    with pytest.raises(RuntimeError, match="backward through the graph a second time"):
        torch.autograd.grad(out, query, cotangent)


def test_large_sets_inside_transforms() -> None:
    query, key, value = (x.detach() for x in inputs())

    def total(query: Tensor) -> Tensor:
        return attend(query, key, value).square().sum()

    expected = torch.autograd.functional.hessian(total, query)
    assert_close(torch.func.hessian(total)(query), expected)
    assert_close(torch.vmap(total)(torch.stack([query, query])), total(query).expand(2))


@pytest.mark.parametrize("types", [("float32", "bfloat16", "float16"), ("bfloat16",) * 3])
def test_the_type_is_that_of_the_inputs_whatever_the_size_of_sets(types: tuple[str, ...]) -> None:
    x = [x.detach().to(getattr(torch, name)) for x, name in zip(inputs(), types, strict=True)]
    promoted = torch.float32 if "float32" in types else torch.bfloat16
    small = Blocks.from_ptr(torch.arange(0, 71, 10), torch.tensor([0, 9, 18, 27, 36, 45, 54, 54]))
    assert attend(*x).dtype == dot_product_attention(small, *x).dtype == promoted
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert attend(*x).dtype == dot_product_attention(small, *x).dtype == promoted
