"""LUNA, RIN, AGILE3D and virtual nodes against stored results of official code."""

from pathlib import Path
from typing import Any

import pytest
import torch
from official import MAPS, TOLERANCES, Named, Stored, pairs_of, plain_in_double, renamed
from torch import Tensor, nn
from torch_geometric.nn import GINEConv

from graphattn import Blocks
from graphattn.nn.latents.agile3d_block import AGILE3DBlock
from graphattn.nn.latents.fourier_features import octave_features
from graphattn.nn.latents.luna_block import LUNABlock
from graphattn.nn.latents.residual_blocks import prenorm_perceptron
from graphattn.nn.latents.rin_block import RINBlock
from graphattn.nn.latents.virtual_node import VirtualNode
from graphattn.nn.sets.padded_sets import from_padded


@pytest.fixture(params=TOLERANCES, ids=str)
def dtype(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> torch.dtype:
    return plain_in_double(request.param, monkeypatch)


LUNA = renamed(
    ("cross_attention.", "read.0.attention."), ("ffn.fc1", "read.0.after.inner.0"),
    ("ffn.norm", "read.0.after.inner.2"), ("ffn.fc2", "read.0.after.inner.3"),
    ("keys_norm", "read.0.key_norm"), ("values_norm", "read.0.value_norm"),
    ("queries_norm", "read.0.query_norm"), ("query_self_attn.layers.", "compute."),
    ("self_attn", "attention"), ("norm1", "norm"), ("norm2", "after.inner.0"),
    ("linear1", "after.inner.1"), ("linear2", "after.inner.3"), *MAPS,
)  # fmt: skip


def luna(official: Named) -> Named:
    rest = dict(official)
    rest.pop("temparature", None)  # never used, so that it has no gradient
    seeds = rest.pop("query_embed")
    return {"seeds.weight": seeds[0], **LUNA(rest)}


@pytest.mark.parametrize("case", ["cross_block_0", "cross_block_1"])
def test_lunas_block_is_the_official_one(
    case: str, dtype: torch.dtype, golden_folder: Path
) -> None:
    stored = Stored(golden_folder / f"luna/{case}.npz", dtype)
    settings = stored.settings
    layer = LUNABlock(
        settings["dim"], settings["num_queries"], settings["num_heads"], settings["ff_dim"]
    )
    stored.load(layer, luna)
    x, blocks = from_padded(stored.inputs["x"])
    latents, unchanged = layer(x, blocks)
    assert unchanged is x
    out = latents.view(blocks.num_sets, settings["num_queries"], -1)
    stored.check(layer, {"out": out}, luna)


def test_lunas_positions_are_the_official_ones(dtype: torch.dtype, golden_folder: Path) -> None:
    stored = Stored(golden_folder / "luna/nerf_pe_0.npz", dtype)
    out = octave_features(stored.inputs["coords"], stored.settings["embed_size"])
    stored.check(nn.Identity(), {"out": out}, renamed())


def keras(official: Named) -> Named:
    """Kernels are ``(in, heads, width)`` or ``(in, out)``, and those of outputs end on ``out``."""
    replace = renamed(
        ("transformer_decoder_layer/", "0/"), ("transformer_encoder_", ""),
        ("transformer_encoder/", "0/"), ("latent/", "compute/"), ("cross_mha_ln", "query_norm"),
        ("cross_mha_enc_ln", "key_norm"), ("mha_ln", "norm"), ("cross_mha/", "mha/"),
        ("mha/attention_output", "attention/lin_out"), ("mha/", "attention/lin_"),
        ("mlp/ffn/dense1", "after/inner/1"), ("mlp/ffn/dense2", "after/inner/3"),
        ("mlp/ffn_ln", "after/inner/0"), ("gamma", "weight"), ("beta", "bias"),
        ("kernel", "weight"), ("/", "."),
    )  # fmt: skip

    def turned(name: str, x: Tensor) -> Tensor:
        if not name.endswith("kernel"):
            return x.flatten()
        first = 2 if "attention_output" in name else 1
        return x.flatten(0, first - 1).flatten(1).t()

    return replace({name: turned(name, x) for name, x in official.items()})


@pytest.mark.parametrize("case", ["block_0", "block_1"])
def test_rins_block_is_the_official_one(case: str, golden_folder: Path) -> None:
    stored = Stored(golden_folder / f"rin/{case}.npz", torch.float32)
    settings = stored.settings
    channels, latent_channels = settings["tape_dim"], settings["latent_dim"]
    of_tape, of_latents = settings["rw_mlp_ratio"], settings["latent_mlp_ratio"]
    layer = RINBlock(
        channels,
        latent_channels,
        settings["latent_depth"],
        settings["latent_heads"],
        settings["rw_heads"],
        (of_tape, of_latents, of_tape),
    )
    if settings["use_enc_ln"]:  # an option of that code, off in its networks
        layer.read[0].key_norm = nn.LayerNorm(channels, eps=1e-6)
        layer.write[0].key_norm = nn.LayerNorm(latent_channels, eps=1e-6)
    stored.load(layer, keras)
    x, of_elements = from_padded(stored.inputs["tape"])
    latents, of_latent = from_padded(stored.inputs["latent"])
    blocks = Blocks.from_ptr(of_latent.target_ptr, of_elements.target_ptr)
    latents, x = layer(x, blocks, latents)
    outputs = {
        "latent": latents.view_as(stored.inputs["latent"]),
        "tape": x.view_as(stored.inputs["tape"]),
    }
    stored.check(layer, outputs, keras)


def by_set(x: Tensor) -> Tensor:
    """From ``(N, B, channels)``, as AGILE3D has it, to ``(B * N, channels)``."""
    return x.transpose(0, 1).flatten(0, 1)


def check_agile3d(stored: Stored, layer: nn.Module, out: Tensor, names: Any) -> None:
    size, batch, _ = stored.inputs["tgt"].shape
    stored.check(layer, {"out": out.unflatten(0, (batch, size)).transpose(0, 1)}, names)


@pytest.mark.parametrize(("case", "norm"), [("cross_0", "after"), ("cross_1", "query_norm")])
def test_agile3ds_cross_attention_is_the_official_one(
    case: str, norm: str, dtype: torch.dtype, golden_folder: Path
) -> None:
    stored = Stored(golden_folder / f"agile3d/{case}.npz", dtype)
    settings, inputs = stored.settings, stored.inputs
    layer = AGILE3DBlock(settings["d_model"], settings["nhead"]).read[0]
    if settings["normalize_before"]:
        layer.query_norm, layer.after = layer.after, layer.query_norm
    names = renamed(("multihead_attn", "attention"), ("norm", norm), *MAPS)
    stored.load(layer, names)
    pairs = pairs_of(~inputs["memory_mask"].expand(inputs["tgt"].shape[1], -1, -1))
    x, y, x_position, y_position = (
        by_set(inputs[name]) for name in ("tgt", "memory", "query_pos", "pos")
    )
    check_agile3d(stored, layer, layer(x, y, pairs, x_position, y_position), names)


@pytest.mark.parametrize(("case", "norm"), [("self_0", "after"), ("self_1", "norm")])
def test_agile3ds_self_attention_is_the_official_one(
    case: str, norm: str, dtype: torch.dtype, golden_folder: Path
) -> None:
    stored = Stored(golden_folder / f"agile3d/{case}.npz", dtype)
    settings, inputs = stored.settings, stored.inputs
    layer = AGILE3DBlock(settings["d_model"], settings["nhead"]).compute[0]
    layer.after = layer.after[0]  # the rest is that of the next test
    if settings["normalize_before"]:
        layer.norm, layer.after = layer.after, layer.norm
    names = renamed(("self_attn", "attention"), ("norm", norm), *MAPS)
    stored.load(layer, names)
    x, blocks = from_padded(inputs["tgt"].transpose(0, 1))
    check_agile3d(stored, layer, layer(x, blocks, by_set(inputs["query_pos"])), names)


@pytest.mark.parametrize("case", ["ffn_0", "ffn_1"])
def test_agile3ds_perceptron_is_the_official_one(
    case: str, dtype: torch.dtype, golden_folder: Path
) -> None:
    stored = Stored(golden_folder / f"agile3d/{case}.npz", dtype)
    channels, hidden = stored.settings["d_model"], stored.settings["dim_feedforward"]
    if stored.settings["normalize_before"]:
        layer: nn.Module = prenorm_perceptron(channels, hidden, nn.ReLU())
        names = renamed(("norm", "inner.0"), ("linear1", "inner.1"), ("linear2", "inner.3"))
    else:
        layer = AGILE3DBlock(channels, 1, hidden).compute[0].after[1:]
        names = renamed(("norm", "2"), ("linear1", "1.inner.0"), ("linear2", "1.inner.2"))
    stored.load(layer, names)
    check_agile3d(stored, layer, layer(by_set(stored.inputs["tgt"])), names)


class Network(nn.Module):
    """Message passing with a virtual node between layers, as the official code has it."""

    def __init__(self, channels: int, depth: int, residual: bool) -> None:
        super().__init__()
        self.start = VirtualNode.start(channels)
        self.convs = nn.ModuleList(
            GINEConv(
                nn.Sequential(
                    nn.Linear(channels, channels), nn.ReLU(), nn.Linear(channels, channels)
                )
            )
            for _ in range(depth)
        )
        self.nodes = nn.ModuleList(
            VirtualNode(channels, residual=residual) for _ in range(depth - 1)
        )

    def forward(
        self, x: Tensor, edge_index: Tensor, edge_attr: Tensor, batch: Tensor
    ) -> tuple[Tensor, Tensor]:
        blocks = Blocks.from_batch(batch)
        node, x = self.start(x, blocks)
        for number, conv in enumerate(self.convs):
            x = x + conv(x, edge_index, edge_attr).relu()
            if number < len(self.nodes):
                node, x = self.nodes[number](x, blocks.seeds(1), node)
        return x, node


@pytest.mark.parametrize("case", ["1_gineconv_L3_vnres", "3_gineconv_L4"])
def test_virtual_nodes_are_the_official_ones(
    case: str, dtype: torch.dtype, golden_folder: Path
) -> None:
    stored = Stored(golden_folder / f"mpnn_vn/{case}.npz", dtype)
    settings = stored.settings
    network = Network(settings["dim"], settings["layers_mp"], settings["vn_residual"])
    names = renamed(
        ("gnn_layers.", "convs."), ("model.", ""), ("virtualnode_embedding", "start.seeds"),
        ("mlp_virtualnode_list.0", "nodes.0.read.0.network"),
        ("mlp_virtualnode_list.1", "nodes.1.read.0.network"),
        ("mlp_virtualnode_list.2", "nodes.2.read.0.network"),
    )  # fmt: skip
    stored.load(network, names)
    assert not network.load_state_dict(names(stored.part("buffer")), strict=False).unexpected_keys
    x, _ = network(**stored.inputs)
    stored.check(network, {"out": x}, names)
