"""The attention of both public Perceivers: stored results of their code, gradients included."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from official import MAPS, TOLERANCES, Named, Stored, pairs_of, plain_in_double, renamed
from torch import nn

from graphattn import Blocks
from graphattn.nn.latents.residual_blocks import (
    CrossAttentionBlock,
    SelfAttentionBlock,
    prenorm_perceptron,
)
from graphattn.nn.sets.cross_attention import CrossAttention
from graphattn.nn.sets.padded_sets import from_padded


@pytest.fixture(params=TOLERANCES, ids=str)
def dtype(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> torch.dtype:
    return plain_in_double(request.param, monkeypatch)


@pytest.mark.parametrize("case", ["mha_0_h4", "mha_1_h8"])
def test_attention_is_that_of_krasserms_perceiver(
    case: str, dtype: torch.dtype, golden_folder: Path
) -> None:
    stored = Stored(golden_folder / f"perceiver/{case}.npz", dtype)
    settings, inputs = stored.settings, stored.inputs
    layer = CrossAttention(
        settings["num_q_input_channels"],
        settings["num_heads"],
        settings["num_kv_input_channels"],
        settings["num_qk_channels"],
        settings["num_v_channels"],
    )
    stored.load(layer, renamed(*MAPS))
    key, of_keys = from_padded(inputs["x_kv"], ~inputs["pad_mask"])
    query, of_queries = from_padded(inputs["x_q"])
    blocks = Blocks.from_ptr(of_queries.target_ptr, of_keys.target_ptr)
    out, weights = layer(query, key, key, blocks, return_weights=True)
    assert torch.equal(layer(query, key, key, blocks), out)
    # Where all is padding, that code attends to all of the padding equally, and ours to nothing.
    is_empty = inputs["pad_mask"].all(dim=1)
    padding = layer.lin_out(layer.lin_value(inputs["x_kv"]).mean(dim=1, keepdim=True))
    out = torch.where(is_empty[:, None, None], padding, out.view_as(inputs["x_q"]))
    stored.check(layer, {"out": out}, renamed(*MAPS))
    pairs = ~inputs["pad_mask"][:, None].expand(-1, inputs["x_q"].shape[1], -1)
    expected = stored.part("out")["attn0"].permute(0, 2, 3, 1)[pairs]
    stored.assert_near(weights, expected, "weights")


@pytest.mark.parametrize("case", ["cross_layer_0_h4", "cross_layer_1_h2"])
def test_cross_attention_is_that_of_krasserms_perceiver(
    case: str, dtype: torch.dtype, golden_folder: Path
) -> None:
    stored = Stored(golden_folder / f"perceiver/{case}.npz", dtype)
    settings, inputs = stored.settings, stored.inputs
    channels = settings["num_q_input_channels"]
    layer = CrossAttentionBlock.prenorm(
        CrossAttention(channels, settings["num_heads"], settings["num_kv_input_channels"]),
        settings["widening_factor"] * channels,
        residual=settings["attention_residual"],
    )
    names = renamed(
        ("0.module.", ""), ("0.q_norm", "q_norm"), ("0.kv_norm", "kv_norm"),
        ("0.attention", "attention"), ("q_norm", "query_norm"), ("kv_norm", "key_norm"),
        ("1.module.", "after.inner."), *MAPS,
    )  # fmt: skip
    stored.load(layer, names)
    key, of_keys = from_padded(inputs["x_kv"], ~inputs["pad_mask"])
    query, of_queries = from_padded(inputs["x_q"])
    blocks = Blocks.from_ptr(of_queries.target_ptr, of_keys.target_ptr)
    out = layer(query, key, blocks).view_as(inputs["x_q"])
    stored.check(layer, {"out": out}, names)


@pytest.mark.parametrize("case", ["self_block_0_h4", "self_block_1_h8"])
def test_self_attention_is_that_of_krasserms_perceiver(
    case: str, dtype: torch.dtype, golden_folder: Path
) -> None:
    stored = Stored(golden_folder / f"perceiver/{case}.npz", dtype)
    settings, x = stored.settings, stored.inputs["x"]
    channels = settings["num_channels"]
    layers = nn.ModuleList(
        SelfAttentionBlock.prenorm(
            CrossAttention(channels, settings["num_heads"]), settings["widening_factor"] * channels
        )
        for _ in range(settings["num_layers"])
    )
    names = renamed(
        (".0.module.norm", ".norm"), (".0.module.attention", ".attention"),
        (".1.module.", ".after.inner."), *MAPS,
    )  # fmt: skip
    stored.load(layers, names)
    # There, what is padding asks as well, though nothing asks it.
    size = x.shape[1]
    pairs = pairs_of(~stored.inputs["pad_mask"][:, None].expand(-1, size, -1))
    out = x.flatten(0, 1)
    for layer in layers:
        out = layer(out, pairs)
    stored.check(layers, {"out": out.view_as(x)}, names)


def haiku(*replacements: tuple[str, str]) -> Callable[[Named], Named]:
    """As `renamed`, for matrices that are stored the other way round."""
    replace = renamed(
        *replacements, ("|w", ".weight"), ("|b", ".bias"), ("|scale", ".weight"),
        ("|offset", ".bias"),
    )  # fmt: skip
    return lambda official: replace({name: x.t() for name, x in official.items()})


HAIKU = (
    ("attention/linear_1", "attention.lin_key"), ("attention/linear_2", "attention.lin_value"),
    ("attention/linear_3", "attention.lin_out"), ("attention/linear", "attention.lin_query"),
    ("mlp/linear_1", "after.inner.3"), ("mlp/linear", "after.inner.1"),
)  # fmt: skip


@pytest.mark.parametrize("case", ["cross_0_kv", "cross_1_q"])
def test_cross_attention_is_that_of_deepminds_perceiver(
    case: str, dtype: torch.dtype, golden_folder: Path
) -> None:
    stored = Stored(golden_folder / f"perceiver_deepmind/{case}.npz", dtype)
    settings, (x, y) = stored.settings, (stored.inputs[f"inputs_{end}"] for end in ("q", "kv"))
    channels, source_channels = x.shape[-1], y.shape[-1]
    width = {"kv": source_channels, "q": channels}[settings["shape_for_attn"]]
    layer = CrossAttentionBlock(
        CrossAttention(channels, settings["num_heads"], source_channels, width),
        after=prenorm_perceptron(
            channels, settings["widening_factor"] * channels, nn.GELU(approximate="tanh")
        ),
        query_norm=nn.LayerNorm(channels),
        key_norm=nn.LayerNorm(source_channels),
    )
    names = haiku(
        ("cross_attention/", ""), *HAIKU, ("layer_norm_1", "key_norm"),
        ("layer_norm_2", "after.inner.0"), ("layer_norm", "query_norm"),
    )  # fmt: skip
    stored.load(layer, names)
    pairs = pairs_of(stored.inputs["attention_mask"].bool())
    out = layer(x.flatten(0, 1), y.flatten(0, 1), pairs).view_as(x)
    stored.check(layer, {"out": out}, names)


def test_self_attention_is_that_of_deepminds_perceiver(
    dtype: torch.dtype, golden_folder: Path
) -> None:
    stored = Stored(golden_folder / "perceiver_deepmind/self_0.npz", dtype)
    settings, x = stored.settings, stored.inputs["inputs"]
    channels = x.shape[-1]
    layer = SelfAttentionBlock(
        CrossAttention(channels, settings["num_heads"]),
        prenorm_perceptron(
            channels, settings["widening_factor"] * channels, nn.GELU(approximate="tanh")
        ),
        nn.LayerNorm(channels),
    )
    names = haiku(
        ("self_attention/", ""), *HAIKU, ("layer_norm_1", "after.inner.0"), ("layer_norm", "norm")
    )
    stored.load(layer, names)
    pairs = pairs_of(stored.inputs["attention_mask"].bool())
    stored.check(layer, {"out": layer(x.flatten(0, 1), pairs).view_as(x)}, names)
