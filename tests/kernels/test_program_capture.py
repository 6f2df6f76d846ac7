"""Mixing edges, looking at values, random numbers, closed-over tensors: refused by line."""

import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from edge_programs import CHANNELS, HEADS, captured
from refusals import refused
from torch import Tensor, nn
from torch.nn import functional as F

from graphattn.kernels.program import CaptureError

GLOBAL = torch.ones(HEADS)


class Holder:
    weight = torch.ones(HEADS)

    def score(self, query: Tensor) -> Tensor:
        return query.sum(-1) * self.weight


HOLDER = Holder()
HOLDER.weight = torch.ones(HEADS)  # of the object itself, not of its class


LINEAR = nn.Linear(CHANNELS, 1)


LISTED = [torch.ones(HEADS)]


MIXING: dict[str, tuple[Callable[..., Any], str]] = {
    "sum of all": (lambda query: query.sum(-1) - query.sum(), "sum mixes edges"),
    "sum": (lambda query: (query - query.sum(0)).sum(-1), "sum mixes edges"),
    "mean": (lambda query: (query - query.mean(0)).sum(-1), "mixes edges"),
    "largest": (lambda query: query[..., 0] - query.amax((0, 2)), "amax mixes edges"),
    "standard deviation": (lambda query: query.sum(-1) / query.std(), "mixes edges"),
    "norm": (lambda query: query.sum(-1) / query.norm(), "mixes edges"),
    "normalize": (lambda query: F.normalize(query, dim=0).sum(-1), "mixes edges"),
    "softmax": (lambda query: query.softmax(0).sum(-1), "mixes edges"),
    "logsumexp": (lambda query: query[..., 0] - query.logsumexp(0)[:, 0], "mixes edges"),
    "cumsum": (lambda query: query.cumsum(0).sum(-1), "cumsum"),
    "flip": (lambda query: query.flip(0).sum(-1), "flip"),
    "sort": (lambda query: query.sort(0).values.sum(-1), "sort"),
    "median": (lambda query: query.sum(-1) - query.median(), "median"),
    "roll": (lambda query: query.roll(1, 0).sum(-1), "number of edges"),
    "gram matrix": (lambda query, key: query[:, 0] @ key[:, 0].T, "mm makes a tensor of edges by"),
    "attention": (lambda query, key: query[:, 0] @ key[:, 0].T @ key[:, 0], "edges by edges"),
    "covariance": (lambda query: (query[:, 0].T @ query[:, 0])[None, 0], "mm mixes edges"),
    "einsum": (lambda query, key: torch.einsum("ehc,fhc->eh", query, key), "mixes edges"),
    "outer sum": (lambda distance: distance + distance[:, None], "edges by edges"),
    "all but first": (lambda query: query[1:].sum(-1), "slice makes a tensor whose size"),
    "every other": (lambda query: query[::2].sum(-1), "slice makes a tensor whose size"),
    "first": (lambda query: (query - query[0]).sum(-1), "select mixes edges"),
    "last": (lambda query: (query - query[-1]).sum(-1), "select mixes edges"),
    "first, kept": (lambda query: (query - query[:1]).sum(-1), "slice mixes edges"),
    "last, kept": (lambda query: (query - query[-1:]).sum(-1), "slice mixes edges"),
    "difference": (lambda query: query.diff(dim=0, append=query[-1:]).sum(-1), "edges"),
    "chosen edges": (lambda query: query[[0, 1]].sum(-1), "index mixes edges"),
    "pad": (lambda query: F.pad(query, (0, 0, 0, 0, 1, -1)).sum(-1), "constant_pad_nd"),
    "cat": (lambda query, key: torch.cat([query, key]).sum(-1), "cat mixes edges"),
    "shifted": (lambda query: torch.cat([query[:1], query[:-1]]).sum(-1), "slice"),
    "repeat": (lambda query: query.repeat(2, 1, 1).view(2, -1, HEADS, CHANNELS).sum((0, 3)), ""),
    "unbind": (lambda query: torch.stack(query.unbind()).sum(-1), "unbind mixes edges"),
    "iteration": (lambda query: torch.stack([row.sum(-1) for row in query]), "unbind mixes edges"),
    "split": (lambda query: torch.cat(query.split(1)).sum(-1), "split mixes edges"),
    "chunk": (lambda query: torch.cat(query.chunk(2)).sum(-1), "chunk mixes edges"),
    "heads first": (lambda query: query.reshape(HEADS, -1, CHANNELS)[..., 0].T, "view mixes edges"),
    "wrong merge": (lambda query: query[..., 0].T.reshape(-1, HEADS), "view mixes edges"),
    "a row of edges": (
        lambda distance: distance[:, None].reshape(1, -1).sum(1).expand(1, HEADS),
        "sum mixes edges",
    ),
    "a row of one head": (
        lambda query: query[:, :1, 0].reshape(1, -1).amax(1, keepdim=True) + query[..., 0],
        "amax mixes edges",
    ),
    "batch norm": (lambda query: F.batch_norm(query, None, None, training=True).sum(-1), ""),
    "in-place row": (lambda query: query.clone()[0].zero_().sum(-1), "mixes edges"),
    "window": (lambda query: query.unfold(0, 2, 1)[..., 0].sum(-1), "unfold makes a tensor whose"),
    "scatter": (lambda query: query.index_add(0, torch.tensor([0]), query[:1]).sum(-1), ""),
}


@pytest.mark.parametrize("name", MIXING)
def test_mixing_edges_is_refused(name: str) -> None:
    function, words = MIXING[name]
    refused(function, words)


def branch(query: Tensor) -> Tensor:
    if query.sum() > 0:
        return query.sum(-1)
    return -query.sum(-1)


def loop(query: Tensor) -> Tensor:
    while query.norm() > 1:
        query = query / 2
    return query.sum(-1)


def assertion(query: Tensor) -> Tensor:
    assert (query > 0).all()
    return query.sum(-1)


VALUES: dict[str, Callable[..., Any]] = {
    "if": branch,
    "while": loop,
    "assert": assertion,
    "float": lambda query: query.sum(-1) * float(query.max()),
    "int": lambda query: query.sum(-1) * int(query.max()),
    "item": lambda query: query.sum(-1) * query[0, 0, 0].item(),
    "item of a shared input": lambda query, scale: query.sum(-1) * scale.item(),
    "shared input as a number": lambda query, scale: query.sum(-1) * float(scale),
    "tolist of a shared input": lambda query, vector: query.sum(-1) * vector.tolist()[0][0],
    "range": lambda query, scale: sum(query[:, i] for i in range(scale.long())),
    "numpy": lambda query: torch.from_numpy(query.numpy()).sum(-1),
    "asarray": lambda query: torch.from_numpy(np.asarray(query)).sum(-1),
    "boolean mask": lambda query: query[query[:, 0, 0] > 0].sum(-1),
    "masked_select": lambda query: torch.masked_select(query, query > 0),
    "nonzero": lambda query: query.nonzero(),
    "where of one": lambda query: torch.where(query > 0)[0],
    "unique": lambda query: query.unique(),
    "python max": lambda query, key: max(query.sum(-1), key.sum(-1)),
    "equal": lambda query, key: query.sum(-1) * torch.equal(query, key),
    "allclose": lambda query, key: query.sum(-1) * torch.allclose(query, key),
}


@pytest.mark.parametrize("name", VALUES)
def test_looking_at_values_is_refused(name: str) -> None:
    refused(VALUES[name], "looks at the values of a tensor")


RANDOM: dict[str, Callable[..., Any]] = {
    "rand_like": lambda query: (query + torch.rand_like(query)).sum(-1),
    "randn": lambda query: query.sum(-1) + torch.randn(query.shape[0], HEADS),
    "shared randn": lambda query: query.sum(-1) + torch.randn(HEADS),
    "normal_": lambda query: query.clone().normal_().sum(-1),
    "dropout": lambda query: F.dropout(query).sum(-1),
    "bernoulli": lambda query: query.sigmoid().bernoulli().sum(-1),
    "gumbel": lambda query: F.gumbel_softmax(query).sum(-1),
    "randperm": lambda query: query[:, torch.randperm(HEADS)].sum(-1),
    "multinomial": lambda query, vector: query.sum(-1) + torch.multinomial(vector.abs()[0], HEADS),
}


@pytest.mark.parametrize("name", RANDOM)
def test_random_numbers_are_refused(name: str) -> None:
    before = torch.get_rng_state()
    refused(RANDOM[name], "draws random numbers")
    assert torch.equal(before, torch.get_rng_state())


def with_default(query: Tensor, bias: Tensor = torch.ones(HEADS)) -> Tensor:  # noqa: B008
    return query.sum(-1) + bias


def closure() -> Callable[..., Any]:
    kept = torch.ones(HEADS)
    return lambda query: query.sum(-1) * kept


CLOSED_OVER: dict[str, tuple[Callable[..., Any], str]] = {
    "global": (lambda query: query.sum(-1) * GLOBAL, "'GLOBAL' of shape (3,)"),
    "closure": (closure(), "'kept'"),
    "attribute": (lambda query: query.sum(-1) * HOLDER.weight, "'HOLDER.weight'"),
    "self": (HOLDER.score, "'self.weight'"),
    "default": (with_default, "'bias'"),
    "list": (lambda query: query.sum(-1) * LISTED[0], "'LISTED[0]'"),
    "module": (lambda query: LINEAR(query).squeeze(-1), "'LINEAR.weight'"),
    "only looked at": (lambda query: query.sum(-1) * (1 if GLOBAL.sum() > 0 else 2), "'GLOBAL'"),
    "as a template": (lambda query: query.sum(-1) + torch.zeros_like(GLOBAL), "'GLOBAL'"),
    "as an index": (lambda query: query[:, GLOBAL.long()].sum(-1), "'GLOBAL'"),
    "as a number": (lambda query: query.sum(-1) * GLOBAL[0].item(), "'GLOBAL'"),
    "method": (lambda query: GLOBAL.add(query.sum(-1)), "'GLOBAL'"),
    "in vmap": (lambda query: torch.vmap(lambda x: x.sum(-1) * GLOBAL)(query), "is used but not"),
    "numpy": (lambda query: query.sum(-1) * torch.from_numpy(np.ones(HEADS)), "is used but not"),
}


@pytest.mark.parametrize("name", CLOSED_OVER)
def test_a_tensor_that_was_not_passed_in_is_refused_by_name(name: str) -> None:
    function, words = CLOSED_OVER[name]
    text = refused(getattr(function, "__func__", function), words) if name != "self" else ""
    if name == "self":
        with pytest.raises(CaptureError, match=re.escape(words)) as caught:
            captured(function)
        text = str(caught.value)
    assert "shared=" in text


def test_the_shape_of_a_tensor_that_was_not_passed_in_may_be_used() -> None:
    program = captured(lambda query: query.sum(-1) / GLOBAL.shape[0])
    assert [step.inputs[1:] for step in program.steps if step.operation == "div"] == [(HEADS,)]


def parity(query: Tensor) -> Tensor:
    if len(query) % 2:
        return query.sum(-1)
    return query.sum(-1) * 2


def loop_over_edges(query: Tensor) -> Tensor:
    return torch.stack([query[edge].sum(-1) for edge in range(query.shape[0])])


NUMBER_OF_EDGES: dict[str, tuple[Callable[..., Any], str]] = {
    "shape": (lambda query: query.sum(-1) * query.shape[0], "mul uses the number of edges"),
    "root of len": (lambda query: query.sum(-1) / math.sqrt(len(query)), "number of edges"),
    "numel": (lambda query: query.sum(-1) / query.numel(), "number of edges"),
    "remainder": (lambda query: query.sum(-1) * (query.shape[0] % 2), "number of edges"),
    "another remainder": (lambda query: query.sum(-1) * (len(query) % 12), "number of edges"),
    "full": (
        lambda query: query.sum(-1) + torch.full((HEADS,), query.shape[0]),
        "full uses the number of edges",
    ),
    "tensor": (lambda query: query.sum(-1) / torch.tensor(query.shape[0]), "number of edges"),
    "position": (lambda query: query[..., query.shape[0] % 4] * 1.0, "number of edges"),
    "arange": (lambda query: torch.arange(len(query))[:, None] * query.sum(-1), "number of edges"),
    "linspace": (
        lambda query: query.sum(-1) + torch.linspace(0, 1, len(query))[:, None],
        "number of edges",
    ),
    "eye": (lambda query: query.sum(-1) + torch.eye(query.shape[0])[:, :HEADS], "edges"),
    "parity": (parity, "when the number of edges changes"),
    "loop": (loop_over_edges, "a loop over edges"),
}


@pytest.mark.parametrize("name", NUMBER_OF_EDGES)
def test_the_number_of_edges_is_no_value(name: str) -> None:
    function, words = NUMBER_OF_EDGES[name]
    refused(function, words)
