"""A score, structures and inputs that attention is tested on, and its definition as a loop."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from graphattn.attention import EdgeAttention
from graphattn.edges import Edges

HEADS, CHANNELS = 2, 3
NUM_SOURCES, NUM_TARGETS = 6, 5


def score(query: Tensor, key: Tensor, bias: Tensor, width: Tensor) -> Tensor:
    return (query * key).sum(-1) - bias / width


def message(value: Tensor) -> Tensor:
    return value


def edge_output(query: Tensor, key: Tensor, bias: Tensor) -> Tensor:
    return query * key - bias.unsqueeze(-1)


ROLES: dict[str, list[str]] = {
    "target": ["query"],
    "source": ["key", "value"],
    "edge": ["bias"],
    "shared": ["width"],
}


def attention(**settings: Any) -> EdgeAttention:
    return EdgeAttention(score, message, **ROLES, **settings)


def dot_attention(own_score: Callable[..., Tensor], **settings: Any) -> EdgeAttention:
    return EdgeAttention(own_score, message, target=["query"], source=["key", "value"], **settings)


def inputs_for(
    edges: Edges,
    heads: int = HEADS,
    channels: int = CHANNELS,
    dtype: torch.dtype = torch.float64,
    requires_grad: bool = False,
) -> dict[str, Tensor]:
    shapes = {
        "query": (edges.num_targets, heads, channels),
        "key": (edges.num_sources, heads, channels),
        "value": (edges.num_sources, heads, channels),
        "bias": (edges.num_edges, heads),
        "width": (heads,),
    }
    made = {name: torch.randn(shape, dtype=torch.float64) for name, shape in shapes.items()}
    made["width"] = made["width"].abs() + 0.5
    return {name: x.to(dtype).requires_grad_(requires_grad) for name, x in made.items()}


def dense(edges: Edges, x: dict[str, Tensor]) -> dict[str, Tensor]:
    """All results, computed target by target."""
    pairs = list(zip(edges.source.tolist(), edges.target.tolist(), strict=True))
    heads, channels = x["value"].shape[1:]
    logits = torch.zeros(len(pairs), heads, dtype=x["query"].dtype)
    for e, (j, i) in enumerate(pairs):
        logits[e] = (x["query"][i] * x["key"][j]).sum(-1) - x["bias"][e] / x["width"]
    weights = torch.zeros_like(logits)
    out = torch.zeros(edges.num_targets, heads, channels, dtype=logits.dtype)
    output = torch.zeros(len(pairs), heads, channels, dtype=logits.dtype)
    for target in range(edges.num_targets):
        own = [e for e, (_, i) in enumerate(pairs) if i == target]
        if own:
            weights[own] = torch.softmax(logits[own], dim=0)
            value = x["value"][[pairs[e][0] for e in own]]
            out[target] = (weights[own].unsqueeze(-1) * value).sum(0)
    for e, (j, i) in enumerate(pairs):
        output[e] = x["query"][i] * x["key"][j] - x["bias"][e].unsqueeze(-1)
    return {"out": out, "edge_output": output, "weights": weights, "logits": logits}


def bipartite(num_edges: int = 20) -> Edges:
    ends = [torch.randint(NUM_SOURCES, (num_edges,)), torch.randint(NUM_TARGETS - 1, (num_edges,))]
    return Edges.from_edge_index(torch.stack(ends), NUM_SOURCES, NUM_TARGETS)


def structures() -> dict[str, Edges]:
    torch.manual_seed(1)
    square = torch.randint(5, (2, 12))
    hub = torch.stack([torch.arange(60) % 9, torch.full((60,), 4)])
    twice = torch.tensor([[0, 0, 1, 0, 1], [1, 1, 1, 1, 0]])
    return {
        "random": Edges.from_edge_index(square, 5),
        "self-loops": Edges.from_edge_index(square, 5, self_loops=True),
        "flow": Edges.from_edge_index(square, 5, flow="target_to_source"),
        "duplicates": Edges.from_edge_index(twice, 2),
        "bipartite": bipartite(),
        "hub": Edges.from_edge_index(hub, 9),
        "one edge": Edges.from_edge_index(torch.tensor([[2], [0]]), 3),
        "no edges": Edges.from_edge_index(torch.zeros(2, 0, dtype=torch.int64), 3),
        "no nodes": Edges.from_edge_index(torch.zeros(2, 0, dtype=torch.int64), 0),
        "complete": Edges.from_edge_index(torch.cartesian_prod(*[torch.arange(4)] * 2).T, 4),
    }
