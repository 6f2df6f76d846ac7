"""Attention of linear cost against stored results of official code, gradients included."""

from pathlib import Path

import pytest
import torch
from official import TOLERANCES, Named, Stored
from torch import Tensor, nn
from torch.nn import functional as F

from graphattn import Blocks
from graphattn.nn.linear.flow_attention import FlowAttention
from graphattn.nn.linear.galerkin_attention import FourierAttention, GalerkinAttention
from graphattn.nn.linear.linear_attention import (
    EfficientAttention,
    LinearSetAttention,
    elu_features,
    feature_product,
)
from graphattn.nn.linear.linformer_attention import LinformerAttention
from graphattn.nn.linear.nystrom_attention import NystromAttention
from graphattn.nn.linear.random_feature_attention import PerformerAttention

DTYPES = pytest.mark.parametrize("dtype", TOLERANCES, ids=str)


def stored_case(folder: Path, case: str, dtype: torch.dtype) -> Stored:
    return Stored(folder / f"linear_attention/{case}.npz", dtype)


def same(official: Named) -> Named:
    return official


def elements(x: Tensor) -> Tensor:
    """``(B, H, N, C)`` as elements of sets, ``(B * N, H, C)``."""
    return x.transpose(1, 2).flatten(0, 1)


def sets_with_keys(stored: Stored) -> tuple[Blocks, Tensor]:
    """All queries of each sample, over the keys that its mask leaves; and which those are."""
    mask = stored.inputs["mask"].detach().bool()
    queries = torch.arange(len(mask) + 1) * mask.shape[1]
    keys = torch.cat([torch.zeros(1, dtype=torch.int64), mask.sum(1).cumsum(0)])
    return Blocks.from_ptr(queries, keys), mask.flatten()


def masked(stored: Stored) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values, zero where the mask says so."""
    mask = stored.inputs["mask"].detach()[:, None, :, None]
    query, key, value = (elements(stored.inputs[name] * mask) for name in ("Q", "K", "V"))
    return query, key, value


def check(stored: Stored, layer: nn.Module, out: Tensor) -> None:
    dense = out.unflatten(0, (len(stored.inputs["Q"]), -1)).transpose(1, 2)
    stored.check(layer, {"out": dense}, same)


@DTYPES
def test_the_feature_map_is_that_of_the_long_range_arena(
    dtype: torch.dtype, golden_folder: Path
) -> None:
    stored = stored_case(golden_folder, "linear_elu_0", dtype)
    blocks, is_key = sets_with_keys(stored)
    query, key, value = (elements(stored.inputs[name]) for name in ("Q", "K", "V"))
    key, value = key[is_key], value[is_key]
    out = feature_product(elu_features(query), elu_features(key), value, blocks)
    check(stored, nn.Identity(), out / stored.inputs["Q"].shape[2] ** 0.5)


@DTYPES
@pytest.mark.parametrize("case", ["performer_0_exp", "performer_1_relu"])
def test_performers_features_are_the_official_ones(
    case: str, dtype: torch.dtype, golden_folder: Path
) -> None:
    stored = stored_case(golden_folder, case, dtype)
    query, key, value = masked(stored)
    query = elements(stored.inputs["Q"])
    projection = stored.part("buffer")["attn_fn.projection_matrix"]
    layer = PerformerAttention(8, len(projection)).to(dtype)
    layer.load_state_dict({"projection": projection})
    size = stored.inputs["Q"].shape[2]
    blocks = Blocks.from_ptr(torch.arange(len(stored.inputs["Q"]) + 1) * size)
    out = layer(query / 8**0.25, key / 8**0.25, value, blocks)
    check(stored, layer, out)


@DTYPES
@pytest.mark.parametrize("case", ["galerkin_0", "linear_1", "fourier_2"])
def test_projections_without_norms_are_the_official_ones(
    case: str, dtype: torch.dtype, golden_folder: Path
) -> None:
    stored = stored_case(golden_folder, case, dtype)
    batch, heads, size, channels = stored.inputs["Q"].shape
    layers: dict[str, LinearSetAttention] = {
        "galerkin_0": GalerkinAttention(channels, heads),
        "linear_1": EfficientAttention(),
        "fourier_2": FourierAttention(channels, heads),
    }
    layer = layers[case]
    for name, _ in list(layer.named_children()):
        setattr(layer, name, nn.Identity())
    blocks = Blocks.from_ptr(torch.arange(batch + 1) * size)
    out = layer(*(elements(stored.inputs[name]) for name in ("Q", "K", "V")), blocks)
    check(stored, layer, out / size if case == "linear_1" else out)


@DTYPES
@pytest.mark.parametrize("case", ["linformer_0", "linformer_1"])
def test_linformers_mixtures_are_the_official_ones(
    case: str, dtype: torch.dtype, golden_folder: Path
) -> None:
    stored = stored_case(golden_folder, case, dtype)
    layer = LinformerAttention(*stored.part("param")["E"].shape)
    stored.load(layer, same)
    blocks, is_key = sets_with_keys(stored)
    query, key, value = (elements(stored.inputs[name]) for name in ("Q", "K", "V"))
    check(stored, layer, layer(query, key[is_key], value[is_key], blocks))


class OfficialNystrom(NystromAttention):
    """Where the official code lets samples, and what is masked, play a part that sets do not."""

    padded: int = 0

    def largest_sum(self, matrix: Tensor) -> Tensor:
        return matrix.sum(dim=-2).max()

    def landmarks(self, x: Tensor, ptr: Tensor, cluster: Tensor | None) -> Tensor:
        parts = x.split(ptr.diff().tolist())
        rows = [F.pad(own, (0, 0, 0, 0, 0, self.padded - len(own))) for own in parts]
        return torch.stack(rows).unflatten(1, (self.num_landmarks, -1)).mean(2).transpose(1, 2)


@DTYPES
@pytest.mark.parametrize("case", ["nystrom_0_m4", "nystrom_1_m6", "nystrom_2_m12"])
def test_nystroms_matrices_are_the_official_ones(
    case: str, dtype: torch.dtype, golden_folder: Path
) -> None:
    stored = stored_case(golden_folder, case, dtype)
    layer = OfficialNystrom(stored.settings["num_landmarks"])
    layer.padded = stored.settings["seq_len"]
    blocks, is_key = sets_with_keys(stored)
    query, key, value = masked(stored)
    out = layer(query, key[is_key], value[is_key], blocks)
    if "conv_kernel_size" in stored.settings:
        # The official code adds a convolution of the values along the sequence.
        size = stored.settings["conv_kernel_size"]
        layer.conv = nn.Conv2d(4, 4, (size, 1), padding=(size // 2, 0), bias=False, groups=4)
        stored.load(layer, same)
        dense = value.unflatten(0, (blocks.num_sets, -1)).transpose(1, 2)
        out = out + elements(layer.conv(dense))
    check(stored, layer, out)


class OfficialEfficient(nn.Module):
    """The maps around the attention, under their official names."""

    def __init__(self, channels: int, key_channels: int, value_channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.keys = nn.Conv2d(channels, key_channels, 1)
        self.queries = nn.Conv2d(channels, key_channels, 1)
        self.values = nn.Conv2d(channels, value_channels, 1)
        self.reprojection = nn.Conv2d(value_channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = (
            elements(conv(x).flatten(2).unflatten(1, (self.heads, -1)).transpose(2, 3))
            for conv in (self.queries, self.keys, self.values)
        )
        blocks = Blocks.from_ptr(torch.arange(len(x) + 1) * (x.shape[2] * x.shape[3]))
        out = EfficientAttention()(query, key, value, blocks).flatten(1)
        grid = out.unflatten(0, (len(x), *x.shape[2:])).permute(0, 3, 1, 2)
        mapped: Tensor = self.reprojection(grid)
        return mapped + x


@DTYPES
@pytest.mark.parametrize("case", ["efficient_0", "efficient_1"])
def test_efficient_attention_is_the_official_one(
    case: str, dtype: torch.dtype, golden_folder: Path
) -> None:
    stored = stored_case(golden_folder, case, dtype)
    settings = stored.settings
    layer = OfficialEfficient(
        settings["in_channels"],
        settings["key_channels"],
        settings["value_channels"],
        settings["head_count"],
    )
    stored.load(layer, same)
    stored.check(layer, {"out": layer(stored.inputs["x"])}, same)


class OfficialFlow(nn.Module):
    """The maps around the attention, under their official names."""

    def __init__(self, d_input: int, d_model: int, d_output: int, n_heads: int) -> None:
        super().__init__()
        self.heads = n_heads
        self.query_projection = nn.Linear(d_input, d_model)
        self.key_projection = nn.Linear(d_input, d_model)
        self.value_projection = nn.Linear(d_input, d_model)
        self.out_projection = nn.Linear(d_model, d_output)

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        maps = self.query_projection, self.key_projection, self.value_projection
        mapped = (
            linear(x).flatten(0, 1).unflatten(-1, (self.heads, -1))
            for linear, x in zip(maps, (q, k, v), strict=True)
        )
        borders = torch.arange(len(q) + 1)
        blocks = Blocks.from_ptr(borders * q.shape[1], borders * k.shape[1])
        out = FlowAttention()(*mapped, blocks).flatten(1)
        projected: Tensor = self.out_projection(out).unflatten(0, (len(q), -1))
        return projected


@DTYPES
@pytest.mark.parametrize("case", ["flow_0_h4", "flow_1_h2"])
def test_flow_attention_is_the_official_one(
    case: str, dtype: torch.dtype, golden_folder: Path
) -> None:
    stored = stored_case(golden_folder, case, dtype)
    names = ("d_input", "d_model", "d_output", "n_heads")
    layer = OfficialFlow(*(stored.settings[name] for name in names))
    stored.load(layer, same)
    stored.check(layer, {"out": layer(**stored.inputs)}, same)
