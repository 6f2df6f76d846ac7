"""Encodings as transforms: in place of PyG's, on one graph, on a batch, on a whole data set."""

import pytest
import torch
from odd_graphs import ODD, random_graph
from torch.testing import assert_close
from torch_geometric import transforms
from torch_geometric.data import Batch, Data

from graphattn.blocks import Blocks
from graphattn.encodings import (
    AddLaplacianEigenvectorPE,
    AddRandomWalkPE,
    AddShortestPathDistances,
    AddShortestPathEdgeTypes,
    GraphEncoding,
    add_encodings,
    shortest_path_edges,
)
from graphattn.encodings import transforms as own
from graphattn.graphs import Graphs

ENCODINGS = [AddLaplacianEigenvectorPE(3), AddRandomWalkPE(5), AddShortestPathDistances()]


def test_random_walks_are_stored_where_pyg_stores_them() -> None:
    data = random_graph(9, 0)
    official, ours = transforms.AddRandomWalkPE(4)(data), AddRandomWalkPE(4)(data)
    assert ours.keys() == official.keys()
    assert_close(ours.random_walk_pe, official.random_walk_pe)
    assert "random_walk_pe" not in data


def test_eigenvectors_are_stored_where_pyg_stores_them() -> None:
    data = random_graph(15, 1, share=0.4)
    official = transforms.AddLaplacianEigenvectorPE(3, is_undirected=True)(data)
    ours = AddLaplacianEigenvectorPE(3)(data)
    assert ours.keys() == official.keys()
    expected, found = official.laplacian_eigenvector_pe, ours.laplacian_eigenvector_pe
    assert found.dtype == torch.float32
    assert_close(found.abs(), expected.float().abs(), atol=1e-5, rtol=0.0)


@pytest.mark.parametrize("width", [None, 0, 2])
def test_without_a_name_they_are_appended_to_the_features(width: int | None) -> None:
    data = random_graph(6, 0)
    if width is not None:
        data.x = torch.randn(6, width) if width else torch.randn(6)
    official = transforms.AddRandomWalkPE(4, attr_name=None)(data)
    assert_close(AddRandomWalkPE(4, attr_name=None)(data).x, official.x)


@pytest.mark.parametrize("dtype", [torch.int64, torch.uint8, torch.bool], ids=str)
def test_fractions_are_not_cut_off_to_fit_whole_numbers(dtype: torch.dtype) -> None:
    data = random_graph(6, 0)
    data.x = torch.ones(6, 2, dtype=dtype)
    encoding = AddRandomWalkPE(4, attr_name=None)
    message = rf"x must be floating point to have AddRandomWalkPE\(walk_length=4\).* got {dtype}"
    with pytest.raises(TypeError, match=message):
        encoding(data)
    with pytest.raises(TypeError, match=message):
        add_encodings([data], [encoding], progress=False)
    data.x = data.x.float()
    assert encoding(data).x.shape == (6, 6)


def test_weights_of_edges_are_read() -> None:
    data = random_graph(6, 0)
    weighted = data.clone()
    weighted.edge_weight = torch.full((data.num_edges,), 2.0)
    assert_close(
        AddRandomWalkPE(3)(weighted).random_walk_pe, AddRandomWalkPE(3)(data).random_walk_pe
    )
    weighted.edge_weight[data.edge_index.min(0).values == 0] = 9.0
    found = AddRandomWalkPE(3)(weighted).random_walk_pe
    assert not torch.allclose(found, AddRandomWalkPE(3)(data).random_walk_pe)
    with pytest.raises(ValueError, match="edge_weight or none"):
        Graphs.from_data_list([data, weighted])


@pytest.mark.parametrize("encoding", ENCODINGS, ids=str)
def test_a_batch_has_what_its_graphs_have(encoding: GraphEncoding) -> None:
    apart = Batch.from_data_list([encoding(data) for data in ODD.values()])
    together = encoding(Batch.from_data_list(list(ODD.values())))
    assert_close(together[encoding.attr_name], apart[encoding.attr_name], atol=1e-6, rtol=0.0)


def test_distances_of_a_batch_are_in_the_order_of_its_pairs() -> None:
    encoding = AddShortestPathDistances(unreachable=99)
    batch = Batch.from_data_list([encoding(data) for data in ODD.values()])
    blocks = Blocks.from_ptr(batch.ptr)
    assert batch.shortest_path_distance.shape == (blocks.num_edges,)
    assert torch.equal(batch.shortest_path_distance == 0, blocks.source == blocks.target)
    is_edge = torch.zeros(blocks.num_targets, blocks.num_sources, dtype=torch.bool)
    is_edge[batch.edge_index[0], batch.edge_index[1]] = True
    found = batch.shortest_path_distance == 1
    assert torch.equal(found, is_edge[blocks.target, blocks.source])


def with_types(width: int = 2) -> list[Data]:
    """The odd graphs, with one or two numbers on each edge."""
    found = [data.clone() for data in ODD.values()]
    for data in found:
        shape = (data.num_edges, width) if width > 1 else (data.num_edges,)
        data.edge_attr = torch.randint(9, shape, dtype=torch.uint8)
    return found


def test_types_along_paths_are_those_of_their_edges() -> None:
    encoding = AddShortestPathEdgeTypes(3)
    for data in with_types():
        found = encoding(data).shortest_path_edge_type
        paths = shortest_path_edges(Graphs.from_data(data), 3)
        assert found.dtype == torch.uint8
        assert (found[paths < 0] == 0).all()
        assert torch.equal(found[paths >= 0], data.edge_attr[paths[paths >= 0]] + 1)


@pytest.mark.parametrize("width", [1, 2])
def test_types_along_paths_are_the_same_however_they_are_computed(width: int) -> None:
    encoding, data = AddShortestPathEdgeTypes(4), with_types(width)
    apart = Batch.from_data_list([encoding(graph) for graph in data])
    at_once = Batch.from_data_list(add_encodings(data, [encoding], progress=False))
    together = encoding(Batch.from_data_list(data))
    pairs = Blocks.from_ptr(together.ptr).num_edges
    assert apart.shortest_path_edge_type.shape == (pairs, 4, width)
    for other in (at_once, together):
        assert torch.equal(other.shortest_path_edge_type, apart.shortest_path_edge_type)


def test_types_along_paths_need_types() -> None:
    data = random_graph(5, 0)
    for attributes in (None, torch.rand(data.num_edges, 2), torch.ones(1, dtype=torch.int64)):
        data.edge_attr = attributes
        with pytest.raises(ValueError, match="edge_attr must"):
            AddShortestPathEdgeTypes(2)(data)


def test_types_along_paths_have_room_for_one_more() -> None:
    data = Data(edge_index=torch.tensor([[0, 1], [1, 0]]), num_nodes=2)
    data.edge_attr = torch.tensor([3, 254], dtype=torch.uint8)
    found = AddShortestPathEdgeTypes(1)(data).shortest_path_edge_type
    assert found.flatten().tolist() == [0, 4, 255, 0]
    for last, dtype in ((255, torch.uint8), (-1, torch.int64), (127, torch.int8)):
        data.edge_attr = torch.tensor([3, last], dtype=dtype)
        with pytest.raises(ValueError, match=f"less than the largest {dtype}, got"):
            AddShortestPathEdgeTypes(1)(data)


def test_a_whole_data_set_keeps_its_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own, "_AT_A_TIME", 4)
    data = [graph.clone() for graph in (*ODD.values(), *ODD.values())]
    found = add_encodings(data, ENCODINGS, progress=False)
    assert len(found) == len(data)
    for graph, encoded in zip(data, found, strict=True):
        assert torch.equal(encoded.edge_index, graph.edge_index)
        for encoding in ENCODINGS:
            expected = encoding(graph)[encoding.attr_name]
            assert encoding.attr_name not in graph
            assert_close(encoded[encoding.attr_name], expected, atol=1e-6, rtol=0.0)
            stored = encoded[encoding.attr_name]
            assert stored.untyped_storage().nbytes() == stored.numel() * stored.element_size()


def test_progress_is_shown_if_wanted(capsys: pytest.CaptureFixture[str]) -> None:
    add_encodings(ODD.values(), [AddRandomWalkPE(2)])
    assert f"{len(ODD)}/{len(ODD)}" in capsys.readouterr().err
    add_encodings(ODD.values(), [AddRandomWalkPE(2)], progress=False)
    assert capsys.readouterr().err == ""
    assert add_encodings([], ENCODINGS, progress=False) == []


def test_bad_input_is_refused() -> None:
    with pytest.raises(TypeError, match="GraphEncodings"):
        add_encodings(ODD.values(), [transforms.AddRandomWalkPE(2)])
    graph, encodings = random_graph(5, 0), [AddRandomWalkPE(2)]
    batch = Batch.from_data_list([graph, graph])
    for single in (graph, batch):
        with pytest.raises(
            TypeError, match=r"data must be graphs, such as a list, got one \w*Data"
        ):
            add_encodings(single, encodings, progress=False)
    with pytest.raises(TypeError, match=r"data\[1\] must be a single graph, got \w*Batch: take it"):
        add_encodings([graph, batch], encodings, progress=False)
    with pytest.raises(ValueError, match=r"data\[0\] must have edge_index and num_nodes, got Data"):
        add_encodings([Data(), graph], encodings, progress=False)
    with pytest.raises(ValueError, match=r"data\[1\] must have edge_index and num_nodes, got \("):
        add_encodings([graph, (graph, 1)], encodings, progress=False)
    with pytest.raises(ValueError, match="edge_index"):
        AddRandomWalkPE(2)(Data(x=torch.randn(3, 2)))
    with pytest.raises(ValueError, match="both directions"):
        AddLaplacianEigenvectorPE(2)(Data(edge_index=torch.tensor([[0], [1]]), num_nodes=2))
