"""DictionaryLookup: generated graphs whose queries must attend to the key that is the same."""

import itertools
import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class DictionaryLookup:
    """Complete bipartite graphs of ``k`` query nodes, which come first, and ``k`` key nodes.

    Key node ``k + i`` has the key ``i`` and a value; query node ``i`` has the key ``i`` only, and
    must name the value of key node ``k + i``. So one graph is one permutation of the values.

    Attributes:
        edge_index: From every key node to every query node, ``(2, k * k)`` int64, sorted by query;
            the same for every graph.
        train: Values by graph and key, which are also the answers, ``(., k)`` int64.
        validation: Likewise, of other permutations.
        test: Likewise, of other permutations again.
    """

    edge_index: Tensor
    train: Tensor
    validation: Tensor
    test: Tensor


def dictionary_lookup(
    size: int = 10,
    *,
    max_graphs: int = 32_000,
    train_fraction: float = 0.7,
    validation_fraction: float = 0.1,
    seed: int = 0,
) -> DictionaryLookup:
    """Generate the graphs of one size, split by permutation.

    Args:
        size: Number ``k`` of key nodes, at least 2.
        max_graphs: All permutations are taken if they are no more than this; else so many distinct
            ones, drawn at random.
        train_fraction: Part of the graphs to train on.
        validation_fraction: Part of the graphs to choose by. The rest is for testing.
        seed: Seeds the drawing and the split.

    Returns:
        The graphs; no permutation is in two parts.

    Raises:
        ValueError: If ``size`` is under 2, or a part would be empty.

    Source: Brody, Alon and Yahav, "How Attentive are Graph Attention Networks?", ICLR 2022, section
        4.1. They train on 80 % and stop by the test graphs; here an eighth of the 80 % is kept
        apart to stop by. They test on permutations that hold a pair of key and value never seen in
        training; here on permutations never seen.
    """
    if size < 2:
        raise ValueError(f"size must be at least 2, got {size}")
    generator = torch.Generator().manual_seed(seed)
    if math.factorial(size) <= max_graphs:
        values = torch.tensor(list(itertools.permutations(range(size))))
        values = values[torch.randperm(len(values), generator=generator)]
    else:
        values = _distinct_permutations(max_graphs, size, generator)
    num_train = round(train_fraction * len(values))
    num_validation = round(validation_fraction * len(values))
    parts = (num_train, num_validation, len(values) - num_train - num_validation)
    if min(parts) < 1:
        raise ValueError(f"every part must have a graph, got {parts} of {len(values)}")
    query, key = torch.arange(size * size).div(size, rounding_mode="floor"), torch.arange(size)
    edge_index = torch.stack([size + key.repeat(size), query])
    return DictionaryLookup(edge_index, *values.split(parts))


def _distinct_permutations(count: int, size: int, generator: torch.Generator) -> Tensor:
    """Draw until there are enough; a dictionary keeps the order of the first appearance."""
    drawn: dict[tuple[int, ...], None] = {}
    while len(drawn) < count:
        order = torch.rand(count, size, generator=generator, dtype=torch.float64).argsort(dim=1)
        drawn.update(dict.fromkeys(map(tuple, order.tolist())))
    return torch.tensor(list(itertools.islice(drawn, count)))
