"""The blocks of the Set Transformer: PyTorch Geometric's on dense batches, and the same ragged."""

import copy
import math
from typing import Any

import pytest
import torch
import torch_geometric.nn.aggr as pyg
import torch_geometric.nn.aggr.utils as pyg_blocks
from torch import Tensor, nn
from torch.nn import functional as F
from torch.testing import assert_close

from graphattn import Blocks
from graphattn.nn import (
    InducedSetAttentionBlock,
    MultiheadAttentionBlock,
    PoolingByMultiheadAttention,
    SetAttentionBlock,
    SetTransformerAggregation,
    dot_product_attention,
)
from graphattn.nn.sets import dot_product

C = 8
SIZES = [3, 1, 80, 5, 2]  # one with many pairs among small ones
BLOCKS: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "SAB": (SetAttentionBlock, pyg_blocks.SetAttentionBlock, {}),
    "ISAB": (
        InducedSetAttentionBlock,
        pyg_blocks.InducedSetAttentionBlock,
        {"num_induced_points": 3},
    ),
    "PMA": (
        PoolingByMultiheadAttention,
        pyg_blocks.PoolingByMultiheadAttention,
        {"num_seed_points": 2},
    ),
}


def made(name: str, **options: Any) -> tuple[nn.Module, nn.Module]:
    """Ours and PyTorch Geometric's, for the same seed."""
    ours, theirs, own = BLOCKS[name]
    layers = []
    for kind in (ours, theirs):
        torch.manual_seed(0)
        layers.append(kind(C, heads=2, **own, **options))
    return layers[0], layers[1]


def ragged(sizes: list[int]) -> tuple[Tensor, Blocks]:
    ptr = torch.tensor([0, *sizes]).cumsum(0)
    return torch.randn(int(ptr[-1]), C), Blocks.from_ptr(ptr)


def padded(x: Tensor, sizes: list[int]) -> tuple[Tensor, Tensor]:
    """A dense batch and its mask."""
    dense = nn.utils.rnn.pad_sequence(list(x.split(sizes)), batch_first=True)
    mask = torch.arange(dense.shape[1]) < torch.tensor(sizes)[:, None]
    return dense, mask


@pytest.mark.parametrize("layer_norm", [False, True])
@pytest.mark.parametrize("name", BLOCKS)
def test_dense_batches_give_what_pytorch_geometric_gives(name: str, layer_norm: bool) -> None:
    ours, theirs = made(name, layer_norm=layer_norm)
    assert repr(ours) == repr(theirs)
    for own, other in zip(ours.state_dict().items(), theirs.state_dict().items(), strict=True):
        assert own[0] == other[0]
        assert torch.equal(own[1], other[1])
    x, _ = ragged(SIZES)
    dense, mask = padded(x, SIZES)
    assert_close(ours(dense), theirs(dense))
    assert_close(ours(dense, mask), theirs(dense, mask))


@pytest.mark.parametrize(
    "limit", [None, 0, 100, 10**9], ids=["kernel", "by size", "mixed", "together"]
)
@pytest.mark.parametrize("name", BLOCKS)
def test_sets_give_what_padded_ones_give(
    name: str, limit: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dot_product, "_QUERIES", 0 if limit is None else math.inf)
    monkeypatch.setattr(dot_product, "_LEAST_PAIRS", limit)
    monkeypatch.setattr(dot_product, "_MANY_PAIRS", 0)
    ours, theirs = made(name)
    x, blocks = ragged(SIZES)
    dense, mask = padded(x, SIZES)
    own, other = x.requires_grad_(), dense.clone().requires_grad_()
    actual, expected = ours(own, blocks=blocks), theirs(other, mask)
    if name != "PMA":
        expected = expected[mask]
    assert_close(actual, expected)
    cotangent = torch.randn_like(actual)
    found = torch.autograd.grad(actual, [own, *ours.parameters()], cotangent)
    wanted = torch.autograd.grad(expected, [other, *theirs.parameters()], cotangent)
    assert_close(found[0], wanted[0][mask])
    for one, another in zip(found[1:], wanted[1:], strict=True):
        assert_close(one, another, atol=2e-5, rtol=1e-4)  # sums of 91 rows in other orders


def with_biases(module: nn.Module) -> None:
    for name, parameter in module.named_parameters():
        if name.endswith("bias"):  # those of attention are made zero
            nn.init.normal_(parameter)


def test_what_has_nothing_to_attend_to_gets_the_output_bias_dense_and_ragged() -> None:
    block = MultiheadAttentionBlock(C, heads=2)
    with_biases(block)
    x, y = torch.randn(2, 3, C), torch.randn(2, 5, C)
    mask = torch.tensor([[True, True, False, True, False], [False] * 5])
    dense = block(x, y, torch.ones(2, 3, dtype=torch.bool), mask)
    blocks = Blocks.from_ptr(torch.tensor([0, 3, 6]), torch.tensor([0, 3, 3]))
    assert_close(dense.flatten(0, 1), block(x.flatten(0, 1), y[mask], blocks=blocks))
    h = block.layer_norm1(x[1] + block.attn.out_proj.bias)
    assert_close(dense[1], block.layer_norm2(h + block.lin(h).relu()))


@pytest.mark.parametrize("name", BLOCKS)
def test_empty_sets_give_numbers(name: str) -> None:
    ours, _ = made(name)
    with_biases(ours)
    sizes = [0, 3, 0, 90]
    x, blocks = ragged(sizes)
    out = ours(x.requires_grad_(), blocks=blocks)
    out.sum().backward()
    assert out.isfinite().all()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in ours.parameters())
    dense, mask = padded(x.detach(), sizes)
    whole = ours(dense, mask)
    assert whole.isfinite().all()
    if name == "PMA":
        assert_close(whole, out.detach())


@pytest.mark.parametrize("name", BLOCKS)
def test_a_set_gives_the_same_alone_and_in_any_batch(name: str) -> None:
    ours, _ = made(name)
    x, blocks = ragged(SIZES)
    parts = ours(x, blocks=blocks)
    parts = parts if name == "PMA" else parts.split(SIZES)
    for own, part in zip(x.split(SIZES), parts, strict=True):
        alone = ours(own, blocks=Blocks.from_ptr(torch.tensor([0, len(own)])))
        assert_close(alone if name != "PMA" else alone[0], part, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("name", BLOCKS)
def test_the_order_of_elements_does_not_matter(name: str) -> None:
    ours, _ = made(name)
    x, blocks = ragged([7])
    order = torch.randperm(7)
    shuffled = ours(x[order], blocks=blocks)
    expected = ours(x, blocks=blocks)
    assert_close(shuffled, expected if name == "PMA" else expected[order])


def test_dropout_is_for_training_and_drawn_anew() -> None:
    ours = SetAttentionBlock(C, heads=2, dropout=0.5)
    x, blocks = ragged(SIZES)
    first, second = ours(x, blocks=blocks), ours(x, blocks=blocks)
    assert not torch.equal(first, second)
    ours.eval()
    assert torch.equal(ours(x, blocks=blocks), ours(x, blocks=blocks))


@pytest.mark.parametrize("concat", [False, True])
def test_the_aggregation_is_pytorch_geometrics(concat: bool) -> None:
    options = {"num_seed_points": 2, "heads": 2, "concat": concat, "layer_norm": True}
    layers = []
    for kind in (SetTransformerAggregation, pyg.SetTransformerAggregation):
        torch.manual_seed(0)
        layers.append(kind(C, **options))
    ours, theirs = layers
    theirs.load_state_dict(copy.deepcopy(ours.state_dict()))
    assert repr(ours) == repr(theirs)
    x, blocks = ragged(SIZES)
    index = torch.arange(len(SIZES)).repeat_interleave(torch.tensor(SIZES))
    assert_close(ours(x, index), theirs(x, index))
    assert_close(ours(x, ptr=blocks.target_ptr), theirs(x, index))
    assert_close(ours(x), theirs(x, torch.zeros(len(x), dtype=torch.int64)))
    assert ours(x, index, dim_size=7).shape[0] == 7
    assert ours(x, index, dim_size=7).isfinite().all()
    with pytest.raises(ValueError, match="must not be negative nor fall"):
        ours(x, index.flip(0))
    with pytest.raises(ValueError, match="x must be"):
        ours(x[None], index)


def test_dot_products_are_those_of_pytorch(monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = Blocks.from_ptr(torch.tensor([0, 70, 140]), torch.tensor([0, 90, 180]))
    query, key, value = torch.randn(140, 2, 4), torch.randn(180, 2, 4), torch.randn(180, 2, 6)
    expected = [
        F.scaled_dot_product_attention(*(x[own].transpose(0, 1)[None] for x, own in parts))
        for parts in (
            ((query, slice(70)), (key, slice(90)), (value, slice(90))),
            ((query, slice(70, 140)), (key, slice(90, 180)), (value, slice(90, 180))),
        )
    ]
    whole = torch.cat([x[0].transpose(0, 1) for x in expected])
    assert_close(dot_product_attention(blocks, query, key, value), whole)
    monkeypatch.setattr(dot_product, "_QUERIES", math.inf)  # as on a GPU
    assert_close(dot_product_attention(blocks, query, key, value), whole)
    monkeypatch.setattr(dot_product, "_MANY_PAIRS", 10**9)
    assert_close(dot_product_attention(blocks, query, key, value), whole)


def test_bad_input_is_named() -> None:
    x, blocks = ragged([2, 3])
    heads = x.unflatten(1, (2, 4))
    with pytest.raises(TypeError, match=r"blocks must be a graphattn\.Blocks, got int"):
        dot_product_attention(3, heads, heads, heads)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"key must be \(5, H, C\), got \(4, 2, 4\)"):
        dot_product_attention(blocks, heads, heads[1:], heads)
    with pytest.raises(ValueError, match="as many heads and channels"):
        dot_product_attention(blocks, heads, heads[..., :2], heads)
    with pytest.raises(TypeError, match=r"value must be a floating-point tensor, got torch\.int64"):
        dot_product_attention(blocks, heads, heads, heads.long())
    block = MultiheadAttentionBlock(C)
    with pytest.raises(ValueError, match="x_mask and y_mask must be None with blocks"):
        block(x, x, y_mask=x > 0, blocks=blocks)
