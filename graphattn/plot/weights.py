"""The weights of all attention inside a network, for pictures of them."""

import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.hooks import RemovableHandle

from graphattn.attention import EdgeAttention
from graphattn.blocks import Blocks
from graphattn.edges import Edges
from graphattn.nn.graph_transformers.gps_conv import GPSConv
from graphattn.nn.graph_transformers.graph_transformer_attention import GraphTransformerAttention
from graphattn.nn.sets import dot_product


class LayerWeights(NamedTuple):
    """What one layer attended to.

    Attributes:
        name: Of the layer inside the network, as ``named_modules`` has it.
        structure: ``Blocks`` where nodes attend to all nodes of their graph, as in ``GPSConv``,
            else the ``Edges`` that they attend along.
        weights: For each pair of the blocks, or each edge, ``(P, H)`` or ``(E, H)``.
    """

    name: str
    structure: Edges | Blocks
    weights: Tensor


class _Call(NamedTuple):
    name: str
    layer: nn.Module
    args: tuple[Any, ...]
    kwargs: dict[str, Any]


@contextmanager
def watched(network: nn.Module, hooks: Sequence[RemovableHandle]) -> Iterator[None]:
    """A network as in evaluation, without gradients; afterwards without hooks, and as it was."""
    modes = [(module, module.training) for module in network.modules()]
    try:
        network.eval()
        with torch.no_grad():
            yield
    finally:
        for hook in hooks:
            hook.remove()
        for module, is_training in modes:
            module.training = is_training


def weights_of_layers(network: nn.Module, *inputs: Any) -> list[LayerWeights]:
    """Calls a network as in evaluation, and returns the weights of its attention.

    Seen are ``GPSConv`` and the layers of ``GraphTransformer``. Others return theirs by themselves:
    drop-in layers with ``return_attention_weights``, blocks on sets by ``attention_weights``.

    Args:
        network: Such as ``graphattn.models.gps.GPS``. It stays as it is: each part in training or
            not, and the means of its norms.
        *inputs: What it is called with, such as a batch.

    Returns:
        In the order in which layers were called; a layer that was called twice is there twice. No
        gradients run through the weights.

    Raises:
        ValueError: If no such layer is called, or a ``GPSConv`` attends by something else than
            PyTorch's multi-head attention, or that with keys of its own.
    """
    calls: list[_Call] = []
    hooks = []
    for name, layer in network.named_modules():
        if isinstance(layer, GPSConv):
            _check_attention(name, layer.attn)
            hooks.append(layer.register_forward_pre_hook(_noting(calls, name), with_kwargs=True))
        elif isinstance(layer, GraphTransformerAttention):
            attend = layer.attend  # what it is called with has been mapped and checked
            hooks.append(attend.register_forward_pre_hook(_noting(calls, name), with_kwargs=True))
    with watched(network, hooks):
        network(*inputs)
    if not calls:
        raise ValueError("network must call a GPSConv or a GraphTransformerLayer, got no call")
    with torch.no_grad():
        return [LayerWeights(call.name, *_weights(call)) for call in calls]


def _noting(calls: list[_Call], name: str) -> Any:
    def note(layer: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        calls.append(_Call(name, layer, args, kwargs))

    return note


def _check_attention(name: str, attention: nn.Module) -> None:
    if type(attention) is not nn.MultiheadAttention:
        raise ValueError(
            f"{name}.attn must be torch.nn.MultiheadAttention to have weights, got"
            f" {type(attention).__name__}"
        )
    if attention.bias_k is not None or attention.add_zero_attn:
        raise ValueError(f"{name}.attn must attend to nodes alone, and not to a key of its own")


def _weights(call: _Call) -> tuple[Edges | Blocks, Tensor]:
    """The structure that a layer was called with, and its weights."""
    layer: Any = call.layer
    if isinstance(layer, EdgeAttention):
        results = layer(*call.args, **call.kwargs, return_weights=True)
        return call.args[0], results[1 + (layer.edge_output is not None)]
    given = inspect.signature(layer.forward).bind(*call.args, **call.kwargs).arguments
    blocks, attention = _blocks(given["x"], given.get("batch")), layer.attn
    projected = F.linear(given["x"], attention.in_proj_weight, attention.in_proj_bias)
    query, key, value = (
        part.unflatten(1, (attention.num_heads, -1)) for part in projected.chunk(3, dim=1)
    )
    _, weights = dot_product.attend(blocks, query=query, key=key, value=value, return_weights=True)
    return blocks, weights


def _blocks(x: Tensor, batch: Tensor | Blocks | None) -> Blocks:
    if isinstance(batch, Blocks):
        return batch
    if batch is None:
        return Blocks.from_ptr(torch.tensor([0, x.shape[0]], device=x.device))
    return Blocks.from_batch(batch)
