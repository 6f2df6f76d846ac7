"""Layers on sets allocate nothing as large as padded sets or all pairs, in either direction."""

import math
from collections.abc import Callable

import pytest
import torch
import torch_geometric.nn.aggr as pyg
from set_layers import SET_LAYERS, C, sets
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from graphattn import streamed
from graphattn.nn import CrossAttention
from graphattn.nn.sets import dot_product

SIZES = [*[1, 2, 3] * 10, 1500, *[3, 1, 2] * 10]
PADDED = 4 * len(SIZES) * max(SIZES) * C  # bytes
PAIRS = 4 * sum(size**2 for size in SIZES)
# Of one allocation: the widest layer makes 96 numbers of an element.
LINEAR = 4 * 96 * sum(SIZES)
# What PyTorch's own attention works on, whatever the set: tiles of 256 by 512 pairs.
WORKSPACE = 2 * 4 * 256 * 512
BY_DOT_PRODUCT = (
    *("SAB", "SetAttentionBlock", "SetTransformerAggregation", "CrossAttention"),
    *("LatentLayer", "AgentAttention", "PositionalAttention", "DualAttention"),
)


def most_allocated(run: Callable[[], object]) -> int:
    """Bytes of the largest piece of memory that PyTorch is asked for, kernels included."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        run()
    events = profiled.profiler.kineto_results.events()
    return max(event.nbytes() for event in events if event.name() == "[memory]")


def step(call: Callable[[], Tensor]) -> Callable[[], None]:
    """Forward and backward."""
    return lambda: call().square().sum().backward()


def most_of_step(name: str) -> int:
    """Bytes, at most, in a forward and backward pass of a layer."""
    case = SET_LAYERS[name]
    layer = case.make()
    x, blocks = sets(SIZES)
    x.requires_grad_()
    most = most_allocated(step(lambda: case.call(layer, x, blocks)))
    assert most >= 4 * x.numel()  # the gradient of x
    return most


@pytest.mark.parametrize("name", SET_LAYERS)
def test_no_layer_pads_or_keeps_pairs(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dot_product, "_QUERIES", math.inf)
    monkeypatch.setattr(dot_product, "_LEAST_PAIRS", 10**9)  # all are compiled
    monkeypatch.setattr(streamed, "PAIRS", max(SIZES))  # what is made of some queries at a time
    assert most_of_step(name) <= LINEAR < PADDED < PAIRS


@pytest.mark.parametrize("name", BY_DOT_PRODUCT)
def test_nor_does_the_kernel_of_dot_products(name: str) -> None:
    assert most_of_step(name) <= LINEAR


@pytest.mark.parametrize("name", BY_DOT_PRODUCT)
def test_nor_does_one_whose_large_sets_go_one_by_one(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dot_product, "_QUERIES", math.inf)
    assert most_of_step(name) <= WORKSPACE < PADDED < PAIRS


@pytest.mark.parametrize("threads", [2, 64], ids=["kernel", "program"])
def test_dropout_makes_no_mask_of_pairs(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    layer = CrossAttention(C, 2, dropout=0.5)
    x, blocks = sets(SIZES)
    most = most_allocated(step(lambda: layer(x, x, x, blocks)))
    assert most <= LINEAR


def test_padding_and_lists_of_pairs_would_be_seen() -> None:
    x, blocks = sets(SIZES)
    index = torch.arange(len(SIZES)).repeat_interleave(torch.tensor(SIZES))
    pads = pyg.SetTransformerAggregation(C, heads=2, num_encoder_blocks=0)
    assert most_allocated(step(lambda: pads(x, index))) >= PADDED
    assert most_allocated(blocks.edges) >= PAIRS
