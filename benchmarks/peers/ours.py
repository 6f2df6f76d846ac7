"""This library: the drop-in layers, and attention written by a user."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import graphattn.nn
from benchmarks.cases import Case
from benchmarks.peers.contestant import Contestant, Weights, arguments
from graphattn import EdgeAttention, Edges


def drop_in(layer: str, case: Case, weights: Weights) -> Contestant:
    """The layer as it comes, called with a plain edge list."""
    module: nn.Module = getattr(graphattn.nn, layer)(**arguments(layer, case))
    module.load_state_dict(weights)
    return Contestant(
        list(module.parameters()),
        lambda edge_index, num_nodes: edge_index,
        lambda x, edge_index, edge_attr: module(x[0], edge_index, edge_attr),
    )


def score(receiver: Tensor, sender: Tensor, attention: Tensor) -> Tensor:
    return (F.leaky_relu(receiver + sender, 0.2) * attention).sum(-1)  # (E, H)


def message(sender: Tensor) -> Tensor:
    return sender  # (E, H, C)


class OwnGATv2(nn.Module):
    """GATv2 as a user would write it, without the layer."""

    def __init__(self, in_channels: int, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.lin_l = nn.Linear(in_channels, heads * channels)
        self.lin_r = nn.Linear(in_channels, heads * channels)
        self.att = nn.Parameter(torch.empty(1, heads, channels))
        self.bias = nn.Parameter(torch.empty(heads * channels))
        self.attend = EdgeAttention(
            score, message, target=["receiver"], source=["sender"], shared=["attention"]
        )

    def forward(self, x: Tensor, edges: Edges) -> Tensor:
        sender = self.lin_l(x).unflatten(1, (self.heads, -1))
        receiver = self.lin_r(x).unflatten(1, (self.heads, -1))
        out = self.attend(edges, sender=sender, receiver=receiver, attention=self.att[0])
        return out.flatten(1) + self.bias


def own_score(layer: str, case: Case, weights: Weights) -> Contestant:
    """The user's own GATv2, on ``Edges`` built once."""
    if layer != "GATv2Conv":
        raise ValueError(f"layer must be GATv2Conv for an own score, got {layer}")
    module = OwnGATv2(case.in_channels, case.channels, case.heads)
    module.load_state_dict(weights)
    return Contestant(
        list(module.parameters()),
        lambda edge_index, num_nodes: Edges.from_edge_index(
            edge_index, num_nodes, self_loops=case.self_loops
        ),
        lambda x, edges, edge_attr: module(x[0], edges),
    )


def generated(layer: str, case: Case, weights: Weights) -> Contestant:
    """GATv2 attention without linear maps, by generated C++."""
    if layer != "GATv2 attention":
        raise ValueError(f"layer must be GATv2 attention, got {layer}")
    attend = EdgeAttention(
        score,
        message,
        target=["receiver"],
        source=["sender"],
        shared=["attention"],
        backend="cpp",
    )
    attention = nn.Parameter(weights["attention"])

    def call(x: Sequence[Tensor], edges: Edges, edge_attr: Tensor | None) -> Tensor:
        sender, receiver = (own.unflatten(1, (case.heads, case.channels)) for own in x)
        out: Tensor = attend(edges, sender=sender, receiver=receiver, attention=attention)
        return out.flatten(1)

    return Contestant([attention], lambda index, size: Edges.from_edge_index(index, size), call)
