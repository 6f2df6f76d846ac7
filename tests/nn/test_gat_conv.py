"""The products of features and attention vectors, which GATConv takes for all heads at once."""

import pytest
import torch
from torch import Tensor

from graphattn.nn.convolutions.gat_conv import head_products

H, C = 3, 4


def features(num_nodes: int, dtype: torch.dtype) -> Tensor:
    return torch.randn(num_nodes, H, C, dtype=dtype, requires_grad=True)


def vectors(count: int, dtype: torch.dtype) -> Tensor:
    return torch.randn(count, H, C, dtype=dtype, requires_grad=True)


@pytest.mark.parametrize("num_nodes", [0, 5])
@pytest.mark.parametrize("count", [1, 2])
def test_products_and_their_gradients_are_those_of_each_head(num_nodes: int, count: int) -> None:
    torch.manual_seed(0)
    inputs = features(num_nodes, torch.float64), vectors(count, torch.float64)
    found = torch.stack(head_products(*inputs))  # (K, N, H)
    expected = torch.einsum("nhc,khc->knh", *inputs)
    torch.testing.assert_close(found, expected)
    cotangent = torch.randn_like(expected)
    torch.testing.assert_close(
        torch.autograd.grad(found, inputs, cotangent),
        torch.autograd.grad(expected, inputs, cotangent),
    )


def test_second_derivatives() -> None:
    torch.manual_seed(0)
    inputs = features(2, torch.float64), vectors(2, torch.float64)
    assert torch.autograd.gradgradcheck(head_products, inputs)


def test_types_that_differ_are_promoted() -> None:
    torch.manual_seed(0)
    x, attention = features(5, torch.bfloat16), vectors(1, torch.float32)
    (found,) = head_products(x, attention)
    torch.testing.assert_close(found, (x.float() * attention).sum(-1))


def test_autocast_rounds_nothing() -> None:
    torch.manual_seed(0)
    inputs = features(5, torch.float32), vectors(2, torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        found = head_products(*inputs)
    torch.testing.assert_close(found, head_products(*inputs))
