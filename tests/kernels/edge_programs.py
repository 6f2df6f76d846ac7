"""Edge functions of many kinds, and inputs for them."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from graphattn.kernels.program import InputSpec, Program, UserFunction, capture

HEADS, CHANNELS = 3, 4

ROLES = {
    **dict.fromkeys(("query", "width"), "target"),
    **dict.fromkeys(("key", "value"), "source"),
    **dict.fromkeys(("edge", "distance", "mask", "double"), "edge"),
    **dict.fromkeys(("vector", "matrix", "scale"), "shared"),
}


SHAPES: dict[str, tuple[int, ...]] = {
    **dict.fromkeys(("query", "key", "value", "edge"), (HEADS, CHANNELS)),
    "width": (HEADS,),
    "distance": (),
    "mask": (),
    "double": (HEADS,),
    "vector": (HEADS, CHANNELS),
    "matrix": (HEADS, CHANNELS, CHANNELS),
    "scale": (),
}


def type_of(name: str, dtype: torch.dtype) -> torch.dtype:
    return {"mask": torch.bool, "double": torch.float64}.get(name, dtype)


def inputs_of(
    user: UserFunction, num_edges: int, dtype: torch.dtype = torch.float64
) -> dict[str, Tensor]:
    """Random inputs as the function sees them: already gathered to the edges."""
    made = {}
    for name in user.names:
        if name in ROLES:
            leading = () if ROLES[name] == "shared" else (num_edges,)
            x = torch.randn(leading + SHAPES[name], dtype=torch.float64)
            made[name] = x > 0 if name == "mask" else x.to(type_of(name, dtype))
    return made


def captured(
    function: Callable[..., Any], dtype: torch.dtype = torch.float64, output: str = "logits"
) -> Program:
    user = UserFunction.of(function, output)
    specs = {
        name: InputSpec(ROLES[name], SHAPES[name], type_of(name, dtype))
        for name in user.names
        if name in ROLES
    }
    for name, x in user.state().items():
        specs[f"{output}.{name}"] = InputSpec("shared", tuple(x.shape), x.dtype)
    return capture({output: user}, specs, {})


class Perceptron(nn.Module):
    """A perceptron of target, source and edge, with a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(3 * HEADS * CHANNELS, 5)
        self.norm = nn.LayerNorm(5)
        self.last = nn.Linear(5, HEADS)
        self.register_buffer("bound", torch.tensor(2.0))

    def forward(self, query: Tensor, key: Tensor, edge: Tensor) -> Tensor:
        x = torch.cat([query, key, edge], dim=-1).flatten(1)
        x = self.norm(F.gelu(self.first(x)))
        return self.bound * torch.tanh(self.last(x))


class Wrapped(nn.Module):
    """PyTorch's own containers, with nothing of the user's between them."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(CHANNELS, 6), nn.SiLU(), nn.Linear(6, 1))

    def forward(self, query: Tensor) -> Tensor:
        return self.layers(query).squeeze(-1)


def dot_product(query: Tensor, key: Tensor) -> Tensor:
    return (query * key).sum(-1) / query.shape[-1] ** 0.5


def gatv2(query: Tensor, key: Tensor, edge: Tensor, vector: Tensor) -> Tensor:
    return (F.leaky_relu(query + key + edge, 0.2) * vector).sum(-1)


def product_of_scores(query: Tensor, key: Tensor, vector: Tensor, scale: Tensor) -> Tensor:
    content = (query * key).sum(-1)
    position = (torch.tanh(query - key) * vector).sum(-1)
    return content * torch.sigmoid(position * scale) - scale


def channel_wise(query: Tensor, key: Tensor, edge: Tensor) -> Tensor:
    return (query * key / CHANNELS**0.5 * edge).clamp(-5, 5).sum(-1)


def cosine(query: Tensor, key: Tensor) -> Tensor:
    return F.cosine_similarity(query, key, dim=-1)


def gaussian(distance: Tensor, width: Tensor) -> Tensor:
    return -0.5 * (distance[:, None] / F.softplus(width)).square() - torch.log1p(width.abs())


def einsum_of_edges(query: Tensor, key: Tensor) -> Tensor:
    return torch.einsum("ehc,ehc->eh", query, key)


def einsum_bilinear(query: Tensor, matrix: Tensor, key: Tensor) -> Tensor:
    return torch.einsum("ehc,hcd,ehd->eh", query, matrix, key)


def matmul_of_edges(query: Tensor, key: Tensor) -> Tensor:
    return (query @ key.transpose(-1, -2)).tanh().sum(-1)


def linear_on_edges(query: Tensor, matrix: Tensor, vector: Tensor) -> Tensor:
    return F.linear(query, matrix[0], vector[0]).relu().sum(-1)


def layer_norm(query: Tensor, key: Tensor, vector: Tensor) -> Tensor:
    return (F.layer_norm(query + key, (CHANNELS,), vector[0], vector[1]) * vector).sum(-1)


def softmax_over_channels(query: Tensor, key: Tensor) -> Tensor:
    return (query.softmax(-1) * key.log_softmax(-1)).sum(-1)


def logsumexp(query: Tensor, key: Tensor) -> Tensor:
    return (query + key).logsumexp(-1)


def variance(query: Tensor) -> Tensor:
    return query.var(-1) + query.std(-1, correction=0) - query.mean((1, 2), keepdim=True)[..., 0]


def norms(query: Tensor, key: Tensor) -> Tensor:
    return (query - key).norm(dim=-1) + query.norm(1, dim=-1) + F.normalize(key, dim=-1).amax(-1)


def constant_indices(query: Tensor, key: Tensor, vector: Tensor) -> Tensor:
    x = query[:, [2, 0, -1]] * key[..., torch.tensor([3, 0, 1, 1])] + vector[0, 1]
    return x[:, :, 1:3].sum(-1) + x[..., -1] + x[:, :1, 0] + key[:, 1, ::2].sum(-1, keepdim=True)


def cat_and_stack(query: Tensor, key: Tensor, edge: Tensor) -> Tensor:
    stacked = torch.stack([query, key * edge], dim=2)  # (E, H, 2, C)
    joined = torch.cat([stacked.flatten(2), edge, query.new_ones(1).expand_as(query)], dim=-1)
    return joined.square().mean(-1) + stacked.amin((2, 3))


def in_place(query: Tensor, key: Tensor) -> Tensor:
    x = query * 2
    x += key
    x[:, 0] = 1.5
    x[:, 1, 1:3] *= key[:, 0, :2]
    x[..., ::2].add_(1)
    x.clamp_(max=2).mul_(x.sigmoid())
    return x.sum(-1)


def rotated(query: Tensor, key: Tensor, distance: Tensor) -> Tensor:
    first, second = query.chunk(2, dim=-1)
    cosine, sine = distance.cos()[:, None, None], distance.sin()[:, None, None]
    turned = torch.cat([first * cosine - second * sine, first * sine + second * cosine], dim=-1)
    return (turned * key).sum(-1)


def masked(query: Tensor, mask: Tensor, width: Tensor) -> Tensor:
    logits = query.sum(-1).masked_fill(mask[:, None] & (width > 0), -torch.inf)
    return torch.where(~mask[:, None] | logits.isinf(), logits, width)


def mixed_types(query: Tensor, double: Tensor, scale: Tensor) -> Tensor:
    return query.sum(-1) * double + scale + query.half().amax(-1)


def outer_product(query: Tensor, key: Tensor) -> Tensor:
    return (query.unsqueeze(-1) * key.unsqueeze(-2)).flatten(2).prod(-1)


def radial_basis(distance: Tensor, vector: Tensor) -> Tensor:
    centers = torch.linspace(0, 2, CHANNELS, dtype=vector.dtype)
    basis = torch.exp(-10 * (distance.abs()[:, None] - centers) ** 2)  # (E, C)
    return basis @ vector.T


def merged_axes(query: Tensor, key: Tensor, matrix: Tensor) -> Tensor:
    flat = query.reshape(-1, CHANNELS) @ matrix[1]  # (E * H, C)
    return (flat.view(key.shape) * key).permute(0, 2, 1).reshape(-1, CHANNELS, HEADS).sum(1)


def activations(query: Tensor, key: Tensor) -> Tensor:
    x = F.elu(query) + F.silu(key) + F.gelu(query, approximate="tanh") + F.hardtanh(key)
    y = F.softplus(query) * F.logsigmoid(key) + F.celu(query) - F.hardswish(key) + F.relu6(query)
    return (x * y + F.mish(query) + F.selu(key) + torch.special.expit(query)).sum(-1)


def heads_swapped(query: Tensor, key: Tensor) -> Tensor:
    first = query.transpose(0, 1).contiguous()  # (H, E, C)
    return (first * key.movedim(1, 0)).sum(-1).transpose(0, 1)


def of_all_heads(query: Tensor, scale: Tensor) -> Tensor:
    total = query.sum((1, 2))  # (E,)
    return torch.outer(total, torch.arange(HEADS).to(total)) + torch.add(query, 3, alpha=2)[
        ..., 0
    ].sub(scale, alpha=0.5)


def mapped(query: Tensor, key: Tensor) -> Tensor:
    return torch.vmap(lambda a, b: (a * b).sum(-1))(query, key)


def without_edges(query: Tensor, vector: Tensor) -> Tensor:
    return vector.sum(-1).expand(query.shape[0], HEADS)


FUNCTIONS: dict[str, Callable[..., Any]] = {
    function.__name__: function
    for function in (
        *(dot_product, gatv2, product_of_scores, channel_wise, cosine, gaussian),
        *(
            einsum_of_edges,
            einsum_bilinear,
            matmul_of_edges,
            linear_on_edges,
            layer_norm,
            softmax_over_channels,
        ),
        *(logsumexp, variance, norms, constant_indices, cat_and_stack, in_place, rotated, masked),
        *(mixed_types, outer_product, radial_basis, merged_axes, activations, heads_swapped),
        *(of_all_heads, mapped, without_edges),
    )
}
