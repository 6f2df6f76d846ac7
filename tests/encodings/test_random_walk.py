"""Random walks: powers of the matrix of steps, the stored ones of PyG, and their walks by edges."""

from pathlib import Path

import pytest
import torch
from odd_graphs import ODD, random_graph, side_by_side, undirected
from official import load
from torch import Tensor
from torch.testing import assert_close
from torch_geometric.data import Data
from torch_geometric.transforms import AddRandomWalkPE

from graphattn.encodings import (
    random_walk,
    random_walk_probabilities,
    relative_random_walk_probabilities,
)
from graphattn.graphs import Graphs


def powers(data: Data, count: int) -> list[Tensor]:
    """Of the matrix of steps, from the zeroth on, in the fewest words."""
    step = torch.zeros(data.num_nodes, data.num_nodes, dtype=torch.float64)
    for source, target in data.edge_index.t().tolist():
        step[source, target] += 1 / int((data.edge_index[0] == source).sum())
    return [torch.linalg.matrix_power(step, power) for power in range(count)]


@pytest.mark.parametrize(
    "name", ["ring_tail", "substituted_ring", "tree", "two_components_isolated"]
)
def test_stored_probabilities_are_met(name: str, golden_folder: Path) -> None:
    stored = load(golden_folder / f"encodings/{name}.npz")
    ptr = torch.tensor([0, int(stored["in.num_nodes"])])
    expected = torch.from_numpy(stored["out.rwse"]).float()
    graphs = Graphs(torch.from_numpy(stored["in.edge_index"]), ptr)
    found = random_walk_probabilities(graphs, expected.shape[1])
    assert_close(found, expected, atol=1e-6, rtol=0.0)


@pytest.mark.parametrize("name", ODD)
@pytest.mark.parametrize("length", [1, 2, 7])
def test_they_are_those_of_pyg(name: str, length: int) -> None:
    expected = AddRandomWalkPE(length)(ODD[name]).random_walk_pe
    found = random_walk_probabilities(Graphs.from_data(ODD[name]), length)
    assert_close(found, expected, atol=1e-6, rtol=0.0)


@pytest.mark.parametrize("length", [1, 4, 5])
@pytest.mark.parametrize("largest", [0, 256], ids=["along edges", "dense"])
def test_they_are_diagonals_of_powers_on_directed_graphs(
    largest: int, length: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(random_walk, "_MOST_DENSE", largest)
    monkeypatch.setattr(random_walk, "_MOST_WALKS", 5)
    data = random_graph(13, 3, directed=True)
    again = torch.tensor([[1, 2], [2, 2]])  # a second edge between two nodes, and a loop
    data.edge_index = torch.cat([data.edge_index, data.edge_index[:, :1], again], 1)
    expected = torch.stack([power.diagonal() for power in powers(data, length + 1)[1:]], 1)
    found = random_walk_probabilities(Graphs.from_data(data), length)
    assert_close(found.double(), expected, atol=1e-6, rtol=0.0)


@pytest.mark.parametrize("largest", [4, 256], ids=["partly along edges", "dense"])
def test_a_graph_has_the_same_alone_and_among_others(
    largest: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = [random_walk_probabilities(Graphs.from_data(data), 6) for data in ODD.values()]
    monkeypatch.setattr(random_walk, "_MOST_DENSE", largest)
    found = random_walk_probabilities(side_by_side(), 6)
    assert_close(found, torch.cat(alone), atol=1e-6, rtol=0.0)


def test_walks_leave_in_proportion_to_the_weights() -> None:
    graphs = Graphs(
        torch.tensor([[0, 0, 1, 2], [1, 2, 0, 0]]),
        torch.tensor([0, 3]),
        torch.tensor([3.0, 1.0, 5.0, 7.0]),
    )
    found = random_walk_probabilities(graphs, 2)
    assert_close(found, torch.tensor([[0.0, 1.0], [0.0, 0.75], [0.0, 0.25]]))


def test_relative_probabilities_are_powers_in_the_order_of_pairs() -> None:
    data = [random_graph(size, seed, directed=True) for seed, size in enumerate((7, 3, 7))]
    graphs = Graphs.from_data_list(data)
    found = relative_random_walk_probabilities(graphs, 4)
    assert found.shape == (graphs.blocks.num_edges, 4)
    expected = [torch.stack(powers(graph, 4), -1).flatten(0, 1) for graph in data]
    assert_close(found.double(), torch.cat(expected), atol=1e-6, rtol=0.0)
    own = graphs.blocks.source == graphs.blocks.target
    returns = random_walk_probabilities(graphs, 3)
    assert_close(found[own, 1:], returns, atol=1e-6, rtol=0.0)


def test_relative_probabilities_on_odd_graphs() -> None:
    graphs = side_by_side()
    found = relative_random_walk_probabilities(graphs, 3)
    total = torch.zeros(graphs.num_nodes, 3).index_add_(0, graphs.blocks.target, found)
    degree = torch.zeros(graphs.num_nodes).index_add_(
        0, graphs.edge_index[0], torch.ones(graphs.edge_index.shape[1])
    )
    expected = (degree > 0).float().unsqueeze(-1).repeat(1, 3)
    expected[:, 0] = 1.0  # before the first step, a walk is where it begins
    assert_close(total, expected)


def test_bad_input_is_refused() -> None:
    graphs = Graphs(undirected((0, 1)), torch.tensor([0, 2]))
    for function in (random_walk_probabilities, relative_random_walk_probabilities):
        with pytest.raises(ValueError, match="walk_length must be"):
            function(graphs, 0)
        with pytest.raises(TypeError, match="Graphs"):
            function(undirected((0, 1)), 3)  # type: ignore[arg-type]
