"""This library's layers on sets as they are, one after another, nothing padded."""

from collections.abc import Sequence

from torch import Tensor, nn

import graphattn.nn
from benchmarks.peers.contestant import Contestant, Weights
from benchmarks.sets.cases import SetCase
from benchmarks.sets.layers import arguments, perceiver
from graphattn import Blocks


def ragged(layer: str, case: SetCase, weights: Weights) -> Contestant:
    """The layer on ``Blocks`` built once; the aggregation builds its own at each call."""
    if layer == "SetTransformerAggregation":
        return _aggregation(layer, case, weights)
    module = _module(layer, case, weights)

    def call(x: Sequence[Tensor], blocks: Blocks, edge_attr: Tensor | None) -> Tensor:
        out: Tensor = module(x[0], blocks=blocks)
        return out

    return Contestant(
        list(module.parameters()),
        lambda membership, num_nodes: Blocks.from_batch(membership[1], num_sets=case.num_sets),
        call,
    )


def _aggregation(layer: str, case: SetCase, weights: Weights) -> Contestant:
    module = _module(layer, case, weights)
    return Contestant(
        list(module.parameters()),
        lambda membership, num_nodes: membership[1],
        lambda x, index, edge_attr: module(x[0], index, dim_size=case.num_sets),
    )


def _module(layer: str, case: SetCase, weights: Weights) -> nn.Module:
    if layer.startswith("Perceiver"):
        module = perceiver(layer, case)
    else:
        module = getattr(graphattn.nn, layer)(**arguments(layer, case))
    module.load_state_dict(weights)
    return module
