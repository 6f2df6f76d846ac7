"""DictionaryLookup: every graph a permutation, no permutation in two parts."""

import math

import pytest
import torch

from graphattn.datasets.dictionary_lookup import dictionary_lookup


@pytest.mark.parametrize(("size", "count"), [(3, 6), (5, 120), (9, 500), (30, 500)])
def test_every_graph_is_a_permutation_and_in_one_part(size: int, count: int) -> None:
    data = dictionary_lookup(size, max_graphs=500)
    values = torch.cat([data.train, data.validation, data.test])
    assert len(values) == count == min(math.factorial(size), 500)
    assert torch.equal(values.sort(dim=1).values, torch.arange(size).expand(count, size))
    assert len(values.unique(dim=0)) == count
    sizes = [len(data.train), len(data.validation), len(data.test)]
    assert sizes == [round(0.7 * count), round(0.1 * count), count - sum(sizes[:2])]


def test_every_query_sees_every_key_once() -> None:
    edge_index = dictionary_lookup(4).edge_index
    assert sorted(edge_index.t().tolist()) == [[k, q] for k in range(4, 8) for q in range(4)]
    assert edge_index[1].diff().min() >= 0


def test_a_seed_fixes_graphs_and_split_and_another_seed_changes_them() -> None:
    first, second, other = (dictionary_lookup(8, max_graphs=100, seed=s) for s in (1, 1, 2))
    assert torch.equal(first.train, second.train)
    assert torch.equal(first.test, second.test)
    assert not torch.equal(first.test, other.test)


def test_values_are_spread_evenly_over_keys() -> None:
    test = dictionary_lookup(10).test
    assert test.shape == (6400, 10)
    counts = torch.stack([column.bincount(minlength=10) for column in test.t()])
    assert (counts - 640).abs().max() < 5 * math.sqrt(640)


def test_bad_sizes_are_named() -> None:
    with pytest.raises(ValueError, match="size must be at least 2, got 1"):
        dictionary_lookup(1)
    with pytest.raises(ValueError, match=r"every part must have a graph, got \(1, 0, 1\) of 2"):
        dictionary_lookup(2)
