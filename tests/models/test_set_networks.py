"""The Set Transformer and DeepSets: what every network on sets promises."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from graphattn import Blocks
from graphattn.models import DeepSets, SetTransformer
from graphattn.nn import (
    InducedSetAttentionBlock,
    MultiheadAttentionBlock,
    PoolingByMultiheadAttention,
    SetAttentionBlock,
)
from graphattn.nn.sets.set_transformer_blocks import ISAB, MAB, OFFICIAL_CODE, PMA, SAB, BlockForm

SIZES = [3, 0, 1, 140, 5, 2]  # an empty one, and one with many pairs, among small ones
NETWORKS = {
    "paper": lambda: SetTransformer(3, 2, num_outputs=4, channels=16, num_induced_points=32),
    "official code": lambda: SetTransformer(3, 2, 4, 16, 32, OFFICIAL_CODE),
    "without induced points": lambda: SetTransformer(3, 2, 4, 16, None),
    "deep sets": lambda: DeepSets(3, 2, 4, 16),
    "deep sets, maximum": lambda: DeepSets(3, 2, 4, 16, reduce="max"),
}


@pytest.fixture(params=NETWORKS)
def network(request: pytest.FixtureRequest) -> nn.Module:
    return NETWORKS[request.param]()


def ragged(sizes: list[int]) -> tuple[Tensor, Blocks]:
    ptr = torch.tensor([0, *sizes]).cumsum(0)
    return torch.randn(int(ptr[-1]), 3), Blocks.from_ptr(ptr)


def test_a_set_gives_the_same_alone_in_any_batch_and_dense(network: nn.Module) -> None:
    x, blocks = ragged(SIZES)
    together = network(x, blocks=blocks)
    assert together.shape == (len(SIZES), 4, 2)
    for own, expected in zip(x.split(SIZES), together, strict=True):
        alone = network(own, blocks=Blocks.from_ptr(torch.tensor([0, len(own)])))
        dense = network(own.unsqueeze(0))
        assert_close(alone[0], expected, atol=1e-6, rtol=1e-6)
        assert_close(dense[0], expected, atol=1e-6, rtol=1e-6)


def test_gradients_of_sets_are_those_of_dense_ones(network: nn.Module) -> None:
    network.double()
    x, blocks = ragged(SIZES)
    x = x.double().requires_grad_()
    own = [x, *network.parameters()]
    found = torch.autograd.grad(network(x, blocks=blocks).square().sum(), own)
    dense = sum(network(part.unsqueeze(0)).square().sum() for part in x.split(SIZES))
    wanted = torch.autograd.grad(dense, own)
    for one, another in zip(found, wanted, strict=True):
        assert_close(one, another, atol=1e-9, rtol=1e-9)


def test_the_order_of_elements_does_not_matter(network: nn.Module) -> None:
    x = torch.randn(2, 9, 3)
    assert_close(network(x[:, torch.randperm(9)]), network(x), atol=1e-6, rtol=1e-5)


def test_what_is_in_the_set_does_matter(network: nn.Module) -> None:
    x = torch.randn(2, 9, 3)
    changed = x.clone()
    changed[0, 4] = 100.0
    before, after = network(x), network(changed)
    assert not torch.allclose(before[0], after[0], atol=1e-4)
    assert torch.equal(before[1], after[1])


@pytest.mark.parametrize("sizes", [[], [0], [0, 0, 3]], ids=str)
def test_empty_sets_and_no_sets_give_numbers(network: nn.Module, sizes: list[int]) -> None:
    x, blocks = ragged(sizes)
    out = network(x.requires_grad_(), blocks=blocks)
    assert out.shape == (len(sizes), 4, 2)
    assert out.isfinite().all()
    out.sum().backward()
    assert all(own.grad is None or own.grad.isfinite().all() for own in network.parameters())
    assert network(torch.randn(2, 0, 3)).isfinite().all()


@pytest.mark.parametrize(
    "block", [SAB(3, 8, OFFICIAL_CODE), ISAB(3, 8, 2, OFFICIAL_CODE)], ids=["SAB", "ISAB"]
)
def test_reordered_elements_have_reordered_outputs(block: nn.Module) -> None:
    x, order = torch.randn(2, 9, 3), torch.randperm(9)
    assert_close(block(x[:, order]), block(x)[:, order], atol=1e-6, rtol=1e-5)


def test_a_network_can_be_saved_and_loaded(network: nn.Module) -> None:
    x = torch.randn(2, 5, 3)
    expected = network(x)
    state = {name: own.clone() for name, own in network.state_dict().items()}
    for own in network.parameters():
        nn.init.zeros_(own)
    network.load_state_dict(state)
    assert torch.equal(network(x), expected)


def load_projections(ours: MAB, theirs: MultiheadAttentionBlock) -> None:
    attention: Any = theirs.attn
    state = {
        f"{part}.{kind}": own
        for kind in ("weight", "bias")
        for part, own in zip(
            ("query", "key", "value"), getattr(attention, f"in_proj_{kind}").chunk(3), strict=True
        )
    }
    for mine, other in (
        ("output", attention.out_proj),
        ("feedforward", theirs.lin),
        ("attended_norm", theirs.layer_norm1),
        ("output_norm", theirs.layer_norm2),
    ):
        own_state = {} if other is None else other.state_dict()
        state |= {f"{mine}.{name}": own for name, own in own_state.items()}
    ours.load_state_dict(state)


@pytest.mark.parametrize("layer_norm", [False, True])
def test_by_default_the_blocks_are_the_drop_in_ones(layer_norm: bool) -> None:
    form = BlockForm(heads=2, layer_norm=layer_norm)
    x = torch.randn(3, 7, 8)
    sab, other_sab = SAB(8, 8, form), SetAttentionBlock(8, 2, layer_norm)
    isab, other_isab = ISAB(8, 8, 3, form), InducedSetAttentionBlock(8, 3, 2, layer_norm)
    pma, other_pma = PMA(8, 2, form), PoolingByMultiheadAttention(8, 2, 2, layer_norm)
    for ours, theirs in (
        (sab.mab, other_sab.mab),
        (isab.read, other_isab.mab1),
        (isab.write, other_isab.mab2),
        (pma.mab, other_pma.mab),
    ):
        load_projections(ours, theirs)
    isab.points.data, pma.seeds.data = other_isab.ind.data[0], other_pma.seed.data[0]
    pma.feedforward.load_state_dict(other_pma.lin.state_dict())
    for ours, theirs in ((sab, other_sab), (isab, other_isab), (pma, other_pma)):
        assert_close(ours(x), theirs(x))


def test_bad_input_is_named(network: nn.Module) -> None:
    x, blocks = ragged([2, 3])
    with pytest.raises(TypeError, match=r"x must be a floating-point tensor, got torch\.int64"):
        network(x.long(), blocks=blocks)
    with pytest.raises(TypeError, match=r"blocks must be a graphattn\.Blocks, got int"):
        network(x, blocks=3)
    with pytest.raises(ValueError, match=r"x must be \(B, N, 3\) without blocks, got \(5, 3\)"):
        network(x)
    with pytest.raises(ValueError, match=r"x must be \(5, 3\), got \(4, 3\)"):
        network(x[1:], blocks=blocks)
    with pytest.raises(ValueError, match=r"x must be \(B, N, 3\), got \(1, 5, 2\)"):
        network(x[None, :, :2])


def test_bad_sizes_are_named() -> None:
    with pytest.raises(ValueError, match="heads must divide channels = 6, got 4"):
        SetTransformer(3, 2, channels=6)
    with pytest.raises(ValueError, match="num_induced_points must be at least 1, got 0"):
        SetTransformer(3, 2, num_induced_points=0)
    with pytest.raises(ValueError, match="num_seeds must be at least 1, got 0"):
        SetTransformer(3, 2, num_outputs=0)
    with pytest.raises(ValueError, match="query_channels must be channels"):
        MAB(3, 3, 8)
    with pytest.raises(ValueError, match="num_outputs and num_layers must be at least 1"):
        DeepSets(3, 2, num_layers=0)
    with pytest.raises(ValueError, match="reduce must be"):
        DeepSets(3, 2, reduce="median")  # type: ignore[arg-type]
    block = MAB(8, 8, 8)
    with pytest.raises(ValueError, match="x and y must be of as many sets"):
        block(torch.randn(2, 3, 8), torch.randn(1, 3, 8))
    with pytest.raises(ValueError, match=r"y must be \(5, 8\), got \(4, 8\)"):
        block(torch.randn(5, 8), torch.randn(4, 8), blocks=ragged([2, 3])[1])
