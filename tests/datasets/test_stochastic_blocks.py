"""PATTERN and CLUSTER by their recipe: sizes, chances of links, and what is told of nodes."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch_geometric.data import Data

from graphattn.datasets.graph_benchmarks import Parts
from graphattn.datasets.stochastic_blocks import generate_cluster, generate_pattern

NUM_GRAPHS = 60


@pytest.fixture(scope="module")
def clusters() -> list[Data]:
    return generate_cluster((NUM_GRAPHS, 0, 0))[0]


@pytest.fixture(scope="module")
def patterns() -> list[Data]:
    """Two graphs of each pattern, side by side."""
    return generate_pattern(NUM_GRAPHS, (2, 0, 0))[0]


def adjacency(graph: Data) -> Tensor:
    matrix = torch.zeros(len(graph.x), len(graph.x))
    matrix[graph.edge_index[0], graph.edge_index[1]] = 1
    return matrix


def share_of_links(graphs: list[Data], are_judged: Callable[[Data], Tensor]) -> float:
    """How many of the pairs of nodes that are judged, ``(N, N)``, are linked."""
    linked = pairs = 0.0
    for graph in graphs:
        judged = are_judged(graph).triu(1)
        linked += float(adjacency(graph)[judged].sum())
        pairs += int(judged.sum())
    return linked / pairs


def same(graph: Data) -> Tensor:
    return graph.y[:, None] == graph.y


@pytest.mark.parametrize("name", ["clusters", "patterns"])
def test_links_go_both_ways_and_never_to_the_node_itself(
    name: str, request: pytest.FixtureRequest
) -> None:
    for graph in request.getfixturevalue(name):
        matrix = adjacency(graph)
        assert torch.equal(matrix, matrix.t())
        assert matrix.diagonal().sum() == 0
        assert int(matrix.sum()) == graph.edge_index.shape[1]  # none twice
        assert graph.edge_index.dtype == graph.y.dtype == torch.int64


def test_clusters_have_the_published_sizes_and_chances(clusters: list[Data]) -> None:
    sizes = torch.stack([graph.y.bincount(minlength=6) for graph in clusters])
    assert sizes.shape == (NUM_GRAPHS, 6)
    assert (int(sizes.min()), int(sizes.max())) == (5, 34)
    assert float(sizes.sum(1).float().mean()) == pytest.approx(117.2, abs=8)  # the published mean
    assert share_of_links(clusters, same) == pytest.approx(0.55, abs=0.01)
    assert share_of_links(clusters, lambda graph: ~same(graph)) == pytest.approx(0.25, abs=0.01)


def test_one_node_of_each_cluster_tells_its_number(clusters: list[Data]) -> None:
    for graph in clusters:
        told = graph.x.argmax(1)
        assert bool((graph.x.sum(1) == 1).all())
        assert told.bincount(minlength=7)[1:].tolist() == [1] * 6
        assert torch.equal(graph.y[told > 0], told[told > 0] - 1)
    places = {int((graph.x.argmax(1) == 1).nonzero()) for graph in clusters}
    assert len(places) > NUM_GRAPHS // 3  # nodes are in no order


def test_patterns_have_the_published_sizes_and_chances(patterns: list[Data]) -> None:
    inside = torch.tensor([int(graph.y.sum()) for graph in patterns])
    assert 5 <= int(inside.min()) < 10 < 30 < int(inside.max()) <= 34
    sizes = torch.tensor([len(graph.x) for graph in patterns])
    assert float(sizes.float().mean()) == pytest.approx(118.9, rel=0.06)  # the published means
    num_edges = torch.tensor([graph.edge_index.shape[1] for graph in patterns])
    assert float(num_edges.float().mean()) == pytest.approx(6098.9, rel=0.1)
    between = share_of_links(patterns, lambda graph: ~same(graph))
    assert between == pytest.approx(0.5, abs=0.01)
    # Among others: 0.5 in one of five communities, 0.35 otherwise, for the expected pairs of each.
    mixed = share_of_links(patterns, lambda graph: (graph.y == 0)[:, None] & (graph.y == 0))
    community = torch.arange(5, 35).double()
    within = 5 * (community.square().mean() - community.mean())
    pairs = within + 20 * community.mean().square()
    assert mixed == pytest.approx(float(0.35 + 0.15 * within / pairs), abs=0.005)


def test_a_pattern_is_the_same_in_all_its_graphs_and_no_other(patterns: list[Data]) -> None:
    def drawn(graph: Data) -> list[tuple[int, int]]:
        """Links inside the pattern and signal of each of its nodes, in no order."""
        inside = graph.y == 1
        links = adjacency(graph)[inside][:, inside].sum(1).long().tolist()
        return sorted(zip(links, graph.x[inside].argmax(1).tolist(), strict=True))

    found = list(map(drawn, patterns))
    for first, second, next_pattern in zip(found[::2], found[1::2], found[2::2], strict=False):
        assert first == second != next_pattern


@pytest.mark.parametrize(
    "generate",
    [
        lambda seed: generate_pattern(2, (2, 1, 1), seed),
        lambda seed: generate_cluster((4, 2, 2), seed),
    ],
    ids=["pattern", "cluster"],
)
def test_the_seed_decides(generate: Callable[[int], Parts]) -> None:
    first, again, other = generate(3), generate(3), generate(4)
    assert [len(part) for part in first] == [4, 2, 2]
    for own, copy, new in zip(first, again, other, strict=True):
        for graph, same_graph, other_graph in zip(own, copy, new, strict=True):
            assert torch.equal(graph.edge_index, same_graph.edge_index)
            assert torch.equal(graph.x, same_graph.x)
            assert not torch.equal(graph.edge_index, other_graph.edge_index)


def test_bad_numbers_raise_and_none_give_empty_parts() -> None:
    assert generate_pattern(0) == generate_cluster((0, 0, 0)) == ([], [], [])
    with pytest.raises(ValueError, match="numbers of graphs must be at least 0, got"):
        generate_cluster((1, -1, 1))
    with pytest.raises(ValueError, match="numbers must be at least 0, got -1 patterns"):
        generate_pattern(-1)
