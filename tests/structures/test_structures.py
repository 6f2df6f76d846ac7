"""Builders of edges: what each promises, by brute force, on graphs of every size."""

from collections.abc import Callable

import networkx
import pytest
import torch
from torch import Tensor

from graphattn.blocks import Blocks
from graphattn.structures import (
    complete_edges,
    expander,
    expander_edges,
    hop_edges,
    nearest_edges,
    random_edges,
)

SIZES = [3, 0, 1, 16, 2, 40, 11, 16, 10]
PTR = torch.tensor([0, *SIZES]).cumsum(0)
NODES = int(PTR[-1])
GRAPH = torch.arange(len(SIZES)).repeat_interleave(torch.tensor(SIZES))


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


BUILDERS: dict[str, Callable[[Tensor], Tensor]] = {
    "complete": complete_edges,
    "complete with loops": lambda ptr: complete_edges(ptr, self_loops=True),
    "expander": lambda ptr: expander_edges(ptr, 4, generator=seeded(0)),
    "random": lambda ptr: random_edges(ptr, 5, generator=seeded(0)),
    "nearest": lambda ptr: nearest_edges(positions()[: int(ptr[-1])], ptr, 4),
}


def positions() -> Tensor:
    return torch.randn(NODES, 3, generator=seeded(1))


def pairs(edge_index: Tensor) -> list[tuple[int, int]]:
    return [(source, target) for source, target in edge_index.t().tolist()]


def sources_of(edge_index: Tensor, node: int) -> list[int]:
    return edge_index[0, edge_index[1] == node].tolist()


@pytest.mark.parametrize("name", BUILDERS)
def test_edges_stay_inside_their_graphs_and_come_again(name: str) -> None:
    found = BUILDERS[name](PTR)
    assert found.dtype == torch.int64
    assert found.shape[0] == 2
    assert torch.equal(GRAPH[found[0]], GRAPH[found[1]])
    assert torch.equal(found, BUILDERS[name](PTR))
    if "loops" not in name:
        assert (found[0] != found[1]).all()


@pytest.mark.parametrize("name", BUILDERS)
def test_few_nodes_are_taken_as_they_are(name: str) -> None:
    build, loops = BUILDERS[name], "loops" in name
    assert build(torch.tensor([0])).shape == (2, 0)
    assert build(torch.tensor([0, 0, 0])).shape == (2, 0)
    assert pairs(build(torch.tensor([0, 1]))) == ([(0, 0)] if loops else [])
    two = {(0, 1), (1, 0)} | ({(0, 0), (1, 1)} if loops else set())
    assert set(pairs(build(torch.tensor([0, 2])))) == two


@pytest.mark.parametrize("name", BUILDERS)
def test_borders_are_checked(name: str) -> None:
    with pytest.raises(ValueError, match="must rise from 0"):
        BUILDERS[name](torch.tensor([0, 3, 2]))
    with pytest.raises(TypeError, match="int64"):
        BUILDERS[name](torch.tensor([0.0, 2.0]))


def test_complete_graphs_have_all_pairs_in_order() -> None:
    blocks = Blocks.from_ptr(PTR)
    with_loops = complete_edges(PTR, self_loops=True)
    assert torch.equal(with_loops, torch.stack([blocks.source, blocks.target]))
    expected = [
        (source, target)
        for start, size in zip(PTR.tolist(), SIZES, strict=False)
        for target in range(start, start + size)
        for source in range(start, start + size)
    ]
    assert pairs(with_loops) == expected
    assert pairs(complete_edges(PTR)) == [(i, j) for i, j in expected if i != j]


@pytest.mark.parametrize("degree", [2, 4, 6])
def test_expanders_are_regular_with_a_large_gap(degree: int) -> None:
    found = expander_edges(PTR, degree, generator=seeded(3))
    for start, size in zip(PTR.tolist(), SIZES, strict=False):
        is_own = (found[0] >= start) & (found[0] < start + size)
        own = found[:, is_own] - start
        if size <= 10:
            assert set(pairs(own)) == {(i, j) for i in range(size) for j in range(size) if i != j}
            continue
        assert sorted(pairs(own)) == sorted(pairs(own.flip(0)))
        assert own[1].bincount().tolist() == [degree] * size
        gap = gap_of(own, size, degree)
        assert gap >= degree - 2 * (degree - 1) ** 0.5 - 0.1 - 1e-5
        assert gap > 1e-3  # connected


def gap_of(edge_index: Tensor, size: int, degree: int) -> float:
    identity = torch.eye(size, dtype=torch.float64)
    ones = identity.new_ones(edge_index.shape[1])
    adjacency = torch.zeros_like(identity).index_put_(tuple(edge_index), ones, accumulate=True)
    return float(torch.linalg.eigvalsh(degree * identity - adjacency)[1])


def test_expanders_are_drawn_again_until_the_gap_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    # What is asked of the gap is easy to meet; with more asked, draws fail.
    monkeypatch.setattr(expander, "_SLACK", -0.05)
    bound, ptr = 4 - 2 * 3**0.5 + 0.05, torch.tensor([0, 60])

    def smallest() -> float:
        drawn = [expander_edges(ptr, 4, generator=seeded(seed)) for seed in range(20)]
        return min(gap_of(edges, 60, 4) for edges in drawn)

    assert smallest() >= bound - 1e-4
    monkeypatch.setattr(expander, "_MOST_DRAWS", 1)
    assert smallest() < bound - 1e-2


def test_the_best_expander_is_kept_if_none_is_good(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(expander, "_SLACK", -3.0)  # no graph has a gap that large
    ptr, generator = torch.tensor([0, 30]), seeded(0)
    monkeypatch.setattr(expander, "_MOST_DRAWS", 1)
    gaps = [gap_of(expander_edges(ptr, 4, generator=generator), 30, 4) for _ in range(6)]
    monkeypatch.setattr(expander, "_MOST_DRAWS", 6)
    found = gap_of(expander_edges(ptr, 4, generator=seeded(0)), 30, 4)
    assert found == max(gaps) > gaps[0]


def test_expanders_of_a_large_graph() -> None:
    found = expander_edges(torch.tensor([0, 700]), 6, generator=seeded(0))
    assert torch.equal(found[1].bincount(minlength=700), torch.full((700,), 6))
    graph = networkx.Graph(found.t().tolist())
    assert networkx.diameter(graph) <= 8


@pytest.mark.parametrize("count", [0, 1, 5, 15, 100])
def test_random_sources_are_distinct_and_as_many_as_there_can_be(count: int) -> None:
    found = random_edges(PTR, count, generator=seeded(2))
    assert (found[1].diff() >= 0).all()
    for start, size in zip(PTR.tolist(), SIZES, strict=False):
        for node in range(start, start + size):
            sources = sources_of(found, node)
            assert len(sources) == len(set(sources)) == min(count, size - 1)


def test_random_sources_are_drawn_evenly() -> None:
    ptr = torch.arange(401) * 6
    found = random_edges(ptr, 2, generator=seeded(0)) % 6
    counts = torch.zeros(6, 6).index_put_(tuple(found), torch.ones(4800), accumulate=True)
    assert (counts.diagonal() == 0).all()
    others = counts[~torch.eye(6, dtype=torch.bool)]
    assert others.min() > 110  # of 160 on average, with a deviation of 10
    assert others.max() < 210
    first, second = found[0].view(-1, 2).sort(dim=1).values.t()
    together = torch.zeros(6, 6).index_put_((first, second), torch.ones(2400), accumulate=True)
    sets = together[tuple(torch.triu_indices(6, 6, 1))]
    assert sets.min() > 110  # each set of two as often as any other
    assert sets.max() < 210


def test_chance_comes_from_the_generator_or_from_pytorch() -> None:
    for build in (random_edges, expander_edges):
        torch.manual_seed(5)
        first = build(PTR, 4)
        assert not torch.equal(first, build(PTR, 4))
        torch.manual_seed(5)
        assert torch.equal(first, build(PTR, 4))
        assert not torch.equal(build(PTR, 4, generator=seeded(0)), first)


@pytest.mark.parametrize("self_loops", [False, True])
@pytest.mark.parametrize("k", [0, 1, 4, 50])
def test_nearest_nodes_are_those_of_all_distances(k: int, self_loops: bool) -> None:
    position = positions()
    found = nearest_edges(position, PTR, k, self_loops=self_loops)
    assert (found[1].diff() >= 0).all()
    distance = torch.cdist(position.double(), position.double())
    distance[GRAPH.unsqueeze(-1) != GRAPH] = torch.inf
    distance.diagonal().fill_(-1.0 if self_loops else torch.inf)
    for node in range(NODES):
        order = distance[node].argsort()
        expected = order[distance[node][order].isfinite()][:k]
        assert sources_of(found, node) == expected.tolist()


def test_nearest_nodes_of_points_at_one_place() -> None:
    position = torch.zeros(9, 2)
    position[7:] = 1.0
    ptr = torch.tensor([0, 7, 9])
    found = nearest_edges(position, ptr, 3)
    for node in range(9):
        sources = sources_of(found, node)
        assert node not in sources
        assert len(set(sources)) == len(sources) == (3 if node < 7 else 1)
        assert sources == sorted(sources)  # equally far, hence by number
    loops = nearest_edges(position, ptr, 1, self_loops=True)
    assert torch.equal(loops, torch.arange(9).repeat(2, 1))


@pytest.mark.parametrize("num_hops", [0, 1, 2, 4])
def test_hops_are_distances(num_hops: int) -> None:
    graph = networkx.gnp_random_graph(30, 0.05, seed=4, directed=True)
    edge_index = torch.tensor([*graph.edges, (3, 3), *list(graph.edges)[:2]]).t()
    expected = []
    for target in range(30):
        lengths = networkx.single_target_shortest_path_length(graph, target)
        near = [node for node, length in dict(lengths).items() if 1 <= length <= num_hops]
        expected += [(source, target) for source in sorted(near)]
    assert pairs(hop_edges(edge_index, 30, num_hops)) == expected


def test_hops_stay_in_their_components() -> None:
    path = torch.tensor([[0, 1, 1, 2, 4, 5], [1, 0, 2, 1, 5, 4]])  # node 3 has no edges
    found = hop_edges(path, 6, 5)
    expected = {(i, j) for i in range(3) for j in range(3) if i != j} | {(4, 5), (5, 4)}
    assert set(pairs(found)) == expected
    assert found.shape[1] == len(expected)
    assert hop_edges(torch.zeros(2, 0, dtype=torch.int64), 0, 2).shape == (2, 0)


def test_bad_input_is_refused() -> None:
    edge_index = torch.tensor([[0, 1], [1, 5]])
    with pytest.raises(IndexError, match="5"):
        hop_edges(edge_index, 4, 2)
    with pytest.raises(ValueError, match="num_hops"):
        hop_edges(edge_index, 6, -1)
    with pytest.raises(ValueError, match="num_sources"):
        random_edges(PTR, -1)
    for degree in (0, 3, -2):
        with pytest.raises(ValueError, match="degree must be even"):
            expander_edges(PTR, degree)
    with pytest.raises(ValueError, match="k must not"):
        nearest_edges(positions(), PTR, -1)
    with pytest.raises(ValueError, match="position must be"):
        nearest_edges(positions()[1:], PTR, 1)
    with pytest.raises(ValueError, match="finite"):
        nearest_edges(positions().fill_(torch.nan), PTR, 1)
    with pytest.raises(TypeError, match="floating-point"):
        nearest_edges(torch.ones(NODES, 3, dtype=torch.int64), PTR, 1)
