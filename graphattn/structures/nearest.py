"""Edges between nodes that are near in space."""

import torch
from torch import Tensor

from graphattn.blocks import Blocks


def nearest_edges(position: Tensor, ptr: Tensor, k: int, *, self_loops: bool = False) -> Tensor:
    """Edges to every node from the nearest nodes of its graph.

    Where a graph has no more nodes than wanted, all of them are sources. Nodes equally far come in
    the order of their numbers, but which of them are among the ``k`` is the search tree's choice.

    Args:
        position: ``(N, D)``, in any unit, floating point; finite.
        ptr: Borders of the graphs, such as ``Batch.ptr``, ``(G + 1,)``, int64, rising from 0.
        k: Number of sources of each node.
        self_loops: Counts a node among its own sources.

    Returns:
        ``edge_index``, ``(2, E)``, int64: in order of the targets, from near to far.

    Raises:
        TypeError: If ``position`` is not floating point, or ``ptr`` not int64.
        ValueError: If a shape is wrong, ``ptr`` does not rise from 0, a position is not finite, or
            ``k`` is negative.

    Source: As ``torch_cluster.knn_graph``, by the trees of SciPy, graph by graph.
    """
    blocks = Blocks.from_ptr(ptr)
    if not isinstance(position, Tensor) or not position.is_floating_point():
        got = position.dtype if isinstance(position, Tensor) else type(position).__name__
        raise TypeError(f"position must be a floating-point tensor, got {got}")
    if position.ndim != 2 or position.shape[0] != blocks.num_targets or position.shape[1] == 0:
        raise ValueError(f"position must be ({blocks.num_targets}, D), got {tuple(position.shape)}")
    if k < 0:
        raise ValueError(f"k must not be negative, got {k}")
    if not bool(position.isfinite().all()):
        raise ValueError("position must be finite, got inf or nan")
    points = position.detach().cpu().double()
    found = [torch.zeros(2, 0, dtype=torch.int64)]
    for start, own in zip(ptr.tolist(), points.split(blocks.target_sizes), strict=False):
        found.append(_nearest(own, k, self_loops) + start)
    return torch.cat(found, dim=1).to(position.device)


def _nearest(points: Tensor, k: int, self_loops: bool) -> Tensor:
    """Of one graph, ``(2, E)``."""
    from scipy.spatial import cKDTree  # type: ignore[import-untyped]

    size = points.shape[0]
    wanted = min(k if self_loops else k + 1, size)
    if wanted == 0 or k == 0:
        return torch.zeros(2, 0, dtype=torch.int64)
    asked = torch.arange(1, wanted + 1).numpy()  # ranks, so that the answer always has two axes
    length, number = (
        torch.from_numpy(x) for x in cKDTree(points.numpy()).query(points.numpy(), k=asked)
    )
    if bool(length.isinf().any()):
        raise ValueError("positions must be so near that squared distances are finite numbers")
    number, every = number.long(), torch.arange(size).unsqueeze(-1)
    # Among points at one place the node itself may be anywhere, or left out: then it goes first.
    is_own = number == every
    is_own[~is_own.any(-1), -1] = True
    length, number = length.masked_fill(is_own, -1.0), torch.where(is_own, every, number)
    order = number.argsort(dim=1)
    order = order.gather(1, length.gather(1, order).argsort(dim=1, stable=True))
    number = number.gather(1, order)[:, 0 if self_loops else 1 :]
    return torch.stack([number.flatten(), every.expand_as(number).flatten()])
