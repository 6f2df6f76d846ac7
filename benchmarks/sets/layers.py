"""What contestants share: the arguments of a layer, its weights, and the Perceiver."""

from pathlib import Path
from typing import Any

import torch
import torch_geometric.nn.aggr
import torch_geometric.nn.aggr.utils
from torch import nn

from benchmarks.sets.cases import INDUCED_POINTS, LATENTS, SEED_POINTS, SetCase
from graphattn.models import Perceiver, PerceiverEncoder
from graphattn.nn import LearnedSeeds, PerceiverLayer

SELF_LAYERS = 4


def arguments(layer: str, case: SetCase) -> dict[str, Any]:
    """Arguments of PyTorch Geometric's constructors, which ours share."""
    given: dict[str, Any] = {"channels": case.channels, "heads": case.heads}
    if layer == "InducedSetAttentionBlock":
        given["num_induced_points"] = INDUCED_POINTS
    if layer == "SetTransformerAggregation":
        given |= {"num_seed_points": SEED_POINTS, "layer_norm": True}
    return given


def of_pyg(layer: str, case: SetCase) -> nn.Module:
    """PyTorch Geometric's layer."""
    parts = torch_geometric.nn.aggr
    home = parts if layer == "SetTransformerAggregation" else parts.utils
    module: nn.Module = getattr(home, layer)(**arguments(layer, case))
    return module


def perceiver(layer: str, case: SetCase) -> nn.Module:
    """Latents that read all elements once: alone, or with self-attention and their mean."""
    depth = SELF_LAYERS if layer == "Perceiver" else 0
    read = PerceiverLayer(case.channels, case.channels, depth, case.heads, case.heads)
    encoder = PerceiverEncoder(LearnedSeeds(LATENTS, case.channels), [read])
    return Perceiver(encoder, case.channels, case.channels) if depth else encoder


def write_weights(layer: str, case: SetCase, path: Path) -> None:
    """Writes weights by PyTorch Geometric's names, or by ours where it lacks the layer."""
    torch.manual_seed(0)
    module = perceiver(layer, case) if layer.startswith("Perceiver") else of_pyg(layer, case)
    torch.save(module.state_dict(), path)
