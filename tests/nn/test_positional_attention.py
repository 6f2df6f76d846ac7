"""Positional attention against stored results of the authors' code, and as a layer on sets."""

from pathlib import Path

import pytest
import torch
from golden_arrays import TOLERANCES, Golden
from torch import Tensor, nn
from torch.testing import assert_close

from graphattn import Blocks
from graphattn.nn.sets.positional_attention import PositionalAttention, PositionalTransformerLayer

SIZES = [4, 0, 1, 70]


def sets(sizes: list[int]) -> tuple[Tensor, Tensor, Blocks]:
    ptr = torch.tensor([0, *sizes]).cumsum(0)
    return torch.randn(int(ptr[-1]), 8), torch.randn(int(ptr[-1]), 3), Blocks.from_ptr(ptr)


def batched(golden: Golden) -> tuple[Tensor, Tensor, Blocks]:
    """The stored batch set after set, each with the positions that all share."""
    x = golden.inputs["x"]
    positions = golden.inputs["p"].repeat(len(x), 1) if "p" in golden.inputs else x.flatten(0, 1)
    return x.flatten(0, 1), positions, Blocks.from_ptr(torch.arange(len(x) + 1) * x.shape[1])


@pytest.mark.parametrize("dtype", TOLERANCES, ids=str)
@pytest.mark.parametrize(
    ("case", "options"),
    [("mha_0_pos", (16, 6, 4)), ("mha_1_std", (16, 16, 2))],
    ids=["positions", "features as positions"],
)
def test_attention_is_that_of_the_authors_code(
    case: str, options: tuple[int, int, int], dtype: torch.dtype, golden_folder: Path
) -> None:
    golden = Golden(golden_folder / "positional_attention" / f"{case}.npz", dtype, str)
    ours = golden.load(PositionalAttention(*options))
    golden.check(ours, out=ours(*batched(golden)).view_as(golden.inputs["x"]))


@pytest.mark.parametrize("dtype", TOLERANCES, ids=str)
def test_a_network_of_layers_is_that_of_the_authors_code(
    dtype: torch.dtype, golden_folder: Path
) -> None:
    golden = Golden(
        golden_folder / "positional_attention" / "model_0.npz",
        dtype,
        lambda name: name.replace("transformer_layers", "layers").replace("mlp.mlp", "mlp"),
    )
    layers = nn.ModuleList(PositionalTransformerLayer(16, 8, 4, 24) for _ in range(2))
    parts = {"encoding": nn.Linear(3, 16), "layers": layers, "decoding": nn.Linear(16, 2)}
    ours = golden.load(nn.ModuleDict(parts))
    x, positions, blocks = batched(golden)
    x = ours["encoding"](x)
    for layer in ours["layers"]:
        x = layer(x, positions, blocks)
    golden.check(ours, out=ours["decoding"](x).unflatten(0, (2, -1)))


def test_features_do_not_change_the_weights() -> None:
    layer = PositionalAttention(8, 3, heads=2)
    x, positions, blocks = sets(SIZES)
    other = torch.randn_like(x)
    bias = layer(torch.zeros_like(x), positions, blocks)
    # Linear in the features, since nothing of them is in the weights.
    together = layer(x + other, positions, blocks) - bias
    apart = layer(x, positions, blocks) + layer(other, positions, blocks) - 2 * bias
    assert_close(together, apart, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    "layer",
    [lambda: PositionalAttention(8, 3, 2), lambda: PositionalTransformerLayer(8, 3, 2, 16)],
    ids=["attention", "layer"],
)
def test_a_set_gives_the_same_alone_in_a_batch_and_in_any_order(layer: type[nn.Module]) -> None:
    ours = layer()
    x, positions, blocks = sets(SIZES)
    together = ours(x, positions, blocks)
    assert together.isfinite().all()
    parts = (tensor.split(SIZES) for tensor in (x, positions, together))
    for own, place, expected in zip(*parts, strict=True):
        order = torch.randperm(len(own))
        alone = ours(own[order], place[order], Blocks.from_ptr(torch.tensor([0, len(own)])))
        assert_close(alone, expected[order], atol=1e-6, rtol=1e-5)


def test_dropout_is_for_training() -> None:
    layer = PositionalAttention(8, 3, heads=2, dropout=0.5)
    given = sets(SIZES)
    assert not torch.equal(layer(*given), layer(*given))
    layer.eval()
    assert torch.equal(layer(*given), layer(*given))


def test_bad_input_is_named() -> None:
    x, positions, blocks = sets(SIZES)
    layer = PositionalAttention(8, 3)
    with pytest.raises(ValueError, match=r"positions must be \(75, 3\), got \(75, 8\)"):
        layer(x, x, blocks)
    with pytest.raises(TypeError, match=r"x must be a floating-point tensor, got torch\.int64"):
        layer(x.long(), positions, blocks)
    with pytest.raises(TypeError, match=r"blocks must be a graphattn\.Blocks, got Tensor"):
        layer(x, positions, x)
    with pytest.raises(ValueError, match="heads must divide channels = 8, got 3"):
        PositionalAttention(8, 3, heads=3)
    with pytest.raises(ValueError, match="num_maps must be at least 1, got 0"):
        PositionalTransformerLayer(8, 3, 2, 16, num_maps=0)
