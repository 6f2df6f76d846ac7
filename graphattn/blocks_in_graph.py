"""Blocks in graphs of operators: what an operator needs to know of them."""

from collections.abc import Sequence

import torch
from torch import Tensor

from graphattn.blocks import Blocks
from graphattn.dropout import drawn_mask
from graphattn.structure_memory import structure_of

BLOCKS = "blocks"  # the kind of such a structure, beside those of edge lists


def arguments_of(blocks: Blocks) -> tuple[list[Tensor], list[int], str]:
    """What operators take: borders, numbers of keys, queries and pairs, and the kind."""
    sizes = [blocks.num_sources, blocks.num_targets, blocks.num_edges]
    return [blocks.target_ptr, blocks.source_ptr], sizes, BLOCKS


def blocks_of(borders: Sequence[Tensor], sizes: Sequence[int]) -> Blocks:
    """The structure that has these ``arguments_of``; the same object as long as those stay.

    Raises:
        TypeError, ValueError: If the borders are none, or the sizes are not theirs.
    """
    blocks: Blocks = structure_of(borders, None, lambda: Blocks(*borders))
    found = [blocks.num_sources, blocks.num_targets, blocks.num_edges]
    if list(sizes) != found:
        raise ValueError(
            f"sizes must be the numbers of keys, queries and pairs of ends, {found}, got"
            f" {list(sizes)}"
        )
    return blocks


@torch.library.custom_op("graphattn::drawn_mask", mutates_args=())
def mask_of_draw(draw: Tensor, num_pairs: int, num_heads: int) -> Tensor:
    """See ``dropout.drawn_mask``, inside a graph; ``(P, H)``, uint8."""
    return drawn_mask(draw, (num_pairs, num_heads))


@mask_of_draw.register_fake
def _(draw: Tensor, num_pairs: int, num_heads: int) -> Tensor:
    return draw.new_empty((num_pairs, num_heads), dtype=torch.uint8)
