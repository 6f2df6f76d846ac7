"""Edges between nodes drawn at random."""

import torch
from torch import Tensor

from graphattn.blocks import Blocks


def random_edges(
    ptr: Tensor, num_sources: int, *, generator: torch.Generator | None = None
) -> Tensor:
    """Edges to every node from as many nodes of its graph, drawn at random.

    Sources are drawn evenly, without repetition, and never the node itself. Where a graph has no
    more nodes than wanted, all others are sources.

    Args:
        ptr: Borders of the graphs, such as ``Batch.ptr``, ``(G + 1,)``, int64, rising from 0.
        num_sources: Number of sources of each node.
        generator: Where numbers are drawn, on the device of ``ptr``; without it, from PyTorch's
            own, which ``torch.manual_seed`` sets.

    Returns:
        ``edge_index``, ``(2, E)``, int64, in order of the targets.

    Raises:
        TypeError: If ``ptr`` is not int64.
        ValueError: If it does not rise from 0, or ``num_sources`` is negative.

    Source: The random part of BigBird, Zaheer et al., NeurIPS 2020, on graphs in place of blocks of
        a sequence. Drawn by Floyd's algorithm, Communications of the ACM 1987.
    """
    if num_sources < 0:
        raise ValueError(f"num_sources must not be negative, got {num_sources}")
    blocks = Blocks.from_ptr(ptr)
    sizes = ptr.diff()
    graph = torch.arange(blocks.num_sets, device=ptr.device)
    graph = graph.repeat_interleave(sizes, output_size=blocks.num_targets)  # (N,)
    node = torch.arange(blocks.num_targets, device=ptr.device)
    others = sizes[graph] - 1
    wanted = others.clamp(max=num_sources)
    # One of the others, counted from the first of the graph without the node; -1 if not drawn.
    drawn = torch.full((blocks.num_targets, num_sources), -1, device=ptr.device)
    for step in range(num_sources):
        limit = others - wanted + step  # the largest number that may be drawn now
        chance = torch.rand(
            limit.shape, generator=generator, device=ptr.device, dtype=torch.float64
        )
        number = (chance * (limit + 1)).long().minimum(limit)
        is_taken = (drawn == number.unsqueeze(-1)).any(-1)
        number = torch.where(is_taken, limit, number)  # which no earlier step could draw
        drawn[:, step] = number.masked_fill(step >= wanted, -1)
    start = ptr[graph].unsqueeze(-1)
    source = start + drawn + (drawn >= node.unsqueeze(-1) - start).long()
    is_edge = drawn >= 0
    return torch.stack([source[is_edge], node.unsqueeze(-1).expand_as(drawn)[is_edge]])
