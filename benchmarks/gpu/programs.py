"""The attention that is checked: the layers', scores of other kinds, and all normalizers."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from graphattn import EdgeAttention, Edges, Normalizer, Softmax, normalizers
from graphattn.nn.convolutions import gat_conv, gatv2_conv, transformer_conv

# Role of each input, and its shape for H heads and C channels, but for rows.
_INPUTS: dict[str, tuple[str, Callable[[int, int], tuple[int, ...]]]] = {
    **dict.fromkeys(("query", "target"), ("target", lambda h, c: (h, c))),
    **dict.fromkeys(("key", "value", "source"), ("source", lambda h, c: (h, c))),
    "target_logit": ("target", lambda h, c: (h,)),
    "source_logit": ("source", lambda h, c: (h,)),
    "edge": ("edge", lambda h, c: (h, c)),
    **dict.fromkeys(("bias", "edge_logit"), ("edge", lambda h, c: (h,))),
    **dict.fromkeys(("distance", "keep"), ("edge", lambda h, c: ())),
    "attention": ("shared", lambda h, c: (h, c)),
    "width": ("shared", lambda h, c: (h,)),
    "hidden": ("shared", lambda h, c: (3 * c, 6)),
    "last": ("shared", lambda h, c: (6,)),
}


def make_input(name: str, edges: Edges, heads: int, channels: int, dtype: torch.dtype) -> Tensor:
    """A random input; the same on every device.

    Args:
        name: Says its role and shape.
        edges: The structure.
        heads: ``H``.
        channels: ``C``.
        dtype: Its type, unless it is a mask.
    """
    role, shape = _INPUTS[name]
    rows = {
        "target": (edges.num_targets,),
        "source": (edges.num_sources,),
        "edge": (edges.num_edges,),
        "shared": (),
    }
    generator = torch.Generator().manual_seed(list(_INPUTS).index(name))
    x = torch.randn(*rows[role], *shape(heads, channels), generator=generator, dtype=torch.float64)
    if role == "shared":
        x /= x.shape[-1] ** 0.5  # as parameters are made, so that logits are about one
    return (x > -0.7 if name == "keep" else x.to(dtype)).to(edges.device)


def dot_product(query: Tensor, key: Tensor, bias: Tensor) -> Tensor:
    return (query * key).sum(-1) / query.shape[-1] ** 0.5 + bias


def perceptron(query: Tensor, key: Tensor, edge: Tensor, hidden: Tensor, last: Tensor) -> Tensor:
    first = torch.cat([query, key, edge], dim=-1) @ hidden / hidden.shape[0] ** 0.5
    return F.gelu(first) @ last


def channel_wise(query: Tensor, key: Tensor, edge: Tensor) -> Tensor:
    return query * key * edge / query.shape[-1] ** 0.5


def sum_of_channels(query: Tensor, key: Tensor, edge: Tensor) -> Tensor:
    return channel_wise(query, key, edge).clamp(-1.5, 1.5).sum(-1)


def cosine(query: Tensor, key: Tensor, width: Tensor) -> Tensor:
    return F.cosine_similarity(query, key, dim=-1) * width


def fading(query: Tensor, key: Tensor, distance: Tensor, width: Tensor) -> Tensor:
    steepness = F.softplus(width)
    return (query * key).mean(-1) - (distance[:, None] * steepness).square() + steepness.log()


def masked(query: Tensor, key: Tensor, keep: Tensor) -> Tensor:
    return (query * key).mean(-1).masked_fill(~keep[:, None], -torch.inf)


class Gate(nn.Module):
    """Two linear maps of target and source with a normalization between them."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Linear(channels, 4)
        self.second = nn.Linear(channels, 4, bias=False)
        self.norm = nn.LayerNorm(4)
        self.logit = nn.Linear(4, 1, bias=False)  # a softmax would see nothing of it

    def forward(self, query: Tensor, key: Tensor) -> Tensor:
        return self.logit(self.norm(self.first(query) + self.second(key)).tanh()).squeeze(-1)


def plain(value: Tensor) -> Tensor:
    return value


def gated(query: Tensor, value: Tensor, edge: Tensor) -> Tensor:
    return value * torch.sigmoid(query + edge) + query.mean(-1, keepdim=True) * edge


@dataclass(frozen=True)
class Attention:
    """A score, a message and a normalizer.

    Attributes:
        score: A function, or a class of modules that is made for a number of channels.
        message: A function.
        edge_output: Another, or none.
        normalizer: Makes one for a number of heads.
    """

    score: Callable[..., Any]
    message: Callable[..., Tensor] = plain
    edge_output: Callable[..., Tensor] | None = None
    normalizer: Callable[[int], Normalizer] = field(default=lambda heads: Softmax())

    @property
    def names(self) -> list[str]:
        """The inputs."""
        functions = [f for f in (self.score, self.message, self.edge_output) if f is not None]
        calls = [getattr(f, "forward", f) for f in functions]  # of a class of modules, of none else
        found = {name: None for call in calls for name in inspect.signature(call).parameters}
        return [name for name in found if name in _INPUTS]

    def layer(self, heads: int, channels: int, **options: Any) -> EdgeAttention:
        """The attention, on the CPU; the same parameters for the same sizes."""
        torch.manual_seed(1)
        score = self.score(channels) if isinstance(self.score, type) else self.score
        normalizer = self.normalizer(heads)
        with torch.no_grad():
            for parameter in normalizer.parameters():
                parameter.add_(0.2 * torch.rand(heads))
        roles: dict[str, Any] = {}
        for name in self.names:
            roles.setdefault(_INPUTS[name][0], []).append(name)
        return EdgeAttention(
            score,
            self.message,
            normalizer=normalizer,
            edge_output=self.edge_output,
            **roles,
            **options,
        )

    def inputs(
        self, edges: Edges, heads: int, channels: int, dtype: torch.dtype
    ) -> dict[str, Tensor]:
        """All inputs, where the edges lie."""
        return {name: make_input(name, edges, heads, channels, dtype) for name in self.names}


LAYERS = {
    "GAT": Attention(gat_conv.score, gat_conv.message),
    "GATv2": Attention(gatv2_conv.score, gatv2_conv.message),
    "Transformer": Attention(transformer_conv.score, transformer_conv.message),
}
SCORES = {
    "perceptron": Attention(perceptron),
    "channel-wise": Attention(sum_of_channels, edge_output=channel_wise),
    "cosine": Attention(cosine),
    "fading with distance": Attention(fading),
    "masked": Attention(masked),
    "module": Attention(Gate),
    "message of all ends": Attention(dot_product, gated),
}
_NORMALIZERS: dict[str, Callable[[int], Normalizer]] = {
    "softmax": lambda heads: Softmax(),
    "softmax one": lambda heads: normalizers.SoftmaxOne(),
    "sink softmax": normalizers.SinkSoftmax,
    "sigmoid": lambda heads: normalizers.Sigmoid(heads=heads, minus_log_degree=True),
    "Laplace": lambda heads: normalizers.Laplace(),
    "softplus sum": lambda heads: normalizers.SoftplusSum(),
    "ReLU sum": lambda heads: normalizers.ReLUSum(0.01),
    "clamped softmax": lambda heads: normalizers.ClampedSoftmax(1.5, 1e-6),
    "identity": lambda heads: normalizers.Identity(),
    "sparsemax": lambda heads: normalizers.Sparsemax(),
    "entmax 1.5": lambda heads: normalizers.Entmax15(),
    "entmax": lambda heads: normalizers.Entmax(nn.Parameter(torch.full((heads,), 1.4))),
    "adaptive entmax": lambda heads: normalizers.AdaptiveEntmax(heads, 1.3),
    "symmetric degree": lambda heads: normalizers.SymmetricDegree(torch.exp),
    "standardize": lambda heads: normalizers.Standardize(heads, epsilon=0.1),
}
NORMALIZERS = {name: Attention(dot_product, normalizer=make) for name, make in _NORMALIZERS.items()}
ATTENTIONS = {**LAYERS, **SCORES, **NORMALIZERS}
