"""The latent layer and those made of it: sets apart, any order, linear cost, masks, bad input."""

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close
from torch.utils._python_dispatch import TorchDispatchMode

from graphattn import Blocks, Edges
from graphattn.nn.latents.agile3d_block import AGILE3DBlock
from graphattn.nn.latents.latent import LatentLayer
from graphattn.nn.latents.luna_block import LUNABlock
from graphattn.nn.latents.perceiver_layer import PerceiverLayer
from graphattn.nn.latents.residual_blocks import CrossAttentionBlock
from graphattn.nn.latents.rin_block import RINBlock
from graphattn.nn.latents.seeds import CarriedSeeds, LearnedSeeds, PooledSeeds
from graphattn.nn.latents.virtual_node import VirtualNode
from graphattn.nn.sets.cross_attention import CrossAttention

C = 8
SIZES = [3, 0, 5, 1]
LATENTS = [2, 1, 0, 3]


def pooled() -> LatentLayer:
    read = CrossAttentionBlock.prenorm(CrossAttention(C, 2), C)
    write = CrossAttentionBlock.prenorm(CrossAttention(C, 2), C)
    return LatentLayer(PooledSeeds(2, C, C), [read], write=[write])


# Made anew, with the latents of each set: None where the layer has seeds.
LAYERS: dict[str, tuple[Callable[[], LatentLayer], list[int] | None]] = {
    "Perceiver": (lambda: PerceiverLayer(C, C, depth=1, heads=2, cross_heads=2), LATENTS),
    "RIN": (lambda: RINBlock(C, C, depth=1, heads=2, cross_heads=2), LATENTS),
    "AGILE3D": (lambda: AGILE3DBlock(C, heads=2, hidden=6), LATENTS),
    "virtual node": (lambda: VirtualNode(C, residual=True), [1] * len(SIZES)),
    "LUNA": (lambda: LUNABlock(C, 2, heads=2, depth=1), None),
    "pooled seeds": (pooled, None),
}


def made(name: str) -> LatentLayer:
    layer = LAYERS[name][0]()
    for parameter in layer.parameters():
        nn.init.normal_(parameter, std=0.5)
    return layer.eval()


def ptr_of(sizes: list[int]) -> Tensor:
    return torch.tensor([0, *sizes]).cumsum(0)


def inputs(name: str) -> tuple[Tensor, Blocks, Tensor | None]:
    """Elements, structure, latents."""
    counts = LAYERS[name][1]
    x, latents = torch.randn(sum(SIZES), C), None
    if counts is not None:
        latents = torch.randn(sum(counts), C)
    return x, Blocks.from_ptr(ptr_of(counts or SIZES), ptr_of(SIZES)), latents


def near(actual: Any, expected: Any) -> None:
    assert_close(actual, expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("name", LAYERS)
def test_a_set_gives_the_same_alone_and_in_any_batch(name: str) -> None:
    layer, (x, blocks, latents) = made(name), inputs(name)
    found, written = layer(x, blocks, latents)
    counts = LAYERS[name][1] or [2] * len(SIZES)
    parts = zip(
        x.split(SIZES),
        itertools.repeat(None) if latents is None else latents.split(counts),
        found.split(counts),
        written.split(SIZES),
        strict=False,
    )
    for own, own_latents, expected, expected_x in parts:
        sizes = [len(own if own_latents is None else own_latents)], [len(own)]
        alone = layer(own, Blocks.from_ptr(*map(ptr_of, sizes)), own_latents)
        near(alone, (expected, expected_x))


@pytest.mark.parametrize("name", LAYERS)
def test_the_order_of_elements_is_kept_and_does_not_matter_to_latents(name: str) -> None:
    layer, (x, blocks, latents) = made(name), inputs(name)
    order = torch.cat([first + torch.randperm(size) for first, size in zip(
        ptr_of(SIZES), SIZES, strict=False)])  # fmt: skip
    found, written = layer(x, blocks, latents)
    near(layer(x[order], blocks, latents), (found, written[order]))


@pytest.mark.parametrize("name", LAYERS)
def test_empty_sets_and_none_give_numbers_and_gradients(name: str) -> None:
    layer, (x, blocks, latents) = made(name), inputs(name)
    found, written = layer(x.requires_grad_(), blocks, latents)
    (found.square().sum() + written.square().sum()).backward()
    for gradient in (x.grad, *(p.grad for p in layer.parameters())):
        assert gradient is not None
        assert gradient.isfinite().all()
    none = Blocks.from_ptr(torch.tensor([0]))
    latents = None if latents is None else latents[:0]
    assert [y.shape for y in layer(x[:0], none, latents)] == [(0, C), (0, C)]


class Elements(TorchDispatchMode):
    """Adds up the elements of all tensors that operations return, and remembers the most."""

    def __init__(self) -> None:
        super().__init__()
        self.total = self.most = 0

    def __torch_dispatch__(
        self, function: Any, types: Any, arguments: Any = (), settings: Any = None
    ) -> Any:
        result = function(*arguments, **(settings or {}))
        for x in result if isinstance(result, list | tuple) else [result]:
            if isinstance(x, Tensor):
                self.total += x.numel()
                self.most = max(self.most, x.numel())
        return result


@pytest.mark.parametrize("size", [400, 4000], ids=["together", "one by one"])
@pytest.mark.parametrize("name", LAYERS)
def test_the_cost_is_linear_in_the_elements(name: str, size: int) -> None:
    layer, totals = made(name), []
    counts = LAYERS[name][1]
    count = 1 if name == "virtual node" else 2
    for elements in (3, size, 2 * size):  # the first, to have all programs recorded
        x = torch.randn(elements, C, requires_grad=True)
        latents = None if counts is None else torch.randn(count, C)
        with Elements() as seen:
            blocks = Blocks.from_ptr(torch.tensor([0, count]), torch.tensor([0, elements]))
            found, written = layer(x, blocks, latents)
            (found.sum() + written.sum()).backward()
        totals.append(seen.total)
        assert seen.most <= 5 * C * max(elements, 8 * C)  # perceptrons are four times as wide
    assert totals[1] > 20 * size
    assert totals[2] < 2 * totals[1]


def test_steps_repeat_with_the_same_weights() -> None:
    layer, (x, blocks, latents) = made("RIN"), inputs("RIN")
    twice = LatentLayer(read=layer.read, compute=layer.compute, write=layer.write, steps=2)
    assert len(list(twice.parameters())) == len(list(layer.parameters()))
    once, x_once = layer(x, blocks, latents)
    near(twice(x, blocks, latents), layer(x_once, blocks, once))


def test_pairs_say_what_may_be_read() -> None:
    layer = made("AGILE3D")
    x, latents, position = torch.randn(5, C), torch.randn(2, C), torch.randn(5, C)
    latent_position = torch.randn(2, C)
    blocks = Blocks.from_ptr(torch.tensor([0, 2]), torch.tensor([0, 5]))
    places = {"position": position, "latent_position": latent_position}
    near(
        layer(x, blocks, latents, pairs=blocks.edges(), **places),
        layer(x, blocks, latents, **places),
    )

    kept = torch.tensor([0, 2, 3])
    index = torch.stack([kept.repeat(2), torch.arange(2).repeat_interleave(3)])
    pairs = Edges.from_edge_index(index, 5, 2)
    masked, written = layer(x, blocks, latents, pairs=pairs, **places)
    fewer = Blocks.from_ptr(torch.tensor([0, 2]), torch.tensor([0, 3]))
    places["position"] = position[kept]
    near((masked, written[kept]), layer(x[kept], fewer, latents, **places))


def dense(attention: CrossAttention, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """The formula of one set, on all pairs."""
    q, k, v = (
        lin(x).unflatten(-1, (attention.heads, -1)).transpose(0, 1)
        for lin, x in (
            (attention.lin_query, query), (attention.lin_key, key), (attention.lin_value, value),
        )
    )  # fmt: skip
    weights = (q @ k.transpose(1, 2) / q.shape[-1] ** 0.5).softmax(dim=-1)
    return attention.lin_out((weights @ v).transpose(0, 1).flatten(1))


def test_agile3ds_block_does_what_its_formula_says() -> None:
    layer: Any = made("AGILE3D")
    x, q, at, q_at = torch.randn(5, C), torch.randn(2, C), torch.randn(5, C), torch.randn(2, C)
    blocks = Blocks.from_ptr(torch.tensor([0, 2]), torch.tensor([0, 5]))
    found = layer(x, blocks, q, position=at, latent_position=q_at)
    read, compute, write = layer.read[0], layer.compute[0], layer.write[0]
    q = read.after(q + dense(read.attention, q + q_at, x + at, x))
    q = compute.after[0](q + dense(compute.attention, q + q_at, q + q_at, q))
    first, _, second = compute.after[1].inner
    q = compute.after[2](q + second(first(q).relu()))
    x = write.after(x + dense(write.attention, x + at, q + q_at, q))
    near(found, (q, x))


def test_seeds_are_learned_pooled_or_carried() -> None:
    x, blocks = torch.randn(4, 3), Blocks.from_ptr(torch.tensor([0, 4, 4]))
    learned = LearnedSeeds(2, C)
    assert torch.equal(learned(x, blocks), torch.cat([learned.weight, learned.weight]))
    assert not LearnedSeeds(2, C, std=0.0).weight.any()
    seeds = PooledSeeds(2, C, 3)
    found = seeds(x, blocks)
    assert_close(found[:2], seeds.lin(x.mean(0)) + seeds.learned.weight)
    assert_close(found[2:], seeds.lin.bias + seeds.learned.weight)
    carried = CarriedSeeds(2, C)
    previous = torch.randn(4, C)
    assert torch.equal(carried(x, blocks, previous), carried.learned(x, blocks))
    nn.init.ones_(carried.norm.weight)
    normed, first, _, second = carried.perceptron.inner
    inner = previous + second(nn.functional.gelu(first(normed(previous))))
    expected = nn.functional.layer_norm(inner, (C,), eps=1e-6)
    near(carried(x, blocks, previous) - carried.learned(x, blocks), expected)
    near(carried(x, blocks), carried(x, blocks, torch.zeros(4, C)))


def test_dropout_is_for_training() -> None:
    layer = CrossAttention(C, 2, dropout=0.5)
    x, blocks = torch.randn(6, C), Blocks.from_ptr(torch.tensor([0, 6]))
    pairs = blocks.edges()
    for structure in (blocks, pairs):
        layer.train()
        assert not torch.equal(layer(x, x, x, structure), layer(x, x, x, structure))
        layer.eval()
        near(layer(x, x, x, structure), dense(layer, x, x, x))
