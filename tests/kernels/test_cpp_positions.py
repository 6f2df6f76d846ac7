"""Structures too large for 32-bit positions take 64-bit ones: the same numbers either way."""

import torch
from torch import Tensor

from graphattn.attention import EdgeAttention
from graphattn.edges import Edges
from graphattn.kernels.edge_attention.rows import Rows


def widened(rows: Rows) -> Rows:
    twin = None if rows.twin is None else rows.twin.long()
    return Rows(rows.ptr, rows.neighbor.long(), rows.order.long(), twin)


def gradients(edges: Edges) -> list[Tensor]:
    attention = EdgeAttention(
        lambda query, key: (query * key).sum(-1),
        lambda value: value,
        target=["query"],
        source=["key", "value"],
        backend="cpp",
    )
    torch.manual_seed(1)
    inputs = {name: torch.randn(50, 3, 5).requires_grad_() for name in ("query", "key", "value")}
    out, weights = attention(edges, **inputs, return_weights=True)
    total = out.square().sum() + weights.square().sum()
    return [out, weights, *torch.autograd.grad(total, list(inputs.values()))]


def test_positions_of_64_bits_give_the_same_bits() -> None:
    edge_index = torch.randint(50, (2, 4000))
    edges, wide = (Edges.from_edge_index(edge_index, 50) for _ in range(2))
    assert edges.by_target.neighbor.dtype == torch.int32
    for name in ("by_target", "by_source"):
        wide.__dict__[name] = widened(getattr(edges, name))
    for ours, other in zip(gradients(edges), gradients(wide), strict=True):
        assert torch.equal(ours, other)
