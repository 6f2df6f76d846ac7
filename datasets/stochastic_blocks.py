"""PATTERN and CLUSTER as their authors made them: graphs of communities, drawn at random."""

import torch
import torch.nn.functional as F
from torch import Tensor
from torch_geometric.data import Data

SMALLEST, LARGEST = 5, 34  # nodes of a community, and of a pattern
NUM_SIGNALS = 3


def generate_pattern(
    num_patterns: int = 100, graphs_per_pattern: tuple[int, int, int] = (100, 20, 20), seed: int = 0
) -> tuple[list[Data], list[Data], list[Data]]:
    """Draws graphs in which a pattern is to be found among communities, by the recipe of PATTERN.

    Five communities have 5 to 34 nodes each; two nodes are linked with a chance of 0.5 in one
    community, and of 0.35 otherwise. Every node has one of three signals. Another 5 to 34 nodes
    are the pattern: their links, with a chance of 0.5, and their signals are drawn once for all
    graphs of this pattern; with other nodes they are linked with a chance of 0.5.

    The defaults give 10,000, 2,000 and 2,000 graphs, as many as published, in about 1.5 GB. They
    are others than those published (`graphattn.datasets.graph_benchmarks.pattern`), of the same
    distribution: results compare as far as the draw does not matter.

    Args:
        num_patterns: Number of patterns.
        graphs_per_pattern: How many graphs of each are in the training, validation and test part.
        seed: The same seed gives the same graphs.

    Returns:
        Three parts, graphs of one pattern together: ``x`` ``(N, 3)`` float32, the signal one-hot;
        ``edge_index`` ``(2, E)`` int64, both directions; ``y`` ``(N,)`` int64, 1 in the pattern.

    Raises:
        ValueError: If a number is negative.

    Source: Dwivedi et al., "Benchmarking Graph Neural Networks", JMLR 2023; the last settings in
        the repository graphdeeplearning/benchmarking-gnns (MIT), commit c57794a. Earlier ones there
        have fewer links than the published graphs.
    """
    if num_patterns < 0 or min(graphs_per_pattern) < 0:
        raise ValueError(
            f"numbers must be at least 0, got {num_patterns} patterns, {graphs_per_pattern} graphs"
        )
    generator = torch.Generator().manual_seed(seed)
    parts: tuple[list[Data], list[Data], list[Data]] = ([], [], [])
    for _ in range(num_patterns):
        size = int(torch.randint(SMALLEST, LARGEST + 1, (), generator=generator))
        links = _links(torch.full((size, size), 0.5), generator)
        signal = torch.randint(NUM_SIGNALS, (size,), generator=generator)
        for part, count in zip(parts, graphs_per_pattern, strict=True):
            part += [_with_pattern(links, signal, generator) for _ in range(count)]
    return parts


def _with_pattern(links: Tensor, signal: Tensor, generator: torch.Generator) -> Data:
    community = _communities(5, generator)
    others = len(community)
    chance = torch.full((others + len(signal),) * 2, 0.5)
    chance[:others, :others] = torch.where(community[:, None] == community, 0.5, 0.35)
    adjacency = _links(chance, generator)
    adjacency[others:, others:] = links
    noise = torch.randint(NUM_SIGNALS, (others,), generator=generator)
    y = torch.cat([torch.zeros_like(community), torch.ones_like(signal)])
    x = F.one_hot(torch.cat([noise, signal]), NUM_SIGNALS).float()
    return _shuffled(x, adjacency, y, generator)


def generate_cluster(
    num_graphs: tuple[int, int, int] = (10_000, 1_000, 1_000), seed: int = 0
) -> tuple[list[Data], list[Data], list[Data]]:
    """Draws graphs whose communities are to be found from one known node of each, as in CLUSTER.

    Six communities have 5 to 34 nodes each; two nodes are linked with a chance of 0.55 in one
    community, and of 0.25 otherwise. One node of each community, drawn at random, tells its number.

    The defaults give as many graphs as published, in about 1 GB. They are others than those
    published (`graphattn.datasets.graph_benchmarks.cluster`), of the same distribution: results
    compare as far as the draw does not matter.

    Args:
        num_graphs: How many graphs are in the training, validation and test part.
        seed: The same seed gives the same graphs.

    Returns:
        Three parts: ``x`` ``(N, 7)`` float32, one-hot, 0 for a node that tells nothing, else its
        community counted from one; ``edge_index`` ``(2, E)`` int64, both directions; ``y``
        ``(N,)`` int64, the community, 0 to 5.

    Raises:
        ValueError: If a number is negative.

    Source: Dwivedi et al., "Benchmarking Graph Neural Networks", JMLR 2023; settings of the
        repository graphdeeplearning/benchmarking-gnns, MIT licence.
    """
    if min(num_graphs) < 0:
        raise ValueError(f"numbers of graphs must be at least 0, got {num_graphs}")
    generator = torch.Generator().manual_seed(seed)
    train, validation, test = (
        [_with_known_nodes(generator) for _ in range(count)] for count in num_graphs
    )
    return train, validation, test


def _with_known_nodes(generator: torch.Generator) -> Data:
    count = 6
    community = _communities(count, generator)
    adjacency = _links(torch.where(community[:, None] == community, 0.55, 0.25), generator)
    sizes = community.bincount(minlength=count)
    known = (torch.rand(count, generator=generator) * sizes).long() + sizes.cumsum(0) - sizes
    told = torch.zeros_like(community)
    told[known] = torch.arange(count) + 1
    return _shuffled(F.one_hot(told, count + 1).float(), adjacency, community, generator)


def _communities(count: int, generator: torch.Generator) -> Tensor:
    """The community of each node, ``(N,)``; nodes of one stand together."""
    sizes = torch.randint(SMALLEST, LARGEST + 1, (count,), generator=generator)
    return torch.arange(count).repeat_interleave(sizes)


def _links(chance: Tensor, generator: torch.Generator) -> Tensor:
    """Draws links of nodes with these chances, symmetric ``(N, N)``, none of a node with itself."""
    one_way = (torch.rand(chance.shape, generator=generator) < chance).triu(1)
    return one_way | one_way.t()


def _shuffled(x: Tensor, adjacency: Tensor, y: Tensor, generator: torch.Generator) -> Data:
    order = torch.randperm(len(y), generator=generator)
    edge_index = adjacency[order][:, order].nonzero().t().contiguous()
    return Data(x=x[order], edge_index=edge_index, y=y[order])
