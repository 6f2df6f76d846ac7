"""Lists of edges in plain PyTorch: the range of their ends, and without self-loops."""

import torch
from torch import Tensor


def extent(first: Tensor, second: Tensor) -> list[int]:
    """Smallest and largest of the first ends, then of the second ones."""
    if first.shape[0] == 0:
        return [0, -1, 0, -1]
    return torch.stack([*first.aminmax(), *second.aminmax()]).tolist()


def drop_loops(first: Tensor, second: Tensor, room: int) -> tuple[Tensor, Tensor]:
    """See the operation."""
    kept = (first != second).nonzero().squeeze(1)
    ends = torch.stack([first[kept], second[kept]])
    return torch.cat([ends, ends.new_empty(2, room)], dim=1), kept
