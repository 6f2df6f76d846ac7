"""Neural attention and attention by distance: their formulas on dense sets, and sets in a batch."""

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from graphattn import Blocks
from graphattn.nn.sets.distance_attention import DistanceAttention
from graphattn.nn.sets.neural_attention import NeuralAttention

SIZES = [4, 0, 1, 20]
LAYERS = {
    "neural": lambda: NeuralAttention(8, 2),
    "distance": lambda: DistanceAttention(8, 2),
    "distance, shared": lambda: DistanceAttention(8, 2, share_weights=True),
}


def sets(sizes: list[int]) -> tuple[Tensor, Blocks]:
    ptr = torch.tensor([0, *sizes]).cumsum(0)
    return torch.randn(int(ptr[-1]), 8), Blocks.from_ptr(ptr)


def neural_by_hand(layer: NeuralAttention, x: Tensor) -> Tensor:
    query, key, value = layer.to_qkv(x).unflatten(1, (3, 2, 4)).permute(1, 2, 0, 3)  # (H, n, C)
    size = len(x)
    query = layer.query(query)[:, :, None].expand(-1, -1, size, -1)
    key = layer.key(key)[:, None].expand(-1, size, -1, -1)
    hidden = layer.first(torch.cat([query, key], dim=-1)).relu()
    logits = layer.third(layer.second(hidden).relu()).squeeze(-1)  # (H, n, n)
    return layer.output((logits.softmax(-1) @ value).transpose(0, 1).flatten(1))


def distance_by_hand(layer: DistanceAttention, x: Tensor) -> Tensor:
    query, key, value = (
        linear(x).unflatten(1, (2, 4)).transpose(0, 1)
        for linear in (layer.query, layer.key, layer.value)
    )
    logits = -torch.cdist(query, key).square() / 2.0  # the root of four channels
    return layer.output((logits.softmax(-1) @ value).transpose(0, 1).flatten(1))


@pytest.mark.parametrize("name", LAYERS)
def test_it_is_the_formula_set_by_set_gradients_included(name: str) -> None:
    layer = LAYERS[name]()
    by_hand = neural_by_hand if name == "neural" else distance_by_hand
    x, blocks = sets(SIZES)
    x.requires_grad_()
    found = layer(x, blocks)
    expected = torch.cat([by_hand(layer, part) for part in x.split(SIZES) if len(part)])
    assert_close(found, expected)
    inputs, cotangent = [x, *layer.parameters()], torch.randn_like(found)
    own = torch.autograd.grad(found, inputs, cotangent)
    for one, another in zip(own, torch.autograd.grad(expected, inputs, cotangent), strict=True):
        assert_close(one, another, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", LAYERS)
def test_a_set_gives_the_same_alone_in_a_batch_and_in_any_order(name: str) -> None:
    layer: nn.Module = LAYERS[name]()
    x, blocks = sets(SIZES)
    together = layer(x, blocks)
    for own, expected in zip(x.split(SIZES), together.split(SIZES), strict=True):
        order = torch.randperm(len(own))
        alone = layer(own[order], Blocks.from_ptr(torch.tensor([0, len(own)])))
        assert_close(alone, expected[order], atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("name", ["neural", "distance"])
def test_dropout_is_for_training(name: str) -> None:
    kind = NeuralAttention if name == "neural" else DistanceAttention
    layer = kind(8, 2, dropout=0.5)
    given = sets(SIZES)
    assert not torch.equal(layer(*given), layer(*given))
    layer.eval()
    assert torch.equal(layer(*given), layer(*given))


@pytest.mark.parametrize("name", LAYERS)
def test_bad_input_is_named(name: str) -> None:
    layer = LAYERS[name]()
    x, blocks = sets(SIZES)
    with pytest.raises(ValueError, match=r"x must be \(25, 8\), got \(25, 7\)"):
        layer(x[:, :7], blocks)
    with pytest.raises(TypeError, match=r"blocks must be a graphattn\.Blocks, got int"):
        layer(x, 3)
    with pytest.raises(ValueError, match="heads must divide channels = 8, got 3"):
        type(layer)(8, 3)


def test_the_projection_of_neural_attention_is_even() -> None:
    with pytest.raises(ValueError, match="projection_channels must be even and positive, got 3"):
        NeuralAttention(8, 2, projection_channels=3)
