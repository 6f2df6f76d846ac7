"""Compiled softmax with a sink and sigmoid with −log n, against stored official results."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.testing import assert_close

from graphattn.attention import EdgeAttention
from graphattn.edges import Edges
from graphattn.normalizers import FusedNormalizer, Sigmoid, SoftmaxOne


def load(folder: Path, name: str) -> dict[str, Tensor]:
    """Arrays by name, in float64, the type of the stored results."""
    with np.load(folder / "normalisers" / f"{name}.npz") as arrays:
        tensors = {key: torch.from_numpy(x) for key, x in arrays.items() if x.dtype.kind in "bf"}
    return {key: x.double() if x.is_floating_point() else x for key, x in tensors.items()}


def attend(
    query: Tensor, key: Tensor, value: Tensor, is_valid: Tensor, normalizer: FusedNormalizer
) -> tuple[Tensor, Tensor]:
    """Scaled dot-product attention of each query to the valid keys of its batch.

    Args:
        query: ``(B, L, H, C)``.
        key: ``(B, S, H, C)``.
        value: ``(B, S, H, C)``.
        is_valid: ``(B, S)``, bool.
        normalizer: From logits to weights.

    Returns:
        Output ``(B, L, H, C)`` and weights ``(B, H, L, S)``, zero where there is no edge.
    """
    (num_batches, num_queries, heads, _), num_keys = query.shape, key.shape[1]
    mask = is_valid[:, None, :].expand(-1, num_queries, -1)
    batch, target, source = mask.nonzero().unbind(1)
    edge_index = torch.stack([batch * num_keys + source, batch * num_queries + target])
    edges = Edges.from_edge_index(edge_index, num_batches * num_keys, num_batches * num_queries)
    attention = EdgeAttention(
        lambda query, key: (query * key).sum(-1) / query.shape[-1] ** 0.5,
        lambda value: value,
        target=["query"],
        source=["key", "value"],
        normalizer=normalizer,
        backend="cpp",
    )
    out, weights = attention(
        edges,
        query=query.flatten(0, 1),
        key=key.flatten(0, 1),
        value=value.flatten(0, 1),
        return_weights=True,
    )
    dense = weights.new_zeros(num_batches, num_queries, num_keys, heads)
    dense = dense.index_put((batch, target, source), weights)
    return out.unflatten(0, (num_batches, num_queries)), dense.permute(0, 3, 1, 2)


def assert_gradients(arrays: dict[str, Tensor], out: Tensor, leaves: dict[str, Tensor]) -> None:
    """Compares the gradients of the sum of the output times its stored cotangent."""
    gradients = torch.autograd.grad(out, list(leaves.values()), arrays["cot.out"])
    for name, gradient in zip(leaves, gradients, strict=True):
        assert_close(
            gradient, arrays[f"grad_{name}"], msg=lambda text, name=name: f"{name}: {text}"
        )


@pytest.mark.parametrize("number", [0, 1])
def test_softmax_one_is_that_of_multihead_attention(number: int, golden_folder: Path) -> None:
    arrays = load(golden_folder, f"softmax1_addzero_{number}")
    names = [name for name in arrays if name.startswith(("in.q", "in.kv", "param."))]
    leaves = {name: arrays[name].requires_grad_() for name in names}
    heads = arrays["out.attn"].shape[1]
    maps = zip(
        ("in.q", "in.kv", "in.kv"),
        leaves["param.in_proj_weight"].chunk(3),
        leaves["param.in_proj_bias"].chunk(3),
        strict=True,
    )
    projected: list[Any] = [
        F.linear(leaves[x], weight, bias).unflatten(-1, (heads, -1)) for x, weight, bias in maps
    ]
    out, weights = attend(*projected, ~arrays["in.pad_mask"], SoftmaxOne())
    out = F.linear(out.flatten(2), leaves["param.out_proj.weight"], leaves["param.out_proj.bias"])
    assert_close(out, arrays["out.out"])
    assert_close(weights, arrays["out.attn"][..., :-1])  # the last is the sink's own
    assert_gradients(arrays, out, leaves)


@pytest.mark.parametrize("number", [0, 1])
def test_sigmoid_with_minus_log_n_is_that_of_its_authors(number: int, golden_folder: Path) -> None:
    arrays = load(golden_folder, f"sigmoid_logn_{number}")
    leaves = {name: arrays[name].requires_grad_() for name in ("in.q", "in.k", "in.v")}
    num_keys, groups = arrays["in.k"].shape[1], arrays["in.q"].shape[2] // arrays["in.k"].shape[2]
    key, value = (leaves[name].repeat_interleave(groups, 2) for name in ("in.k", "in.v"))
    normalizer = Sigmoid(heads=arrays["in.q"].shape[2]).double()
    with torch.no_grad():
        next(normalizer.parameters()).fill_(-math.log(num_keys))
    out, weights = attend(leaves["in.q"], key, value, arrays["in.key_mask"], normalizer)
    assert_close(out, arrays["out.out"])
    assert_close(weights, arrays["out.attn"])
    assert_gradients(arrays, out, leaves)
