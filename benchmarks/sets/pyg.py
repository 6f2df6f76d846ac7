"""PyTorch Geometric's layers on padded sets: all to the largest, compiled, and by length."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch_geometric.utils import to_dense_batch

from benchmarks.peers.contestant import Contestant, Weights
from benchmarks.sets.cases import SetCase
from benchmarks.sets.layers import of_pyg

Call = Callable[[Sequence[Tensor], Any, Tensor | None], Tensor]


def padded(layer: str, case: SetCase, weights: Weights) -> Contestant:
    """The layer as its aggregation calls it: on sets padded to the largest, with a mask."""
    module = _module(layer, case, weights)
    return Contestant(list(module.parameters()), _batch, _call(module, layer, case))


def compiled(layer: str, case: SetCase, weights: Weights) -> Contestant:
    """The same under ``torch.compile``; blocks get their padding before, which it cannot trace."""
    module = _module(layer, case, weights)
    return Contestant(list(module.parameters()), _batch, _call(torch.compile(module), layer, case))


def buckets(layer: str, case: SetCase, weights: Weights) -> Contestant:
    """The layer on sets of like size, padded to the next power of two, one call for each power."""
    module = _module(layer, case, weights)

    def prepare(membership: Tensor, num_nodes: int) -> tuple[list[tuple[Tensor, Tensor]], Tensor]:
        first = torch.cat([case.sizes.new_zeros(1), case.sizes.cumsum(0)])[:-1]
        power = case.sizes.double().log2().ceil().long()
        batches = []
        for width in power.unique().tolist():
            own = (power == width).nonzero().squeeze(1)
            place = torch.arange(int(case.sizes[own].max()))
            mask = place < case.sizes[own][:, None]  # (sets, longest)
            element = torch.where(mask, first[own][:, None] + place, 0)
            batches.append((element, mask))
        order = torch.cat([element[mask] for element, mask in batches])
        return batches, order.argsort()

    def call(x: Sequence[Tensor], structure: Any, edge_attr: Tensor | None) -> Tensor:
        batches, back = structure
        parts = [module(x[0][element], mask)[mask] for element, mask in batches]
        return torch.cat(parts)[back]

    return Contestant(list(module.parameters()), prepare, call)


def _module(layer: str, case: SetCase, weights: Weights) -> nn.Module:
    module = of_pyg(layer, case)
    module.load_state_dict(weights)
    return module


def _batch(membership: Tensor, num_nodes: int) -> Tensor:
    return membership[1]


def _call(module: Callable[..., Tensor], layer: str, case: SetCase) -> Call:
    # Said beforehand, so that nothing need be looked up in the tensors.
    num_sets, longest = case.num_sets, int(case.sizes.max())

    def aggregation(x: Sequence[Tensor], batch: Tensor, edge_attr: Tensor | None) -> Tensor:
        return module(x[0], batch, dim_size=num_sets, max_num_elements=longest)

    def block(x: Sequence[Tensor], batch: Tensor, edge_attr: Tensor | None) -> Tensor:
        dense, mask = to_dense_batch(x[0], batch, max_num_nodes=longest, batch_size=num_sets)
        return module(dense, mask)[mask]

    return aggregation if layer == "SetTransformerAggregation" else block
