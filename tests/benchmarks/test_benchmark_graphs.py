"""The graphs of the benchmarks are what they are called."""

import pytest
import torch
from torch_geometric.utils import coalesce, is_undirected

from benchmarks.cases import GROUPS, Case
from benchmarks.graphs import GRAPHS, molecules

CASES = [case for group in GROUPS.values() for case in group]


def edges_of(graph: str, num_nodes: int, num_edges: int) -> torch.Tensor:
    return GRAPHS[graph](num_nodes, num_edges, torch.Generator().manual_seed(0))


@pytest.mark.parametrize("graph", GRAPHS)
def test_indices_are_in_range_and_as_many_as_asked_for(graph: str) -> None:
    edge_index = edges_of(graph, 100, 216)
    assert edge_index.shape == (2, 216)
    assert edge_index.dtype == torch.int64
    assert 0 <= int(edge_index.min()) <= int(edge_index.max()) < 100


def test_targets_of_the_large_graph_are_as_dense_as_one_over_the_root() -> None:
    # The share of targets below a * N is the root of a.
    target = edges_of("with hubs", 1000, 100_000)[1]
    for part in (0.01, 0.25, 0.81):
        assert float((target < 1000 * part).float().mean()) == pytest.approx(part**0.5, abs=0.01)


def test_a_regular_graph_has_as_many_edges_at_every_node() -> None:
    for ends in edges_of("regular", 50, 400):
        assert ends.bincount().tolist() == [8] * 50


def test_stars_have_all_edges_at_one_node() -> None:
    source, target = edges_of("target star", 50, 400)
    assert not target.any()
    assert source.bincount().tolist() == [8] * 50
    assert torch.equal(edges_of("source star", 50, 400), torch.stack([target, source]))


def test_molecules_are_connected_both_ways_and_apart_from_one_another() -> None:
    edge_index = edges_of("molecules", 75, 162)
    assert is_undirected(coalesce(edge_index))
    assert torch.equal(edge_index[0] // 25, edge_index[1] // 25)
    label = torch.arange(75)
    for _ in range(25):  # the smallest label spreads through each molecule
        label = label.scatter_reduce(0, edge_index[1], label[edge_index[0]], "amin")
    assert label.tolist() == [0] * 25 + [25] * 25 + [50] * 25


def test_sizes_that_are_no_batch_of_molecules_are_refused() -> None:
    with pytest.raises(ValueError, match="25 nodes and 54 edges, got 75, 100"):
        molecules(75, 100, torch.Generator())


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_case_survives_json_and_gives_the_same_inputs_each_time(case: Case) -> None:
    small = Case.from_plain(case.small().plain())
    assert small == case.small()
    for first, second in zip(small.inputs(), small.inputs(), strict=True):
        assert torch.equal(first.edge_index, second.edge_index)
        assert torch.equal(first.x[0], second.x[0])
        assert first.x[0].shape == (small.num_nodes, small.in_channels)


def test_names_of_cases_are_unique() -> None:
    names = [case.name for case in CASES]
    assert len(set(names)) == len(names)
