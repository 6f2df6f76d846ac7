"""Shortest paths: lengths and edges, those stored of Graphormer, those of another library."""

from pathlib import Path
from typing import Any

import networkx
import pytest
import torch
from odd_graphs import ODD, random_graph, side_by_side, undirected
from official import Arrays, load
from torch import Tensor
from torch.testing import assert_close
from torch_geometric.data import Data
from torch_geometric.utils import to_networkx

from graphattn.encodings import shortest_path_distances, shortest_path_edges
from graphattn.encodings.shortest_path import intermediate_nodes
from graphattn.graphs import Graphs

STORED = ["ring_tail", "substituted_ring", "tree", "two_components_isolated"]
UNREACHABLE = 510  # in the stored arrays


def stored(name: str, folder: Path) -> tuple[Arrays, Graphs]:
    arrays = load(folder / f"encodings/{name}.npz")
    ptr = torch.tensor([0, int(arrays["in.num_nodes"])])
    return arrays, Graphs(torch.from_numpy(arrays["in.edge_index"]), ptr)


def official_nodes(halfway: Any, first: int, last: int) -> list[int]:
    """Nodes between two, as Graphormer's code unfolds its matrix of intermediate nodes."""
    middle = int(halfway[first][last])
    if middle == -1:
        return []
    return [
        *official_nodes(halfway, first, middle),
        middle,
        *official_nodes(halfway, middle, last),
    ]


def walked(graphs: Graphs, edges: Tensor, first: int) -> list[int]:
    """The nodes that a path of edges leads to, each from where the one before ended."""
    nodes = [first]
    for edge in edges[edges >= 0].tolist():
        source, target = graphs.edge_index[:, edge].tolist()
        assert source == nodes[-1]
        nodes.append(target)
    return nodes


@pytest.mark.parametrize("name", STORED)
def test_stored_distances_and_intermediate_nodes_are_met(name: str, golden_folder: Path) -> None:
    arrays, graphs = stored(name, golden_folder)
    expected = torch.from_numpy(arrays["out.graphormer_spd"]).long()
    assert torch.equal(shortest_path_distances(graphs), expected.flatten())
    (group,) = graphs.groups()
    length, halfway = intermediate_nodes(group)
    is_reached = expected < UNREACHABLE
    assert torch.equal(length[0][is_reached].long(), expected[is_reached])
    assert (length[0][~is_reached] > len(expected)).all()
    halfway = halfway[0].long().masked_fill(~is_reached, UNREACHABLE)
    assert torch.equal(halfway, torch.from_numpy(arrays["out.graphormer_path"]).long())


@pytest.mark.parametrize("name", STORED)
def test_paths_are_those_of_the_official_code(name: str, golden_folder: Path) -> None:
    arrays, graphs = stored(name, golden_folder)
    distance, halfway = arrays["out.graphormer_spd"], arrays["out.graphormer_path"]
    size = len(distance)
    paths = shortest_path_edges(graphs, size).view(size, size, size)
    lengths = []
    for first in range(size):
        for last in range(size):
            nodes = walked(graphs, paths[first, last], first)
            if first == last or distance[first, last] == UNREACHABLE:
                assert nodes == [first]
            else:
                assert nodes == [first, *official_nodes(halfway, first, last), last]
                lengths.append(len(nodes) - 1)
    assert max(lengths) >= 3


@pytest.mark.parametrize("seed", range(4))
def test_lengths_on_directed_graphs_are_those_of_another_library(seed: int) -> None:
    data = [random_graph(size, seed, directed=True, share=0.15) for size in (14, 5, 14)]
    graphs = Graphs.from_data_list(data)
    expected = []
    for graph in data:
        lengths = dict(networkx.all_pairs_shortest_path_length(to_networkx(graph)))
        every = range(graph.num_nodes)
        expected += [min(lengths[i][j], 3) if j in lengths[i] else 9 for i in every for j in every]
    assert 9 in expected
    found = shortest_path_distances(graphs, max_distance=3, unreachable=9)
    assert found.dtype == torch.int64
    assert found.tolist() == expected


@pytest.mark.parametrize("seed", range(4))
def test_edges_lead_from_the_query_to_the_key_in_as_many_steps(seed: int) -> None:
    data = [random_graph(size, seed, directed=True, share=0.15) for size in (14, 5, 14)]
    graphs = Graphs.from_data_list(data)
    distance = shortest_path_distances(graphs, unreachable=0)
    paths = shortest_path_edges(graphs, 20)
    assert torch.equal((paths >= 0).sum(1), distance)
    ends = zip(graphs.blocks.target.tolist(), graphs.blocks.source.tolist(), strict=True)
    for pair, (query, key) in enumerate(ends):
        nodes = walked(graphs, paths[pair], query)
        assert nodes[-1] == (key if distance[pair] else query)
    assert int(distance.max()) > 4
    for length in (0, 1, 3):
        assert torch.equal(shortest_path_edges(graphs, length), paths[:, :length])


def test_of_several_edges_between_two_nodes_the_last_is_taken() -> None:
    graphs = Graphs(torch.tensor([[0, 0, 1, 0], [1, 1, 2, 0]]), torch.tensor([0, 3]))
    paths = shortest_path_edges(graphs, 2).view(3, 3, 2)
    assert paths[0].tolist() == [[-1, -1], [1, -1], [1, 2]]
    assert paths[2].tolist() == [[-1, -1]] * 3


def test_a_graph_has_the_same_alone_and_among_others() -> None:
    graphs = side_by_side()
    distances, paths = shortest_path_distances(graphs), shortest_path_edges(graphs, 4)
    start, first_edge = 0, 0
    for data in ODD.values():
        alone, end = Graphs.from_data(data), start + data.num_nodes**2
        own = shortest_path_edges(alone, 4)
        assert torch.equal(distances[start:end], shortest_path_distances(alone))
        assert torch.equal(paths[start:end], torch.where(own < 0, own, own + first_edge))
        start, first_edge = end, first_edge + data.num_edges
    assert start == len(distances) == graphs.blocks.num_edges


def test_no_graphs_have_no_pairs() -> None:
    none = Graphs(undirected(), torch.tensor([0]))
    assert shortest_path_distances(none).shape == (0,)
    assert shortest_path_edges(none, 3).shape == (0, 3)
    assert_close(shortest_path_distances(Graphs.from_data(ODD["one node"])), torch.tensor([0]))


def test_bad_input_is_refused() -> None:
    graphs = Graphs.from_data(Data(edge_index=undirected((0, 1)), num_nodes=2))
    with pytest.raises(ValueError, match="must not be negative"):
        shortest_path_distances(graphs, max_distance=-1)
    with pytest.raises(ValueError, match="must not be negative"):
        shortest_path_distances(graphs, unreachable=-1)
    with pytest.raises(ValueError, match="max_length"):
        shortest_path_edges(graphs, -1)
    for function in (shortest_path_distances, shortest_path_edges):
        with pytest.raises(TypeError, match="Graphs"):
            function(undirected((0, 1)), 3)  # type: ignore[arg-type]
