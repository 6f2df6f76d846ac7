"""Stored results of the official Crystalformer: settings and parameters turned into ours."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from official import Named, Stored
from torch import nn
from torch.nn import functional as F

from graphattn.nn.crystals import gaussian_widths, lattice_terms
from graphattn.nn.crystals.crystalformer_forms import (
    ATOM_SOFTMAX,
    IMAGE_SOFTMAX,
    CrystalformerForm,
    without_softmax,
)
from graphattn.nn.crystals.crystalformer_layer import CrystalformerAttention
from graphattn.nn.crystals.crystals import Crystals
from graphattn.nn.crystals.lattice_waves import WaveSpace

MAPS = {
    "elu": gaussian_widths.PositiveELU,
    "exp": gaussian_widths.PositiveExponential,
    "softplus": gaussian_widths.PositiveSoftplus,
}
Settings = dict[str, Any]


def crystals_of(stored: Stored) -> Crystals:
    """The crystals, coordinates as they stand so that they get gradients."""
    ptr = torch.tensor([0, *stored.inputs["sizes"].tolist()]).cumsum(0)
    return Crystals.from_ptr(stored.inputs["pos"], stored.inputs["trans_vec"], ptr)


def terms_of(settings: Settings, domain: str, heads: int, channels: int) -> nn.Module:
    """The sums of one domain; ``settings`` are the official ``lattice_params``."""
    if domain == "multihead":
        half = [terms_of(settings, one, heads // 2, channels) for one in ("real", "reci")]
        return lattice_terms.HeadGroups(half)
    is_real = domain == "real"
    name, _, slope = settings["positive_func"].partition("=")
    positive = MAPS[name](settings["gauss_lb_real" if is_real else "gauss_lb_reci"], float(slope))
    scale = settings["scale_real" if is_real else "scale_reci"]
    scale = scale[0] if isinstance(scale, list) else scale
    power = 0.5 if domain == "reci" else -0.5
    gaussians = lattice_terms.Gaussians(scale, power, positive)
    cells = settings["lattice_range"]
    if not is_real:
        return lattice_terms.ReciprocalSpace(gaussians, cells)
    if settings.get("value_pe_wave_real"):
        return WaveSpace(heads, channels, settings["value_pe_wave_real"], gaussians, cells)
    count, farthest = settings["value_pe_dist_real"], settings["value_pe_dist_max"]
    farthest = -farthest * scale if farthest < 0 else farthest
    shared = not settings.get("value_pe_headed", True)
    radial = (
        lattice_terms.RadialFunctions(
            count, farthest, settings.get("value_pe_width_scale", 1.0), shared
        )
        if count
        else None
    )
    return lattice_terms.RealSpace(
        heads, channels, radial, gaussians, cells, settings["exclude_self"]
    )


def width_of(settings: Settings, channels: int, heads: int) -> nn.Module:
    """What the atoms choose their widths by."""
    made: dict[str, Any] = {
        "q": lambda: gaussian_widths.QueryWidth(heads, channels // heads),
        "x": lambda: gaussian_widths.AtomWidth(channels, heads),
        "x-xn": lambda: gaussian_widths.MappedAtomWidth(channels, heads),
    }
    width: nn.Module = made[settings.get("gauss_state", "q")]()
    if settings["normalize_gauss"]:
        return gaussian_widths.FirstBatchStandardized(width)
    return width


def form_of(mode: int) -> CrystalformerForm:
    """The form of a ``norm_func_mode``."""
    forms = {
        0: lambda: IMAGE_SOFTMAX,
        1: lambda: ATOM_SOFTMAX,
        4: lambda: without_softmax(torch.sigmoid),
        7: lambda: without_softmax(elu_above_zero),
    }
    return replace(forms[abs(mode)](), has_unit_sums=mode < 0)


def elu_above_zero(x: torch.Tensor) -> torch.Tensor:
    return F.elu(x) + 1


def attention_of(
    settings: Settings, channels: int, heads: int, domain: str
) -> CrystalformerAttention:
    """The attention of one layer."""
    return CrystalformerAttention(
        channels,
        heads,
        terms_of(settings, domain, heads, channels // heads),
        width_of(settings, channels, heads),
        form_of(settings["norm_func_mode"]),
    )


def names_of(attention: CrystalformerAttention, official: Named, prefix: str = "") -> Named:
    """Official parameters of one attention, or their gradients, by our names, in our shapes."""
    shapes = {name: p.shape for name, p in attention.named_parameters()}
    direction = next(name for name in shapes if name.startswith("width."))
    own = {n.removeprefix(prefix): x for n, x in official.items() if n.startswith(prefix)}
    is_mapped = "lattice_pos_weights2" in own
    mapped = direction.replace("direction.weight", "lin.weight")
    if is_mapped:
        mapped = next(name for name in shapes if name.endswith(".lin.weight"))
        direction = mapped.replace("lin.weight", "direction.weight")
    ours: Named = {}
    for name, x in own.items():
        if name == "in_proj_bias":
            for kind, chunk in zip(("query", "key", "value"), x.chunk(3), strict=True):
                ours[f"lin_{kind}.bias"] = chunk
        elif name in ("q_proj_weight", "k_proj_weight", "v_proj_weight"):
            kind = {"q": "query", "k": "key", "v": "value"}[name[0]]
            ours[f"lin_{kind}.weight"] = x
        elif name.startswith("out_proj."):
            ours[name.replace("out_proj", "lin_out")] = x
        elif name == "lattice_pos_weights":
            target = mapped if is_mapped else direction
            ours[target] = x.view(shapes[target])
        elif name == "lattice_pos_weights2":
            ours[direction] = x.view(shapes[direction])
        elif name in ("pe_dist_proj", "pe_wave_proj"):
            ours["terms.weight"] = x.squeeze(0)
        else:
            assert name in ("gauss_scale", "atten_scale"), name
    return ours


def load_state(attention: CrystalformerAttention, official: Named, prefix: str = "") -> None:
    """Puts what was frozen in the first batch into the attention."""
    scale, shift = official[f"{prefix}gauss_scale"]
    if isinstance(attention.width, gaussian_widths.FirstBatchStandardized):
        attention.width.scale.copy_(scale)
        attention.width.shift.copy_(shift)
    if attention.form.has_unit_sums:
        attention.output_scale.copy_(official[f"{prefix}atten_scale"][0])


def attention_case(path: Path, dtype: torch.dtype) -> tuple[Stored, CrystalformerAttention]:
    """A stored attention, and ours with its parameters."""
    stored = Stored(path, dtype)
    settings = stored.settings
    params = settings["lattice_params"]
    layer = attention_of(params, settings["embed_dim"], settings["num_heads"], params["domain"])
    stored.load(layer, lambda official: names_of(layer, official))
    load_state(layer, stored.part("param"))
    return stored, layer
