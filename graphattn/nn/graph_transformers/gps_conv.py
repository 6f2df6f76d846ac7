"""The GPS layer: message passing on edges beside attention inside whole graphs."""

from typing import Any

import torch
import torch_geometric.nn
from torch import Tensor, nn
from torch.nn import functional as F
from torch_geometric.nn.attention import PerformerAttention

from graphattn.blocks import Blocks
from graphattn.dynamo import unseen
from graphattn.nn.elements import check_elements, widened
from graphattn.nn.feature_dropout import FeatureDropout, drop_features
from graphattn.nn.sets.dot_product import dot_product_attention


class GPSConv(torch_geometric.nn.GPSConv):
    r"""Message passing on the edges beside attention among all nodes of a graph.

    A drop-in for ``torch_geometric.nn.GPSConv``: the same arguments, parameters and results, but
    that nothing is padded and that dropout does not take longer than the layers around it: features
    and weights are dropped with the same probability, and by other random numbers. And
    ``attn_type="performer"`` gives every graph what PyTorch Geometric gives it alone; there, the
    padding of a batch counts in the denominator, so that a graph's result depends on the largest
    graph beside it.

    .. math::
        a_i = \mathrm{Norm}\bigl(x_i + \mathrm{Conv}(x, e)_i\bigr), \quad
        b_i = \mathrm{Norm}\bigl(x_i + \mathrm{Attention}(x)_i\bigr), \quad
        x_i' = \mathrm{Norm}\bigl(a_i + b_i + \mathrm{MLP}(a_i + b_i)\bigr)

    Where the attention is a module of another kind or has hooks, which want to be called, PyTorch
    Geometric's own padded path is taken, which knows no ``conv`` that returns edges. Inside
    ``torch.compile`` the graph breaks where sets are made of a ``batch`` that is no ``Blocks`` or
    get one more key each (``add_bias_kv``, ``add_zero_attn``), for Performers, and for norms that
    count the graphs of a ``batch``.

    Args:
        channels: Width of the node features.
        conv: The message passing, such as ``graphattn.nn.GATv2Conv``, or None. One that returns
            nodes and edges, such as ``GatedGCNLayer``, is taken to have residuals of its own.
        heads: Number of heads; divides ``channels``.
        dropout: Probability with which a feature is set to zero in training, after message passing,
            after attention and inside the perceptron.
        act: Name of the activation of the perceptron.
        act_kwargs: Its arguments.
        norm: Name of the norm, or None.
        norm_kwargs: Its arguments.
        attn_type: ``"multihead"``, or ``"performer"``, whose cost is linear in the nodes.
        attn_kwargs: Arguments of ``torch.nn.MultiheadAttention``, or of PyTorch Geometric's
            ``PerformerAttention``.

    Shapes:
        - x: ``(N, channels)``
        - edge_index: whatever ``conv`` takes
        - batch: graph of each node, ``(N,)``, int64 or int32, not falling; or the ``Blocks`` made
          from it, which several layers can share; None for a single graph
        - output: ``(N, channels)``, and the edges if ``conv`` returns them; further arguments, such
          as ``edge_attr``, go to ``conv``. No nodes give no rows, and leave norms as they are.

    Raises:
        TypeError: If ``x`` is no floating-point tensor, ``batch`` of another type, or ``conv``
            returns something else.
        ValueError: If a shape does not fit, ``batch`` is not sorted, or ``attn_type`` is unknown.

    Source: Rampášek et al., "Recipe for a General, Powerful, Scalable Graph Transformer", NeurIPS
        2022, as in PyTorch Geometric 2.8; with a ``conv`` that returns edges too, as in the
        authors' code.
    """

    def __init__(
        self,
        channels: int,
        conv: nn.Module | None,
        heads: int = 1,
        dropout: float = 0.0,
        act: str = "relu",
        act_kwargs: dict[str, Any] | None = None,
        norm: str | None = "batch_norm",
        norm_kwargs: dict[str, Any] | None = None,
        attn_type: str = "multihead",
        attn_kwargs: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(
            channels,
            conv,
            heads,
            dropout,
            act,
            act_kwargs,
            norm,
            norm_kwargs,
            attn_type,
            attn_kwargs,
        )
        for place, part in enumerate(self.mlp):
            if isinstance(part, nn.Dropout):
                self.mlp[place] = FeatureDropout(part.p)

    def forward(
        self,
        x: Tensor,
        edge_index: Any,
        batch: Tensor | Blocks | None = None,
        **kwargs: Any,
    ) -> Any:
        if self._needs_padding():
            return super().forward(x, edge_index, _graph_of(batch), **kwargs)
        blocks = batch if isinstance(batch, Blocks) else _sets(x, batch)
        check_elements("x", x, blocks.num_targets, self.channels)
        graph_of = _graph_of(batch) if self.norm_with_batch else None
        parts, edge_attr = [], None
        if self.conv is not None:
            passed = self.conv(x, edge_index, **kwargs)
            if isinstance(passed, tuple):
                passed, edge_attr = _nodes_and_edges(passed)
                parts.append(self._normed(self.norm1, passed, graph_of))
            else:
                parts.append(self._finished(self.norm1, x, passed, graph_of))
        parts.append(self._finished(self.norm2, x, self._attended(x, blocks), graph_of))
        both = sum(parts)
        out = self._normed(self.norm3, both + self.mlp(both), graph_of)
        return out if edge_attr is None else (out, edge_attr)

    def _needs_padding(self) -> bool:
        kinds = (nn.MultiheadAttention, PerformerAttention)
        attention = self.attn
        forward = attention._forward_hooks or attention._forward_pre_hooks
        backward = attention._backward_hooks or attention._backward_pre_hooks
        return bool(forward or backward) or type(attention) not in kinds

    def _attended(self, x: Tensor, blocks: Blocks) -> Tensor:
        if isinstance(self.attn, PerformerAttention):
            return performer_attention(self.attn, x, blocks)
        return multihead_attention(self.attn, x, blocks)

    def _finished(
        self, norm: nn.Module | None, x: Tensor, out: Tensor, graph_of: Tensor | None
    ) -> Tensor:
        out = drop_features(out, self.dropout, self.training)
        return self._normed(norm, out + x, graph_of)

    def _normed(self, norm: nn.Module | None, x: Tensor, graph_of: Tensor | None) -> Tensor:
        if norm is None or x.shape[0] == 0:  # statistics of nothing would be NaN, and kept
            return x
        normed: Tensor = norm(x) if graph_of is None else norm(x, batch=graph_of)
        return normed


def _nodes_and_edges(passed: tuple[Any, ...]) -> tuple[Tensor, Tensor]:
    if len(passed) != 2 or not all(isinstance(part, Tensor) for part in passed):
        raise TypeError(
            "conv must return nodes, or nodes and edges, as tensors, got a tuple of"
            f" {', '.join(type(part).__name__ for part in passed)}"
        )
    return passed[0], passed[1]


def multihead_attention(attention: nn.MultiheadAttention, x: Tensor, blocks: Blocks) -> Tensor:
    """PyTorch's attention of every set over itself, without padding.

    Args:
        attention: Parameters and options of it.
        x: Elements, ``(N, channels)``.
        blocks: The sets.

    Returns:
        ``(N, channels)``.
    """
    projected: Tensor = F.linear(x, attention.in_proj_weight, attention.in_proj_bias)
    query, key, value = projected.chunk(3, dim=1)
    if attention.bias_k is not None:  # one more element for every set to attend to
        blocks, key, value = _extended(blocks, key, value, attention.bias_k, attention.bias_v)
    if attention.add_zero_attn:
        zero = key.new_zeros(1, 1, key.shape[1])
        blocks, key, value = _extended(blocks, key, value, zero, zero)
    query, key, value = (
        part.unflatten(1, (attention.num_heads, -1)) for part in (query, key, value)
    )
    dropout = attention.dropout if attention.training else 0.0
    out = dot_product_attention(blocks, query, key, value, dropout)
    mixed: Tensor = attention.out_proj(out.flatten(1))
    return mixed


def _extended(
    blocks: Blocks, key: Tensor, value: Tensor, more_key: Any, more_value: Any
) -> tuple[Blocks, Tensor, Tensor]:
    """One more key and value, ``(1, 1, channels)``, behind those of every set."""
    every = torch.arange(blocks.num_sets + 1, device=blocks.device)
    ptr = blocks.source_ptr + every
    shift = every[:-1].repeat_interleave(blocks.source_ptr.diff(), output_size=len(key))
    place, place_of_more = torch.arange(len(key), device=key.device) + shift, ptr[1:] - 1
    key, value = (
        x.new_zeros(len(x) + blocks.num_sets, x.shape[1])
        .index_copy(0, place, x)
        .index_copy(0, place_of_more, more[0].to(x.dtype).expand(blocks.num_sets, -1))
        for x, more in ((key, more_key), (value, more_value))
    )
    return Blocks.from_ptr(blocks.target_ptr, ptr), key, value


@unseen  # it goes set by set
def performer_attention(attention: PerformerAttention, x: Tensor, blocks: Blocks) -> Tensor:
    """PyTorch Geometric's linear attention of every set over itself, without padding.

    Args:
        attention: Parameters and options of it.
        x: Elements, ``(N, channels)``.
        blocks: The sets.

    Returns:
        ``(N, channels)``.
    """
    parts = [
        linear(x).unflatten(1, (attention.heads, -1)).transpose(0, 1)  # (H, N, C)
        for linear in (attention.q, attention.k, attention.v)
    ]
    sets = zip(*(part.split(blocks.target_sizes, dim=1) for part in parts), strict=True)
    # Set by set: sums of the outer products of features are (H, R, C) for each of them.
    found = [attention.fast_attn(*(part.unsqueeze(0) for part in own)).squeeze(0) for own in sets]
    out = torch.cat([parts[2][:, :0], *found], dim=1)
    mixed: Tensor = attention.dropout(attention.attn_out(out.transpose(0, 1).flatten(1)))
    return mixed


@unseen
def _sets(x: Tensor, batch: Tensor | None) -> Blocks:
    if batch is None:
        return Blocks.from_ptr(torch.tensor([0, x.shape[0]], device=x.device))
    return Blocks.from_batch(widened(batch))


def _graph_of(batch: Tensor | Blocks | None) -> Tensor | None:
    """The graph of each node."""
    if not isinstance(batch, Blocks):
        return None if batch is None else widened(batch)
    every = torch.arange(batch.num_sets, device=batch.device)
    return every.repeat_interleave(batch.target_ptr.diff(), output_size=batch.num_targets)
