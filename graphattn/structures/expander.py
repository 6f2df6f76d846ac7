"""Edges of expander graphs: few at each node, and yet few steps between any two."""

import torch
from torch import Tensor

from graphattn.blocks import Blocks
from graphattn.encodings.laplacian import laplacian_eigenvectors
from graphattn.graphs import Graphs
from graphattn.structures.complete import complete_edges

# Graphs of no more nodes are complete, as in the official code: cycles drawn on so few collide.
_MOST_COMPLETE = 10
_MOST_DRAWS = 100
_SLACK = 0.1  # by which the gap may fall short of the best that large graphs can have


def expander_edges(ptr: Tensor, degree: int, *, generator: torch.Generator | None = None) -> Tensor:
    r"""Edges of a random regular graph on the nodes of each graph, with a large spectral gap.

    Each is the union of ``degree / 2`` random cycles through all nodes, drawn anew until the gap of
    its Laplacian ``D - A`` is nearly that of a Ramanujan graph, at most 100 times; then the draw of
    the largest gap is taken:

    .. math::
        \lambda_1 \ge d - 2 \sqrt{d - 1} - 0.1

    Args:
        ptr: Borders of the graphs, such as ``Batch.ptr``, ``(G + 1,)``, int64, rising from 0.
        degree: Number of edges into each node, and as many out of it; even. Twice the ``exp_deg``
            of the official code.
        generator: Where numbers are drawn, on the device of ``ptr``; without it, from PyTorch's
            own, which ``torch.manual_seed`` sets.

    Returns:
        ``edge_index``, ``(2, E)``, int64: every edge in both directions, without loops; where two
        cycles share an edge, it stands twice. A graph of at most 10 or ``degree`` nodes is
        complete.

    Raises:
        TypeError: If ``ptr`` is not int64.
        ValueError: If it does not rise from 0, or ``degree`` is not even and at least 2.

    Source: Shirzad et al., "Exphormer: Sparse Transformers for Graphs", ICML 2023: ``Hamiltonian``
        of the official code, whose default (random permutations) has loops that it removes, so that
        graphs are not quite regular.
    """
    if degree < 2 or degree % 2:
        raise ValueError(f"degree must be even and at least 2, got {degree}")
    sizes = Blocks.from_ptr(ptr).target_sizes
    few = max(_MOST_COMPLETE, degree)
    parts: list[Tensor | None] = [None] * len(sizes)
    best = [-1.0] * len(sizes)
    for number, size in enumerate(sizes):
        if size <= few:
            parts[number] = complete_edges(torch.tensor([0, size], device=ptr.device))
    waiting = [number for number, size in enumerate(sizes) if size > few]
    bound = degree - 2 * (degree - 1) ** 0.5 - _SLACK
    for _ in range(_MOST_DRAWS):
        if not waiting:
            break
        drawn = [_cycles(sizes[number], degree // 2, ptr.device, generator) for number in waiting]
        gaps = _gaps(drawn, [sizes[number] for number in waiting], degree)
        for number, edges, gap in zip(waiting, drawn, gaps, strict=True):
            if gap > best[number]:
                best[number], parts[number] = gap, edges
        waiting = [number for number in waiting if best[number] < bound]
    found = [ptr.new_zeros(2, 0)]
    found += [
        part + start for part, start in zip(parts, ptr.tolist(), strict=False) if part is not None
    ]
    return torch.cat(found, dim=1)


def _cycles(
    size: int, count: int, device: torch.device, generator: torch.Generator | None
) -> Tensor:
    """Both directions of as many random cycles, ``(2, 2 * count * size)``."""
    chance = torch.rand(count, size, generator=generator, device=device, dtype=torch.float64)
    node = chance.argsort(dim=1)
    after = node.roll(-1, dims=1)
    return torch.stack([torch.cat([node, after]).flatten(), torch.cat([after, node]).flatten()])


def _gaps(drawn: list[Tensor], sizes: list[int], degree: int) -> list[float]:
    """The second smallest eigenvalue of each Laplacian."""
    ptr = torch.tensor([0, *sizes], device=drawn[0].device).cumsum(0)
    starts = ptr[:-1].tolist()
    edge_index = torch.cat([edges + start for edges, start in zip(drawn, starts, strict=True)], 1)
    found = laplacian_eigenvectors(Graphs(edge_index, ptr), 1, is_undirected=True)
    return [degree * float(value) for value in found.values[:, 0]]
