"""The graphs that are timed on, made from a seed with torch alone."""

from collections.abc import Callable

import torch
from torch import Generator, Tensor


def with_hubs(num_nodes: int, num_edges: int, generator: Generator) -> Tensor:
    """Sources uniform; targets floor(N * u²), so that few nodes have many edges."""
    source = torch.randint(num_nodes, (num_edges,), generator=generator)
    u = torch.rand(num_edges, generator=generator, dtype=torch.float64)
    return torch.stack([source, (num_nodes * u.square()).long()])


def uniform(num_nodes: int, num_edges: int, generator: Generator) -> Tensor:
    """Sources and targets uniform."""
    return torch.randint(num_nodes, (2, num_edges), generator=generator)


def regular(num_nodes: int, num_edges: int, generator: Generator) -> Tensor:
    """As many edges into every node; as many out of every node, in random order."""
    even = torch.arange(num_edges) % num_nodes
    shuffled = even[torch.randperm(num_edges, generator=generator)]
    return torch.stack([shuffled, even])


def target_star(num_nodes: int, num_edges: int, generator: Generator) -> Tensor:
    """All edges into node 0, as many from every node."""
    source, _ = regular(num_nodes, num_edges, generator)
    return torch.stack([source, torch.zeros_like(source)])


def source_star(num_nodes: int, num_edges: int, generator: Generator) -> Tensor:
    """All edges out of node 0, as many to every node."""
    return target_star(num_nodes, num_edges, generator).flip(0)


def molecules(num_nodes: int, num_edges: int, generator: Generator) -> Tensor:
    """Disjoint small graphs like molecules: chains with branches and a few rings, both directions.

    Each has 25 nodes and 27 bonds; ``num_nodes`` and ``num_edges`` must be those of a batch.
    """
    size, bonds = 25, 27
    count = num_nodes // size
    if (num_nodes, num_edges) != (count * size, count * 2 * bonds):
        raise ValueError(f"molecules must have 25 nodes and 54 edges, got {num_nodes}, {num_edges}")
    atom = torch.arange(1, size).expand(count, -1)
    back = torch.randint(1, 4, atom.shape, generator=generator)  # to one of the last three atoms
    chain = torch.stack([atom, (atom - back).clamp_min(0)])  # (2, count, 24)
    start = torch.randint(size - 5, (count, bonds - size + 1), generator=generator)
    rings = torch.stack([start, start + 5])
    first = torch.cat([chain, rings], dim=2) + size * torch.arange(count)[:, None]
    return torch.cat([first, first.flip(0)], dim=2).flatten(1)


GRAPHS: dict[str, Callable[[int, int, Generator], Tensor]] = {
    "with hubs": with_hubs,
    "uniform": uniform,
    "regular": regular,
    "target star": target_star,
    "source star": source_star,
    "molecules": molecules,
}
