"""The edge programs under contract: scores of many kinds, the layers' own, all normalizers."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from graphattn.attention import EdgeAttention
from graphattn.edges import Edges
from graphattn.nn.convolutions import gat_conv, gatv2_conv, transformer_conv
from graphattn.normalizers import (
    ClampedSoftmax,
    Identity,
    Laplace,
    Normalizer,
    ReLUSum,
    Sigmoid,
    SinkSoftmax,
    Softmax,
    SoftmaxOne,
    SoftplusSum,
)
from graphattn.normalizers.sparse import Entmax, Entmax15, Sparsemax
from graphattn.normalizers.standardize import Standardize
from graphattn.normalizers.symmetric import SymmetricDegree

# Role of each input, and its shape for H heads and C channels, but for rows.
INPUTS: dict[str, tuple[str, Callable[[int, int], tuple[int, ...]]]] = {
    **dict.fromkeys(("query", "target"), ("target", lambda h, c: (h, c))),
    **dict.fromkeys(("key", "value", "source"), ("source", lambda h, c: (h, c))),
    "target_logit": ("target", lambda h, c: (h,)),
    "source_logit": ("source", lambda h, c: (h,)),
    "edge": ("edge", lambda h, c: (h, c)),
    **dict.fromkeys(("bias", "edge_logit"), ("edge", lambda h, c: (h,))),
    **dict.fromkeys(("distance", "mask", "keep"), ("edge", lambda h, c: ())),
    **dict.fromkeys(("vector", "attention"), ("shared", lambda h, c: (h, c))),
    "matrix": ("shared", lambda h, c: (h, c, c)),
    "hidden": ("shared", lambda h, c: (3 * c, 6)),
    "last": ("shared", lambda h, c: (6,)),
    "tall": ("shared", lambda h, c: (2 * c, 4)),
    "width": ("shared", lambda h, c: (h,)),
}


def dot_product(query: Tensor, key: Tensor, bias: Tensor) -> Tensor:
    return (query * key).sum(-1) / query.shape[-1] ** 0.5 + bias


def perceptron(query: Tensor, key: Tensor, edge: Tensor, hidden: Tensor, last: Tensor) -> Tensor:
    return F.gelu(torch.cat([query, key, edge], dim=-1) @ hidden) @ last


def product_of_scores(query: Tensor, key: Tensor, vector: Tensor, width: Tensor) -> Tensor:
    gate = torch.sigmoid(((query - key).tanh() * vector).sum(-1) + width)
    return (query * key).sum(-1) / query.shape[-1] ** 0.5 * gate


def channel_wise(query: Tensor, key: Tensor, edge: Tensor) -> Tensor:
    return raw_channel_wise(query, key, edge).clamp(-1.5, 1.5).sum(-1)


def raw_channel_wise(query: Tensor, key: Tensor, edge: Tensor) -> Tensor:
    return query * key * edge / query.shape[-1] ** 0.5


def cosine(query: Tensor, key: Tensor, width: Tensor) -> Tensor:
    return F.cosine_similarity(query, key, dim=-1) * width


def gaussian(query: Tensor, distance: Tensor, vector: Tensor) -> Tensor:
    width = 0.5 + F.softplus((query * vector).sum(-1))
    return -0.5 * (distance[:, None] / width).square() - width.log()


class Gate(nn.Module):
    """Two linear maps of target and source, with a normalization and a buffer between them."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Linear(channels, 4)
        self.second = nn.Linear(channels, 4, bias=False)
        self.norm = nn.LayerNorm(4)
        self.logit = nn.Linear(4, 1)
        self.register_buffer("slope", torch.tensor(0.3))

    def forward(self, query: Tensor, key: Tensor) -> Tensor:
        x = self.norm(self.first(query) + self.second(key))
        return self.logit(torch.where(x > 0, x, x * self.slope)).squeeze(-1)


def bilinear(query: Tensor, key: Tensor, matrix: Tensor) -> Tensor:
    return torch.einsum("ehc,hcd,ehd->eh", query, matrix, key).div(query.shape[-1]).tanh()


def of_distributions(query: Tensor, key: Tensor, vector: Tensor) -> Tensor:
    own = F.layer_norm(query, query.shape[-1:], eps=0.1)
    return (own.softmax(-1) * key.log_softmax(-1) * vector).sum(-1)


def masked(query: Tensor, key: Tensor, keep: Tensor) -> Tensor:
    return (query * key).mean(-1).masked_fill(~keep[:, None], -torch.inf)


def additive(target_logit: Tensor, source_logit: Tensor, bias: Tensor) -> Tensor:
    return F.elu(target_logit + source_logit) * bias.cos()


def many_moves(query: Tensor, key: Tensor, tall: Tensor) -> Tensor:
    scaled = F.layer_norm(torch.cat([query, key], dim=-1), (2 * query.shape[-1],))
    scaled.mul_(2)
    tail = F.softmax(scaled @ tall, -1)[..., 1:].amax(-1)
    factors = torch.arange(1.0, 1 + query.shape[1]).to(query)
    picked = query[..., [0, -1]].prod(-1) * factors
    return tail + F.gelu(torch.einsum("ehc,ehc->eh", query, key)) + picked + query[..., 0].round()


def plain(value: Tensor) -> Tensor:
    return value


def gated(value: Tensor, query: Tensor) -> Tensor:
    return torch.where(query > 0, value, F.elu(value)) * torch.sigmoid(query).mean(-1, keepdim=True)


def of_all_ends(query: Tensor, value: Tensor, edge: Tensor) -> Tensor:
    return value * torch.sigmoid(query + edge) + query.mean(-1, keepdim=True) * edge


@dataclass(frozen=True)
class Case:
    """A program with a normalizer.

    Attributes:
        score: A function, or a class of modules that is made for a number of channels.
        message: A function.
        edge_output: Another, or none.
        normalizer: Makes one for a number of heads.
        logits: The input that is added to the logits, ``(E, H)``, if there is one.
    """

    score: Callable[..., Any]
    message: Callable[..., Tensor] = plain
    edge_output: Callable[..., Tensor] | None = None
    normalizer: Callable[[int], Normalizer] = field(default=lambda heads: Softmax())
    logits: str | None = None

    @property
    def names(self) -> list[str]:
        """The inputs, in the order in which functions name them."""
        functions = (self.score, self.message, self.edge_output)
        found: dict[str, None] = {}
        for function in functions:
            called = function.forward if isinstance(function, type) else function
            names = () if called is None else inspect.signature(called).parameters
            found |= {name: None for name in names if name in INPUTS}
        return list(found)

    def layer(self, heads: int, channels: int, **options: Any) -> EdgeAttention:
        """The attention; the same parameters for the same sizes."""
        torch.manual_seed(1)
        score = self.score(channels) if isinstance(self.score, type) else self.score
        normalizer = self.normalizer(heads)
        with torch.no_grad():
            for parameter in normalizer.parameters():
                parameter.add_(0.2 * torch.randn(heads))
        roles: dict[str, list[str]] = {}
        for name in self.names:
            roles.setdefault(INPUTS[name][0], []).append(name)
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
        """Random inputs; the same for the same structure and sizes."""
        torch.manual_seed(2)
        rows = {
            "target": (edges.num_targets,),
            "source": (edges.num_sources,),
            "edge": (edges.num_edges,),
            "shared": (),
        }
        made = {}
        for name in self.names:
            role, shape = INPUTS[name]
            x = torch.randn(*rows[role], *shape(heads, channels), dtype=torch.float64)
            made[name] = x > -0.7 if name == "keep" else x.to(dtype)
        return made


LAYERS = {
    "GAT": Case(gat_conv.score, gat_conv.message, logits="edge_logit"),
    "GATv2": Case(gatv2_conv.score, gatv2_conv.message),
    "Transformer": Case(transformer_conv.score, transformer_conv.message),
}
SCORES = {
    "perceptron": Case(perceptron),
    "product of scores": Case(product_of_scores),
    "channel-wise": Case(channel_wise, edge_output=raw_channel_wise),
    "cosine": Case(cosine),
    "gaussian": Case(gaussian),
    "module": Case(Gate),
    "bilinear": Case(bilinear),
    "of distributions": Case(of_distributions),
    "masked": Case(masked),
    "message of all ends": Case(additive, of_all_ends),
    "many moves": Case(many_moves, gated),
}
_NORMALIZERS: dict[str, Callable[[int], Normalizer]] = {
    "softmax": lambda heads: Softmax(),
    "softmax one": lambda heads: SoftmaxOne(),
    "sink softmax": SinkSoftmax,
    "sigmoid": lambda heads: Sigmoid(-0.5),
    "sigmoid with a bias": lambda heads: Sigmoid(heads=heads, minus_log_degree=True),
    "Laplace": lambda heads: Laplace(),
    "softplus sum": lambda heads: SoftplusSum(),
    "ReLU sum": lambda heads: ReLUSum(0.01),
    "clamped softmax": lambda heads: ClampedSoftmax(1.5, 1e-6),
    "identity": lambda heads: Identity(),
    "sparsemax": lambda heads: Sparsemax(),
    "entmax 1.5": lambda heads: Entmax15(),
    "entmax": lambda heads: Entmax(nn.Parameter(torch.full((heads,), 1.4))),
    # The bits of PyTorch's own softplus, its default, depend on the number of threads.
    "symmetric degree": lambda heads: SymmetricDegree(torch.exp),
    "standardize": lambda heads: Standardize(heads, epsilon=0.1),
}
NORMALIZERS = {
    name: Case(dot_product, normalizer=make, logits="bias") for name, make in _NORMALIZERS.items()
}
CASES = {**LAYERS, **SCORES, **NORMALIZERS}
