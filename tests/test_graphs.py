"""Graphs side by side: groups of one size, matrices of one graph, what is refused."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close
from torch_geometric.data import Batch, Data

from graphattn import graphs as module
from graphattn.graphs import Graphs

SIZES = [3, 1, 0, 3, 2, 0, 3, 5]
PTR = torch.tensor([0, *SIZES]).cumsum(0)


def drawn() -> Graphs:
    """Edges at random in each graph, in no order, some of them twice."""
    edges = [
        torch.randint(size, (2, 2 * size)) + start
        for size, start in zip(SIZES, PTR.tolist(), strict=False)
        if size
    ]
    edge_index = torch.cat(edges, 1)
    edge_index = edge_index[:, torch.randperm(edge_index.shape[1])]
    return Graphs(edge_index, PTR, torch.rand(edge_index.shape[1]))


def matrix(graphs: Graphs, number: int) -> Tensor:
    """Edge by edge."""
    start, end = graphs.ptr[number : number + 2].tolist()
    found = torch.zeros(end - start, end - start, dtype=torch.float64)
    for (source, target), weight in zip(
        graphs.edge_index.t().tolist(), graphs.edge_weight, strict=True
    ):
        if start <= source < end:
            found[source - start, target - start] += weight
    return found


@pytest.mark.parametrize("most", [1, 18, 2**20])
def test_groups_hold_every_graph_with_nodes_once(
    most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MOST_ENTRIES", most)
    graphs, seen = drawn(), []
    for group in graphs.groups():
        count, size, _ = group.shape
        assert count == 1 or count * size * size <= most
        adjacency = group.adjacency(graphs.edge_weight)
        for number, nodes, found in zip(group.graphs.tolist(), group.nodes, adjacency, strict=True):
            assert nodes.tolist() == list(range(PTR[number], PTR[number + 1]))
            assert_close(found, matrix(graphs, number))
            seen.append(number)
    assert sorted(seen) == [number for number, size in enumerate(SIZES) if size]
    assert [SIZES[number] for number in seen] == sorted(SIZES)[2:]


def test_large_graphs_are_left_out_of_groups_if_wanted() -> None:
    graphs = drawn()
    kept = [number for group in graphs.groups(2) for number in group.graphs.tolist()]
    assert sorted(kept) == [1, 4]
    assert graphs.larger_than(2) == [0, 3, 6, 7]


def test_one_graph_is_a_sparse_matrix() -> None:
    graphs = drawn()
    for number, size in enumerate(SIZES):
        if size:
            found = graphs.sparse(number, graphs.edge_weight).toarray()
            assert_close(torch.from_numpy(found), matrix(graphs, number))
        own = graphs.edges_of(number)
        assert (graphs.graph_of_node[graphs.edge_index[:, own]] == number).all()
        assert len(own) == 2 * size


def test_graphs_come_from_data_from_batches_and_from_lists() -> None:
    data = [
        Data(edge_index=torch.tensor([[0, 2], [1, 0]]), num_nodes=3),
        Data(edge_index=torch.zeros(2, 0, dtype=torch.int64), num_nodes=0),
        Data(edge_index=torch.tensor([[1], [0]]), num_nodes=2),
    ]
    batch = Batch.from_data_list(data)
    for graphs in (Graphs.from_data(batch), Graphs.from_data_list(data)):
        assert graphs.ptr.tolist() == [0, 3, 3, 5]
        assert torch.equal(graphs.edge_index, batch.edge_index)
        assert torch.equal(graphs.graph_of_node, batch.batch)
        assert graphs.edge_weight.tolist() == [1.0] * 3
    twice = Graphs.from_data_list([batch, data[0]])
    assert twice.ptr.tolist() == [0, 3, 3, 5, 8]
    assert twice.edge_index[:, -1].tolist() == [7, 5]
    assert Graphs.from_data_list([]).num_graphs == 0
    assert repr(twice) == "Graphs(4 graphs, 8 nodes, 5 edges)"


EDGES = torch.tensor([[0, 1], [1, 0]])
BAD: dict[str, tuple[tuple[Any, ...], type[Exception], str]] = {
    "edges between graphs": (
        (torch.tensor([[0, 2], [1, 1]]), torch.tensor([0, 2, 4])),
        ValueError,
        "edge 1 runs from node 2 of graph 1 to node 1 of graph 0",
    ),
    "a node that is not there": ((EDGES + 1, torch.tensor([0, 2])), IndexError, "2"),
    "borders that fall": ((EDGES, torch.tensor([0, 3, 2])), ValueError, "must rise from 0"),
    "borders of another type": ((EDGES, torch.tensor([0.0, 2.0])), TypeError, "int64"),
    "edges of another type": ((EDGES.float(), torch.tensor([0, 2])), TypeError, "edge_index"),
    "too few weights": ((EDGES, torch.tensor([0, 2]), torch.ones(1)), ValueError, "must be (2,)"),
    "weights below zero": (
        (EDGES, torch.tensor([0, 2]), torch.tensor([1.0, -1.0])),
        ValueError,
        "not negative",
    ),
    "weights that are no numbers": (
        (EDGES, torch.tensor([0, 2]), torch.tensor([1.0, torch.nan])),
        ValueError,
        "finite",
    ),
    "no weights": ((EDGES, torch.tensor([0, 2]), [1.0, 1.0]), TypeError, "real numbers"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_refused(name: str) -> None:
    arguments, error, message = BAD[name]
    with pytest.raises(error) as caught:
        Graphs(*arguments)
    assert message in str(caught.value)


def test_data_without_edges_are_refused() -> None:
    with pytest.raises(ValueError, match="must have edge_index"):
        Graphs.from_data(Data(x=torch.rand(3, 2)))


def test_edges_that_would_end_in_the_graph_beside_are_refused() -> None:
    graphs = [Data(num_nodes=2, edge_index=EDGES), Data(num_nodes=3, edge_index=EDGES + 2)]
    Graphs.from_data_list(graphs[:1])
    with pytest.raises(IndexError, match=r"graph 1 must lie in \[0, num_nodes = 3\), got an edge"):
        Graphs.from_data_list([*graphs, Data(num_nodes=9, edge_index=EDGES)])
