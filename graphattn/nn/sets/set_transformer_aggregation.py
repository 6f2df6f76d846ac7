"""The Set Transformer as an aggregation, on the elements as they are and not on padded batches."""

import torch_geometric.nn.aggr as pyg
from torch import Tensor, nn

from graphattn.blocks import Blocks
from graphattn.nn.elements import check_elements, check_rows, widened
from graphattn.nn.sets.set_attention import PoolingByMultiheadAttention, SetAttentionBlock


class SetTransformerAggregation(pyg.SetTransformerAggregation):
    """Set attention, pooling by seeds, set attention among the seeds: a drop-in.

    PyTorch Geometric's pads every set to the size of the largest; this one pads nothing.

    Args:
        channels: Width of the elements.
        num_seed_points: Number of seeds.
        num_encoder_blocks: Number of blocks before pooling.
        num_decoder_blocks: Number of blocks after it.
        heads: Number of heads; divides ``channels``.
        concat: Whether the seeds of a set are put one after another; their mean otherwise.
        layer_norm: Whether layers are normalized.
        dropout: Probability with which an attention weight is set to zero in training.

    Shapes:
        - x: ``(N, channels)``
        - index: set of each element, ``(N,)``, int64 or int32, not falling; or ``ptr``,
          ``(S + 1,)``, int64
        - output: ``(S, num_seed_points * channels)``, or ``(S, channels)`` without ``concat``

    Raises:
        TypeError: If ``x`` is no floating-point tensor, or ``index`` or ``ptr`` of another type.
        ValueError: If ``index`` falls, or a shape does not fit.

    Source: Buterez et al., "Graph Neural Networks with Adaptive Readouts", NeurIPS 2022; as in
        PyTorch Geometric 2.8, except for empty sets, which give what the seeds give without
        attention, not zeros.
    """

    def __init__(
        self,
        channels: int,
        num_seed_points: int = 1,
        num_encoder_blocks: int = 1,
        num_decoder_blocks: int = 1,
        heads: int = 1,
        concat: bool = True,
        layer_norm: bool = False,
        dropout: float = 0.0,
    ) -> None:
        pyg.Aggregation.__init__(self)  # the original's would draw parameters for blocks of its own
        self.channels, self.num_seed_points, self.concat = channels, num_seed_points, concat
        self.heads, self.layer_norm, self.dropout = options = heads, layer_norm, dropout
        self.encoders = nn.ModuleList(
            SetAttentionBlock(channels, *options) for _ in range(num_encoder_blocks)
        )
        self.pma = PoolingByMultiheadAttention(channels, num_seed_points, *options)
        self.decoders = nn.ModuleList(
            SetAttentionBlock(channels, *options) for _ in range(num_decoder_blocks)
        )

    def forward(
        self,
        x: Tensor,
        index: Tensor | None = None,
        ptr: Tensor | None = None,
        dim_size: int | None = None,
        dim: int = -2,
        max_num_elements: int | None = None,
    ) -> Tensor:
        """Aggregates; see the class for shapes."""
        if x.ndim != 2 or dim not in (-2, 0):
            raise ValueError(f"x must be (N, channels) with dim=-2, got {tuple(x.shape)}, {dim}")
        check_elements("x", x, x.shape[0], self.channels)
        blocks = _blocks(x, index, ptr, dim_size)
        for encoder in self.encoders:
            x = encoder(x, blocks=blocks)
        pooled: Tensor = self.pma(x, blocks=blocks)  # (S, num_seed_points, channels)
        seeds = blocks.seeds(pooled.shape[1]).among_targets()
        rows = pooled.flatten(0, 1)
        for decoder in self.decoders:
            rows = decoder(rows, blocks=seeds)
        pooled = rows.view_as(pooled)
        return pooled.flatten(1, 2) if self.concat else pooled.mean(dim=1)


def _blocks(x: Tensor, index: Tensor | None, ptr: Tensor | None, num_sets: int | None) -> Blocks:
    if ptr is not None:
        blocks = Blocks.from_ptr(ptr)
        if blocks.num_targets != x.shape[0]:
            raise ValueError(
                f"ptr must end at the {x.shape[0]} rows of x, got {blocks.num_targets}"
            )
        return blocks
    if index is None:
        return Blocks.from_batch(x.new_zeros(x.shape[0]).long(), num_sets=num_sets or 1)
    index = widened(index)
    check_rows("index", index, x.shape[0])
    return Blocks.from_batch(index, num_sets=num_sets)
