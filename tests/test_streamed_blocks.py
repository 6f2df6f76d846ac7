"""Weights that need a whole row, made a few queries at a time: the same numbers, in less memory."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from sizes import LargestTensor
from torch import Tensor, nn
from torch.testing import assert_close

from graphattn import streamed
from graphattn.attention import EdgeAttention
from graphattn.blocks import Blocks
from graphattn.normalizers import (
    AdaptiveEntmax,
    Entmax,
    Normalizer,
    Sparsemax,
    Standardize,
    SymmetricDegree,
)

H, C = 2, 4
# Without queries, without keys, and one that has most of the pairs.
QUERIES = torch.tensor([0, 3, 3, 40, 44, 46])
KEYS = torch.tensor([0, 4, 9, 59, 59, 60])
NORMALIZERS: dict[str, Callable[[], Normalizer]] = {
    "sparsemax": Sparsemax,
    "alpha for all, learned": lambda: Entmax(nn.Parameter(torch.tensor(1.4))),
    "alpha for each head": lambda: AdaptiveEntmax(H, 1.7),
    "standardized": lambda: Standardize(H),
}
RETURNED = ("return_weights", "return_dropped", "return_logits")
WHOLE = 1 << 30


class Score(nn.Module):
    """A dot product with parameters, one of them a single number."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.rand(H, C) + 0.5)
        self.shift = nn.Parameter(torch.tensor(0.1))

    def forward(self, query: Tensor, key: Tensor, bias: Tensor) -> Tensor:
        return (query * key * self.weight).sum(-1) + bias * self.shift


def attention(normalizer: Normalizer, **options: Any) -> EdgeAttention:
    made = EdgeAttention(
        Score(),
        lambda value, width: value * width,
        target=["query"],
        source=["key", "value"],
        edge=["bias"],
        shared=["width"],
        edge_output=lambda query, bias: query * bias.unsqueeze(-1),
        normalizer=normalizer,
        **options,
    )
    return made.double()


def inputs(blocks: Blocks) -> dict[str, Tensor]:
    shapes = {
        "query": (blocks.num_targets, H, C),
        "key": (blocks.num_sources, H, C),
        "value": (blocks.num_sources, H, C),
        "bias": (blocks.num_edges, H),
        "width": (),
    }
    return {
        name: torch.randn(shape, dtype=torch.float64, requires_grad=True)
        for name, shape in shapes.items()
    }


def results(layer: EdgeAttention, given: dict[str, Tensor], **options: Any) -> list[Tensor]:
    """All that is returned, and gradients of a fixed combination of it."""
    found = layer(Blocks.from_ptr(QUERIES, KEYS), **given, **options)
    generator = torch.Generator().manual_seed(3)
    total = torch.zeros((), dtype=torch.float64)
    for x in found:
        total = total + (x * torch.randn(x.shape, generator=generator, dtype=x.dtype)).sum()
    leaves = [*given.values(), *layer.parameters()]
    return [*found, *torch.autograd.grad(total, leaves)]


@pytest.mark.parametrize("name", NORMALIZERS)
def test_chunks_of_any_size_give_what_one_piece_gives(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    layer, given = attention(NORMALIZERS[name]()), inputs(Blocks.from_ptr(QUERIES, KEYS))
    plain = copy.deepcopy(layer)
    plain.backend = "reference"
    expected = results(plain, given, **dict.fromkeys(RETURNED, True))
    for pairs in (1, 120, WHOLE):
        monkeypatch.setattr(streamed, "PAIRS", pairs)
        found = results(layer, given, **dict.fromkeys(RETURNED, True))
        for one, another in zip(found, expected, strict=True):
            assert_close(one, another)


def test_dropout_takes_the_same_weights_in_chunks_of_any_size(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    layer, given = attention(Sparsemax()), inputs(Blocks.from_ptr(QUERIES, KEYS))
    runs = []
    for pairs in (1, 120, WHOLE):
        monkeypatch.setattr(streamed, "PAIRS", pairs)
        torch.manual_seed(7)
        runs.append(results(layer, given, dropout=0.4, return_dropped=True))
    dropped = runs[0][2]
    assert 0.2 < (dropped == 0).double().mean() < 1
    for one, another, whole in zip(*runs, strict=True):
        assert_close(one, whole)
        assert_close(another, whole)
        assert torch.equal(one == 0, whole == 0)


def test_derivatives_can_be_differentiated_again(monkeypatch: pytest.MonkeyPatch) -> None:
    layer, given = attention(AdaptiveEntmax(H)), inputs(Blocks.from_ptr(QUERIES, KEYS))
    leaves = [given["query"], given["key"], given["width"], *layer.parameters()]
    found = []
    for pairs in (120, WHOLE):
        monkeypatch.setattr(streamed, "PAIRS", pairs)
        out, _ = layer(Blocks.from_ptr(QUERIES, KEYS), **given)
        (force,) = torch.autograd.grad(out.square().sum(), given["query"], create_graph=True)
        found.append(torch.autograd.grad(force.square().sum(), leaves))
    for one, whole in zip(*found, strict=True):
        assert_close(one, whole)


def test_autocast_is_the_same_in_the_backward_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = EdgeAttention(
        lambda query, key, matrix: (query @ matrix * key).sum(-1),
        lambda value: value,
        target=["query"],
        source=["key", "value"],
        shared=["matrix"],
        normalizer=Standardize(),
    )
    blocks = Blocks.from_ptr(QUERIES, KEYS)
    given = {name: x.float() for name, x in inputs(blocks).items() if x.ndim == 3}
    given["matrix"] = torch.randn(C, C, requires_grad=True)
    found = []
    for pairs in (120, WHOLE):
        monkeypatch.setattr(streamed, "PAIRS", pairs)
        with torch.autocast("cpu", torch.bfloat16):
            out = layer(blocks, **given)
        found.append([out, *torch.autograd.grad(out.float().square().sum(), given.values())])
    assert len(layer._compiled.plans) == 2  # none without autocast
    for one, whole in zip(*found, strict=True):
        assert_close(one, whole, atol=1e-3, rtol=1e-3)


def test_parameters_that_are_lent_get_their_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    layer, given = attention(AdaptiveEntmax(H)), inputs(Blocks.from_ptr(QUERIES, KEYS))
    lent = {name: (2 * x).detach().requires_grad_() for name, x in layer.named_parameters()}
    found = []
    for pairs in (120, WHOLE):
        monkeypatch.setattr(streamed, "PAIRS", pairs)
        blocks = Blocks.from_ptr(QUERIES, KEYS)
        out, _ = torch.func.functional_call(layer, lent, (blocks,), given)
        found.append([out, *torch.autograd.grad(out.square().sum(), list(lent.values()))])
    for one, whole in zip(*found, strict=True):
        assert_close(one, whole)


@pytest.mark.parametrize("name", ["sparsemax", "alpha for each head", "standardized"])
def test_nothing_is_of_the_size_of_all_pairs(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    layer = EdgeAttention(
        lambda query, key: (query * key).sum(-1),
        lambda value: value,
        target=["query"],
        source=["key", "value"],
        normalizer=NORMALIZERS[name]().double(),
    )
    sizes = [150, 3, 60, 0, 20]
    blocks = Blocks.from_ptr(torch.tensor([0, *sizes]).cumsum(0))
    given = {name: x for name, x in inputs(blocks).items() if name in ("query", "key", "value")}
    largest = {}
    for pairs in (500, WHOLE):
        monkeypatch.setattr(streamed, "PAIRS", pairs)
        # The functions are recorded with many edges, which are none that take memory.
        first = Blocks.from_ptr(torch.tensor([0, 30]))
        layer(first, **{name: x[:30] for name, x in given.items()}).sum().backward()
        with LargestTensor() as made:
            out = layer(blocks, **given)
        forward, made.numel = made.numel, 0
        with made:
            torch.autograd.grad(out.square().sum(), list(given.values()))
        largest[pairs] = forward, made.numel
    assert max(largest[500]) < blocks.num_edges / 10  # which the logits have for each head
    assert min(largest[WHOLE]) >= blocks.num_edges * H


def test_normalizers_that_look_further_see_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    class WithTheMean(Sparsemax):
        def forward(self, logits: Tensor, edges: Any) -> Tensor:
            return super().forward(logits, edges) + logits.mean(0)

    blocks = Blocks.from_ptr(QUERIES)
    given = inputs(blocks)
    monkeypatch.setattr(streamed, "PAIRS", 50)
    for normalizer in (SymmetricDegree(), WithTheMean()):
        layer = attention(normalizer)
        plain = copy.deepcopy(layer)
        plain.backend = "reference"
        for one, another in zip(layer(blocks, **given), plain(blocks, **given), strict=True):
            assert_close(one, another)


def test_chunks_are_runs_of_queries_with_the_keys_of_their_sets() -> None:
    blocks = Blocks.from_ptr(QUERIES, KEYS)
    found = list(streamed.chunks(blocks, 120))
    for role, size in (("target", 46), ("edge", blocks.num_edges)):
        index = torch.arange(size)
        assert torch.equal(torch.cat([index[chunk.rows(role)] for chunk in found]), index)
    for chunk in found:
        assert chunk.blocks.num_edges <= 120
        assert torch.equal(chunk.blocks.source + chunk.keys.start, blocks.source[chunk.pairs])
        assert torch.equal(chunk.blocks.target + chunk.queries.start, blocks.target[chunk.pairs])
    assert len(list(streamed.chunks(Blocks.from_ptr(torch.tensor([0])), 5))) == 1
    alone = streamed.chunks(blocks, 1)
    assert max(chunk.blocks.num_targets for chunk in alone) > 1  # those without keys go together
