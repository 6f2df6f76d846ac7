"""What every layer on sets promises: sets do not see each other, and have no order."""

from collections.abc import Iterator

import pytest
import torch
from set_layers import FORM, SET_LAYERS, C, SetLayer, sets
from torch import Tensor, nn
from torch.testing import assert_close

import graphattn.models
import graphattn.nn
from graphattn import Blocks
from graphattn.nn import ISAB, PMA

SIZES = [3, 0, 80, 5, 1]  # one with many pairs among small ones
# Parts of layers: what these are in is in the table.
PARTS = {"MAB", "MultiheadAttentionBlock", "LearnedSeeds", "PooledSeeds", "CarriedSeeds"}
PARTS |= {"CrossAttentionBlock", "SelfAttentionBlock", "PerceiverEncoder", "PerceiverLayer"}
# What these read or choose is in an order.
PARTS |= {"PointerNetwork", "LinformerAttention", "NystromAttention"}
PARTS |= {"LinearSetAttention"}  # what others are made from
PARTS |= {"LocalGPSLayer"}  # asks for sets as its kin do, and does not use them
# A bias of each pair is one of their inputs, or their output.
PARTS |= {"GraphToken", "GraphormerAttention", "GraphormerBias", "GraphormerLayer"}


@pytest.fixture(params=SET_LAYERS)
def case(request: pytest.FixtureRequest) -> SetLayer:
    return SET_LAYERS[request.param]


def near(actual: Tensor, expected: Tensor) -> None:
    assert_close(actual, expected, atol=1e-6, rtol=1e-6)


def test_every_layer_that_takes_blocks_is_in_the_table() -> None:
    rooms = (graphattn.nn, graphattn.models)
    public = [getattr(room, name) for room in rooms for name in room.__all__]
    layers = [own for own in public if isinstance(own, type) and issubclass(own, nn.Module)]
    on_sets = {
        own.__name__ for own in layers if "Blocks" in str(own.forward.__annotations__.values())
    }
    assert len(on_sets) > 30
    assert on_sets - PARTS <= set(SET_LAYERS)


def test_a_set_gives_the_same_alone_and_in_any_batch(case: SetLayer) -> None:
    layer = case.make()
    x, blocks = sets(SIZES)
    together = case.call(layer, x, blocks)
    assert together.shape[0] == (len(x) if case.is_of_elements else len(SIZES))
    own_rows = together.split(SIZES if case.is_of_elements else 1)
    for own, expected in zip(x.split(SIZES), own_rows, strict=True):
        near(case.call(layer, own, Blocks.from_ptr(torch.tensor([0, len(own)]))), expected)
    order = torch.randperm(len(SIZES)).tolist()
    parts, rows = x.split(SIZES), together.split(SIZES if case.is_of_elements else 1)
    _, moved = sets([SIZES[number] for number in order])
    found = case.call(layer, torch.cat([parts[number] for number in order]), moved)
    near(found, torch.cat([rows[number] for number in order]))


def test_the_order_of_elements_does_not_matter(case: SetLayer) -> None:
    layer = case.make()
    x, blocks = sets(SIZES)
    parts = torch.arange(len(x)).split(SIZES)
    order = torch.cat([part[torch.randperm(len(part))] for part in parts])
    expected = case.call(layer, x, blocks)
    near(case.call(layer, x[order], blocks), expected[order] if case.is_of_elements else expected)


@pytest.fixture
def double_precision() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.usefixtures("double_precision")
@pytest.mark.parametrize("name", SET_LAYERS)
def test_derivatives_forwards_are_those_backwards_inside_transforms(name: str) -> None:
    case = SET_LAYERS[name]
    layer = case.make().eval()
    x, blocks = sets([3, 0, 18, 5, 1])

    def run(x: Tensor) -> Tensor:
        return case.call(layer, x, blocks)

    direction = torch.randn_like(x)
    result, tangent = torch.func.jvp(run, (x,), (direction,))
    arriving = torch.randn_like(result)
    gradient = torch.func.grad(lambda x: (run(x) * arriving).sum())(x)
    assert tangent.any()
    assert_close((tangent * arriving).sum(), (gradient * direction).sum())


@pytest.mark.parametrize("layer", [PMA(C, 2, FORM), ISAB(C, C, 3, FORM)], ids=["seeds", "points"])
def test_weights_are_those_that_the_queries_read_by(layer: PMA | ISAB) -> None:
    x, blocks = sets(SIZES)
    weights = layer.attention_weights(x, blocks=blocks)  # (P, H)
    mab, learned = (
        (layer.mab, layer.seeds) if isinstance(layer, PMA) else (layer.read, layer.points)
    )
    elements = layer.feedforward(x).relu() if isinstance(layer, PMA) else x
    query, key = (
        linear(own).unflatten(-1, (2, -1)).transpose(0, 1)
        for linear, own in ((mab.query, learned), (mab.key, elements))
    )
    of_sets = weights.split([len(learned) * size for size in SIZES])
    for own, keys in zip(of_sets, key.split(SIZES, dim=1), strict=True):
        expected = (query @ keys.transpose(1, 2) / keys.shape[-1] ** 0.5).softmax(-1)  # (H, k, n)
        assert_close(own, expected.permute(1, 2, 0).flatten(0, 1))
    dense = torch.randn(2, 7, C)
    alike = layer.attention_weights(dense).permute(0, 2, 3, 1).flatten(0, 2)
    both = Blocks.from_ptr(torch.tensor([0, 7, 14]))
    assert_close(layer.attention_weights(dense.flatten(0, 1), blocks=both), alike)
