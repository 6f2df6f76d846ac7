"""Bad input to the set blocks in PyTorch Geometric's form is refused by the caller's own names."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from graphattn import Blocks
from graphattn.nn import (
    InducedSetAttentionBlock,
    MultiheadAttentionBlock,
    PoolingByMultiheadAttention,
    SetAttentionBlock,
)

C = 8
LAYERS = {
    "SAB": lambda: SetAttentionBlock(C, 2),
    "ISAB": lambda: InducedSetAttentionBlock(C, 3, 2),
    "PMA": lambda: PoolingByMultiheadAttention(C, 2, 2),
}
BLOCKS = Blocks.from_ptr(torch.tensor([0, 2, 5]))


@pytest.fixture
def x() -> Tensor:
    return torch.randn(5, C)


@pytest.fixture(params=LAYERS)
def layer(request: pytest.FixtureRequest) -> nn.Module:
    return LAYERS[request.param]()


def test_sets_are_given_by_name(layer: nn.Module, x: Tensor) -> None:
    with pytest.raises(TypeError, match="mask must be a bool tensor, got Blocks: give sets by the"):
        layer(x, BLOCKS)
    with pytest.raises(TypeError, match=r"blocks must be a graphattn\.Blocks, got Tensor"):
        layer(x, blocks=BLOCKS.target_ptr)
    mask = torch.ones(1, 5, dtype=torch.bool)
    with pytest.raises(ValueError, match="mask must be None with blocks"):
        layer(x, mask, blocks=BLOCKS)


def test_elements_are_those_of_the_sets_and_as_wide_as_the_layer(
    layer: nn.Module, x: Tensor
) -> None:
    for given in (x[1:], x[:, 1:], x[None]):
        got = str(tuple(given.shape)).replace("(", r"\(").replace(")", r"\)")
        with pytest.raises(ValueError, match=rf"x must be \(5, 8\), got {got}"):
            layer(given, blocks=BLOCKS)
    with pytest.raises(TypeError, match=r"x must be a floating-point tensor, got torch\.int64"):
        layer(x.long(), blocks=BLOCKS)
    with pytest.raises(ValueError, match=r"x must be \(B, N, 8\), got \(1, 5, 7\)"):
        layer(x[None, :, 1:])
    with pytest.raises(TypeError, match=r"x must be a floating-point tensor, got torch\.int64"):
        layer(x[None].long())


def test_masks_are_of_the_elements(layer: nn.Module, x: Tensor) -> None:
    mask = torch.ones(1, 5, dtype=torch.bool)
    with pytest.raises(TypeError, match=r"mask must be a bool tensor, got torch\.float32"):
        layer(x[None], mask.float())
    with pytest.raises(ValueError, match=r"mask must be \(1, 5\), got \(1, 4\)"):
        layer(x[None], mask[:, 1:])


def test_seeds_read_batches_of_sets() -> None:
    for name in ("ISAB", "PMA"):
        with pytest.raises(ValueError, match=r"x must be \(B, N, 8\) without blocks, got \(5, 8\)"):
            LAYERS[name]()(torch.randn(5, C))


def test_a_set_alone_needs_no_batch_as_in_pytorch_geometric(x: Tensor) -> None:
    block, mask = SetAttentionBlock(C, 2), torch.tensor([True, True, False, True, True])
    assert_close(block(x), block(x[None])[0])
    assert_close(block(x, mask), block(x[None], mask[None])[0])


def test_both_sides_of_a_block_are_named(x: Tensor) -> None:
    block: Any = MultiheadAttentionBlock(C, 2)
    reading = BLOCKS.seeds(2)
    with pytest.raises(ValueError, match=r"x must be \(4, 8\), got \(5, 8\)"):
        block(x, x, blocks=reading)
    with pytest.raises(ValueError, match=r"y must be \(5, 8\), got \(4, 8\)"):
        block(x[1:], x[1:], blocks=reading)
    with pytest.raises(ValueError, match=r"y must be \(B, N, 8\), got \(1, 5, 7\)"):
        block(x[None], x[None, :, 1:])
    with pytest.raises(ValueError, match=r"x and y must be of as many sets, got \(2, 5, 8\) and"):
        block(x.expand(2, 5, C), x[None])
    with pytest.raises(TypeError, match="x_mask must be a bool tensor, got Blocks: give sets by"):
        block(x, x, BLOCKS)
    with pytest.raises(TypeError, match="y_mask must be a bool tensor, got Blocks: give sets by"):
        block(x, x, None, BLOCKS)
    with pytest.raises(ValueError, match="x_mask and y_mask must be None with blocks"):
        block(x, x, y_mask=torch.ones(1, 5, dtype=torch.bool), blocks=BLOCKS)
