"""Attention over a fixed number of mixtures of keys, by the place of each key in its set."""

import torch
from torch import Tensor, nn

from graphattn.blocks import Blocks
from graphattn.nn.linear.linear_attention import LinearSetAttention, check_width
from graphattn.nn.linear.set_products import SetTiles


class LinformerAttention(LinearSetAttention):
    r"""Softmax attention over learned mixtures of keys and values, as many for every set.

    .. math::
        \mathrm{out}_i = \textstyle\sum_l \operatorname{softmax}_l\bigl(q_i \cdot \tilde k_l
        / \sqrt{C}\bigr)\, \tilde v_l, \qquad
        \tilde k_l = \textstyle\sum_j E_{l j} k_j, \quad \tilde v_l = \textstyle\sum_j E_{l j} v_j

    The mixtures go by the place of a key in its set: this is for sets that have an order, such as
    atoms along a chain. In another order the output is another.

    Args:
        heads: Number of heads.
        count: Number of mixtures.
        max_size: Keys of a set at most.

    Shapes: see ``LinearSetAttention``.

    Raises:
        ValueError: In ``forward``, if a set has more keys than ``max_size``.

    Source: Wang et al., "Linformer: Self-Attention with Linear Complexity", 2020, with one mixture
        for keys and values, ``E``, ``(heads, count, max_size)``.
    """

    def __init__(self, heads: int, count: int, max_size: int) -> None:
        super().__init__()
        self.E = nn.Parameter(torch.empty(heads, count, max_size))
        nn.init.normal_(self.E, std=0.02)  # as in Nyströmformer's code for it

    def attend(self, query: Tensor, key: Tensor, value: Tensor, blocks: Blocks) -> Tensor:
        check_width("query", query, heads=self.E.shape[0])
        most, max_size = blocks.most_sources, self.E.shape[2]
        if most > max_size:
            raise ValueError(f"a set must have at most {max_size} keys, got {most}")
        sizes = blocks.source_ptr.diff()
        first = blocks.source_ptr[:-1].repeat_interleave(sizes, output_size=blocks.num_sources)
        place = torch.arange(blocks.num_sources, device=first.device) - first
        share = self.E.to(key.dtype).permute(2, 0, 1).index_select(0, place)  # (M, H, L)
        keys, queries = SetTiles(blocks.transposed()), SetTiles(blocks)
        mixed = keys.outer_sums(share, torch.cat([key, value], dim=-1))  # (S, H, L, C + D)
        mixed_key, mixed_value = mixed.split([key.shape[2], value.shape[2]], dim=-1)
        logits = queries.products(query, mixed_key.mT) / query.shape[-1] ** 0.5
        return queries.products(logits.softmax(dim=-1), mixed_value)

    def extra_repr(self) -> str:
        heads, count, max_size = self.E.shape
        return f"heads={heads}, count={count}, max_size={max_size}"
