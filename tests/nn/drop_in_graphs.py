"""Small graphs on which layers are compared, named for what is hard about them."""

from collections.abc import Callable

import torch
from torch import Tensor

Graph = tuple[int, Tensor]  # number of nodes, edge_index


def _edges(*pairs: tuple[int, int]) -> Tensor:
    return torch.tensor(pairs, dtype=torch.int64).reshape(-1, 2).t().contiguous()


def _ordinary() -> Graph:
    generator = torch.Generator().manual_seed(3)
    return 9, torch.randint(9, (2, 30), generator=generator)


def _hub(incoming: bool) -> Graph:
    hub, others = torch.zeros(70, dtype=torch.int64), torch.arange(70) % 11
    return 11, torch.stack([others, hub] if incoming else [hub, others])


GRAPHS: dict[str, Callable[[], Graph]] = {
    "ordinary": _ordinary,
    "no nodes": lambda: (0, _edges()),
    "no edges": lambda: (5, _edges()),
    "single node": lambda: (1, _edges()),
    "single node with a loop": lambda: (1, _edges((0, 0))),
    "isolated nodes": lambda: (8, _edges((1, 4), (4, 1), (1, 5), (5, 4))),
    "duplicate edges": lambda: (4, _edges((0, 1), (0, 1), (2, 1), (0, 1), (3, 2), (3, 2))),
    "self-loops given twice": lambda: (4, _edges((1, 1), (0, 1), (1, 1), (2, 2), (2, 3), (2, 2))),
    "nothing but self-loops": lambda: (3, _edges((2, 2), (0, 0))),
    "hub of targets": lambda: _hub(True),
    "hub of sources": lambda: _hub(False),
    "chain against the order of nodes": lambda: (6, _edges(*[(i + 1, i) for i in range(5)])),
}


def bipartite_edges(num_sources: int, num_targets: int, num_edges: int) -> Tensor:
    generator = torch.Generator().manual_seed(num_edges)
    sources = torch.randint(num_sources, (num_edges,), generator=generator)
    targets = torch.randint(num_targets, (num_edges,), generator=generator)
    return torch.stack([sources, targets])
