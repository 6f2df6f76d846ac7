"""The blocks as one would write them with PyTorch alone: on dense batches, on nested tensors."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.peers.contestant import Contestant, Weights
from benchmarks.sets.cases import SetCase


def dense(layer: str, case: SetCase, weights: Weights) -> Contestant:
    """Sets of one size as a dense batch, without masks."""
    own = {name: nn.Parameter(weight) for name, weight in weights.items()}
    shape = (case.num_sets, -1)

    def call(x: Sequence[Tensor], structure: None, edge_attr: Tensor | None) -> Tensor:
        batch = x[0].unflatten(0, shape)  # (S, n, F)
        if layer == "SetAttentionBlock":
            return _block(batch, batch, own, "mab", case.heads).flatten(0, 1)
        points = own["ind"].expand(case.num_sets, -1, -1)
        read = _block(points, batch, own, "mab1", case.heads)
        return _block(batch, read, own, "mab2", case.heads).flatten(0, 1)

    return Contestant(list(own.values()), lambda membership, num_nodes: None, call)


def nested(layer: str, case: SetCase, weights: Weights) -> Contestant:
    """Sets as a nested tensor of PyTorch's jagged layout."""
    if layer != "SetAttentionBlock":
        raise ValueError(f"layer must be SetAttentionBlock for nested tensors, got {layer}")
    own = {name: nn.Parameter(weight) for name, weight in weights.items()}
    longest = int(case.sizes.max())

    def prepare(membership: Tensor, num_nodes: int) -> Tensor:
        return torch.cat([case.sizes.new_zeros(1), case.sizes.cumsum(0)])

    def call(x: Sequence[Tensor], ptr: Tensor, edge_attr: Tensor | None) -> Tensor:
        batch = torch.nested.nested_tensor_from_jagged(x[0], ptr, max_seqlen=longest)
        return _block(batch, batch, own, "mab", case.heads).values()

    return Contestant(list(own.values()), prepare, call)


def _block(x: Tensor, y: Tensor, weights: Mapping[str, Tensor], prefix: str, heads: int) -> Tensor:
    own = {name.removeprefix(f"{prefix}."): weight for name, weight in weights.items()}
    width = x.shape[-1]
    weight, bias = own["attn.in_proj_weight"], own["attn.in_proj_bias"]
    if x is y:
        query, key, value = F.linear(x, weight, bias).chunk(3, -1)
    else:
        query = F.linear(x, weight[:width], bias[:width])
        key, value = F.linear(y, weight[width:], bias[width:]).chunk(2, -1)
    parts = (query, key, value)
    if x.is_nested:  # what nested tensors are multiplied with on CPUs takes no views
        parts = (query.contiguous(), key.contiguous(), value.contiguous())
    parts = tuple(part.unflatten(-1, (heads, -1)).transpose(1, 2) for part in parts)
    out = F.scaled_dot_product_attention(*parts).transpose(1, 2).flatten(2)
    h = x + F.linear(out, own["attn.out_proj.weight"], own["attn.out_proj.bias"])
    h = F.layer_norm(h, (width,), own["layer_norm1.weight"], own["layer_norm1.bias"])
    h = h + F.linear(h, own["lin.weight"], own["lin.bias"]).relu()
    return F.layer_norm(h, (width,), own["layer_norm2.weight"], own["layer_norm2.bias"])
