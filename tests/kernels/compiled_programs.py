"""Programs that the compiled kernels are tested on, with inputs for them."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from graphattn.attention import EdgeAttention
from graphattn.edges import Edges

N, E, H, C = 20, 90, 3, 5


def product(query: Tensor, key: Tensor) -> Tensor:
    return (query * key).sum(-1)


def channel_wise(query: Tensor, key: Tensor, edge: Tensor) -> Tensor:
    return (query * key * edge / C**0.5).sum(-1).clamp(-5, 5)


def raw_channel_wise(query: Tensor, key: Tensor, edge: Tensor) -> Tensor:
    return query * key * edge / C**0.5


def cosine(query: Tensor, key: Tensor) -> Tensor:
    return F.cosine_similarity(query, key, dim=-1)


def gaussian(query: Tensor, distance: Tensor, width: Tensor) -> Tensor:
    return -distance.square() / F.softplus((query * width).sum(-1))


def many_moves(query: Tensor, key: Tensor, matrix: Tensor) -> Tensor:
    joined = torch.cat([query, key], dim=-1)
    scaled = F.layer_norm(joined, joined.shape[-1:])
    scaled.mul_(2)
    mixed = torch.einsum("ehc,ehc->eh", query, key)
    tail = F.softmax(scaled @ matrix, -1)[..., 1:].amax(-1)
    picked = query[..., [0, 2]].prod(-1) * torch.tensor([1.0, 2.0, 3.0]).to(query)
    return tail + F.gelu(mixed) + picked + query.transpose(1, 2).unbind(1)[0].round()


def plain(value: Tensor) -> Tensor:
    return value


def gated(value: Tensor, query: Tensor) -> Tensor:
    return torch.where(query > 0, value, F.elu(value)) * torch.sigmoid(query).mean(-1, keepdim=True)


class TwoLayers(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.hidden = nn.Linear(2 * C, 7)
        self.logit = nn.Linear(7, 1)

    def forward(self, query: Tensor, key: Tensor) -> Tensor:
        hidden = self.hidden(torch.cat([query, key], dim=-1)).tanh()
        return self.logit(hidden).squeeze(-1)


ROLES = {
    "query": "target",
    "key": "source",
    "value": "source",
    "edge": "edge",
    "distance": "edge",
    "width": "shared",
    "matrix": "shared",
}
SHAPES = {
    "query": (N, H, C),
    "key": (N, H, C),
    "value": (N, H, C),
    "edge": (E, H, C),
    "distance": (E, H),
    "width": (H, C),
    "matrix": (2 * C, 4),
}
PROGRAMS: dict[str, tuple[Callable[..., Any], Callable[..., Any], Callable[..., Any] | None]] = {
    "product": (product, plain, None),
    "channel-wise with an edge output": (channel_wise, plain, raw_channel_wise),
    "cosine": (cosine, gated, None),
    "gaussian": (gaussian, plain, None),
    "many moves": (many_moves, plain, None),
    "two layers": (TwoLayers(), gated, None),
}


def attention(
    functions: tuple[Callable[..., Any], ...], backend: str, **options: Any
) -> tuple[EdgeAttention, list[str]]:
    score, message, edge_output = functions
    names: list[str] = []
    for function in (score, message):
        called = function.forward if isinstance(function, nn.Module) else function
        code = called.__code__
        names += [n for n in code.co_varnames[: code.co_argcount] if n in ROLES and n not in names]
    by_role: dict[str, list[str]] = {}
    for name in names:
        by_role.setdefault(ROLES[name], []).append(name)
    layer = EdgeAttention(
        score, message, edge_output=edge_output, backend=backend, **by_role, **options
    )
    return layer, names


def edges_with_a_hub() -> Edges:
    """The last two targets have no edges, target 0 has many, and some edges are given twice."""
    edge_index = torch.randint(0, N - 2, (2, E))
    edge_index[1, :30] = 0
    edge_index[:, -5:] = edge_index[:, :5]
    return Edges.from_edge_index(edge_index, N, N)
