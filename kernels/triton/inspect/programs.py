"""The edge programs that the gate is for: those of the most used layers."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from graphattn.kernels.program import InputSpec, Program, UserFunction, capture


def _gat(source_logit: Tensor, target_logit: Tensor, negative_slope: float) -> Tensor:
    return F.leaky_relu(source_logit + target_logit, negative_slope)


def _gatv2(target: Tensor, source: Tensor, attention: Tensor, negative_slope: float) -> Tensor:
    return (F.leaky_relu(target + source, negative_slope) * attention).sum(-1)


def _dot_product(query: Tensor, key: Tensor) -> Tensor:
    return (query * key).sum(-1) / query.shape[-1] ** 0.5


def _channel_wise(query: Tensor, key: Tensor, edge: Tensor) -> Tensor:
    return query * key / query.shape[-1] ** 0.5 * edge


def _channel_wise_score(query: Tensor, key: Tensor, edge: Tensor) -> Tensor:
    return _channel_wise(query, key, edge).sum(-1)


def _source(source: Tensor) -> Tensor:
    return source


def _value(value: Tensor) -> Tensor:
    return value


@dataclass(frozen=True)
class Layer:
    """What a layer computes for each edge.

    Attributes:
        functions: By what they compute, as ``capture`` takes them.
        roles: Role of each input, and whether it has ``C`` channels for every head or one number.
        constants: Python numbers that the functions are given.
    """

    functions: dict[str, Callable[..., Tensor]]
    roles: dict[str, tuple[str, bool]]
    constants: dict[str, Any] = field(default_factory=dict)

    def program(self, heads: int, channels: int, dtype: torch.dtype) -> Program:
        """The edge program for a number of heads and channels.

        Args:
            heads: ``H``.
            channels: ``C``, of each head.
            dtype: Element type of all inputs.
        """
        functions = {name: UserFunction.of(call, name) for name, call in self.functions.items()}
        specs = {
            name: InputSpec(role, (heads, channels) if has_channels else (heads,), dtype)
            for name, (role, has_channels) in self.roles.items()
        }
        return capture(functions, specs, self.constants)


LAYERS = {
    "GAT": Layer(
        {"logits": _gat, "message": _source},
        {
            "target_logit": ("target", False),
            "source_logit": ("source", False),
            "source": ("source", True),
        },
        {"negative_slope": 0.2},
    ),
    "GATv2": Layer(
        {"logits": _gatv2, "message": _source},
        {"target": ("target", True), "source": ("source", True), "attention": ("shared", True)},
        {"negative_slope": 0.2},
    ),
    "TransformerConv": Layer(
        {"logits": _dot_product, "message": _value},
        {"query": ("target", True), "key": ("source", True), "value": ("source", True)},
    ),
    "GraphTransformer": Layer(
        {"logits": _channel_wise_score, "message": _value, "edge_output": _channel_wise},
        {
            "query": ("target", True),
            "key": ("source", True),
            "value": ("source", True),
            "edge": ("edge", True),
        },
    ),
}
