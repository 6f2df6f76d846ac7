"""The networks that are timed on molecules: this library's, and the same of PyG's parts."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch_geometric.nn
from torch import nn
from torch_geometric.nn import GINEConv

import graphattn.nn
from benchmarks.molecules.pyg_parts import (
    EdgeGPSConv,
    PygGatedGCNLayer,
    PygGraphTransformerLayer,
    PygNetwork,
)
from examples.molecules import Recipe, gps, graph_transformer, inputs, readout
from graphattn.models.gps import GPS, LocalGPSLayer

Build = Callable[[Recipe], nn.Module]


def gine_gps_layer(package: Any, recipe: Recipe) -> nn.Module:
    """GPS of a package around PyTorch Geometric's GINEConv, which this library has not."""
    return _gps_layer(package.GPSConv, _gine(recipe.channels), recipe)


def keeping_gps_layer(package: Any, recipe: Recipe) -> nn.Module:
    """The same without dropout of attention weights, as PyTorch Geometric's default is."""
    sizes = {"heads": recipe.heads, "dropout": recipe.dropout}
    return package.GPSConv(recipe.channels, _gine(recipe.channels), **sizes)


def gatv2_gps_layer(package: Any, recipe: Recipe) -> nn.Module:
    """GPS around GATv2Conv, both of one package."""
    conv = package.GATv2Conv(add_self_loops=False, **_sizes(recipe))
    return _gps_layer(package.GPSConv, conv, recipe)


def transformer_conv_layer(package: Any, recipe: Recipe) -> nn.Module:
    """A package's TransformerConv with residual, norm and perceptron."""
    return LocalGPSLayer(recipe.channels, package.TransformerConv(**_sizes(recipe)), recipe.dropout)


def pyg_gated_gps(recipe: Recipe) -> nn.Module:
    """The example's GPS of PyTorch Geometric's parts."""
    convs = [PygGatedGCNLayer(recipe.channels, recipe.dropout) for _ in range(recipe.num_layers)]
    convs[-1].edge_norm = nn.Identity()
    return _of_pyg(recipe, [_gps_layer(EdgeGPSConv, conv, recipe) for conv in convs])


def pyg_graph_transformer(recipe: Recipe) -> nn.Module:
    """The example's graph transformer of PyTorch Geometric's parts."""
    sizes, last = (recipe.channels, recipe.heads, recipe.dropout), recipe.num_layers - 1
    layers = [
        PygGraphTransformerLayer(*sizes, is_last=place == last)
        for place in range(recipe.num_layers)
    ]
    return _of_pyg(recipe, layers)


def _gine(channels: int) -> nn.Module:
    maps = [nn.Linear(channels, channels) for _ in range(2)]
    return GINEConv(nn.Sequential(maps[0], nn.ReLU(), maps[1]))


def _gps_layer(kind: Callable[..., nn.Module], conv: nn.Module, recipe: Recipe) -> nn.Module:
    return kind(
        recipe.channels,
        conv,
        heads=recipe.heads,
        dropout=recipe.dropout,
        attn_kwargs={"dropout": recipe.dropout},
    )


def _sizes(recipe: Recipe) -> dict[str, Any]:
    """Arguments of attention over edges."""
    return {
        "in_channels": recipe.channels,
        "out_channels": recipe.channels // recipe.heads,
        "heads": recipe.heads,
        "edge_dim": recipe.channels,
        "dropout": recipe.dropout,
    }


def _of_pyg(recipe: Recipe, layers: Sequence[nn.Module]) -> nn.Module:
    return PygNetwork(inputs(recipe), readout(recipe, 1), layers)


def _either(layer: Callable[[Any, Recipe], nn.Module]) -> dict[str, Build]:
    """Networks of a layer that is written alike with both packages."""

    def ours(recipe: Recipe) -> nn.Module:
        layers = [layer(graphattn.nn, recipe) for _ in range(recipe.num_layers)]
        return GPS(inputs(recipe), readout(recipe, 1), layers)

    def pyg(recipe: Recipe) -> nn.Module:
        return _of_pyg(
            recipe, [layer(torch_geometric.nn, recipe) for _ in range(recipe.num_layers)]
        )

    return {"ours": ours, "pyg": pyg}


NETWORKS: dict[str, dict[str, Build]] = {
    "GPS, GatedGCN": {
        "ours": functools.partial(gps, "multihead", num_properties=1),
        "pyg": pyg_gated_gps,
    },
    "GPS, GINE": _either(gine_gps_layer),
    "GPS, GINE, all weights kept": _either(keeping_gps_layer),
    "GPS, GATv2": _either(gatv2_gps_layer),
    "TransformerConv": _either(transformer_conv_layer),
    "GraphTransformer": {
        "ours": functools.partial(graph_transformer, num_properties=1),
        "pyg": pyg_graph_transformer,
    },
}


def build(name: str, peer: str, recipe: Recipe) -> nn.Module:
    """A contestant's network, with the weights that all contestants have."""
    torch.manual_seed(0)
    network = NETWORKS[name]["ours"](recipe)
    if peer == "ours":
        return network
    weights = network.state_dict()
    network = NETWORKS[name][peer](recipe)
    network.load_state_dict(weights)
    return network
