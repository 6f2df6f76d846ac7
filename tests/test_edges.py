"""Edges: what they hold, how they are sorted, what they refuse, and self-loops as PyG has them."""

import copy
import pickle

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close
from torch_geometric import EdgeIndex
from torch_geometric.data import Batch, Data, HeteroData
from torch_geometric.utils import add_self_loops, remove_self_loops

from graphattn.edges import Edges
from graphattn.kernels.edge_attention.rows import Rows

NUM_SOURCES, NUM_TARGETS = 7, 5


def random_edges(num_edges: int = 40) -> Tensor:
    return torch.stack(
        [torch.randint(NUM_SOURCES, (num_edges,)), torch.randint(NUM_TARGETS, (num_edges,))]
    )


def check_sorted(
    rows: Rows, key: Tensor, other: Tensor, num_keys: int, *, by_other: bool = False
) -> None:
    assert rows.ptr.dtype == torch.int64
    assert rows.neighbor.dtype == rows.order.dtype == torch.int32
    assert rows.ptr.shape == (num_keys + 1,)
    assert (int(rows.ptr[0]), int(rows.ptr[-1])) == (0, key.shape[0])
    for node in range(num_keys):
        own = rows.order[rows.ptr[node] : rows.ptr[node + 1]].long()
        # All edges of the node, in the order in which they were given, or by their other ends.
        given = (key == node).nonzero().squeeze(1)
        if by_other:
            given = given[other[given].argsort(stable=True)]
        assert own.tolist() == given.tolist()
        assert rows.neighbor[rows.ptr[node] : rows.ptr[node + 1]].tolist() == other[own].tolist()


@pytest.mark.parametrize("num_edges", [0, 1, 40])
@pytest.mark.parametrize("flow", ["source_to_target", "target_to_source"])
def test_edges_are_sorted_by_either_end_and_stay_in_order(flow: str, num_edges: int) -> None:
    edge_index = random_edges(num_edges)
    given = edge_index if flow == "source_to_target" else edge_index.flip(0)
    edges = Edges.from_edge_index(given, NUM_SOURCES, NUM_TARGETS, flow=flow)
    assert torch.equal(edges.source, edge_index[0])
    assert torch.equal(edges.target, edge_index[1])
    assert torch.equal(edges.edge_index, given)
    check_sorted(edges.by_target, edges.target, edges.source, NUM_TARGETS)
    check_sorted(edges.by_source, edges.source, edges.target, NUM_SOURCES, by_other=True)


def test_a_hub_and_duplicate_edges_are_sorted() -> None:
    edge_index = torch.tensor([[3, 3, 0, 1, 3], [2, 2, 2, 2, 0]])
    edges = Edges.from_edge_index(edge_index, 4, 4)
    assert edges.by_target.ptr.tolist() == [0, 1, 1, 5, 5]
    assert edges.by_target.order.tolist() == [4, 0, 1, 2, 3]
    assert edges.by_source.order.tolist() == [2, 3, 4, 0, 1]


def test_sorting_happens_once() -> None:
    edges = Edges.from_edge_index(random_edges(), NUM_SOURCES, NUM_TARGETS)
    assert edges.by_target is edges.by_target
    assert edges.by_source is edges.by_source


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8])
def test_every_integer_type_gives_the_same_structure(dtype: torch.dtype) -> None:
    edge_index = random_edges()
    edges = Edges.from_edge_index(edge_index.to(dtype), NUM_SOURCES, NUM_TARGETS)
    assert edges.source.dtype == edges.target.dtype == torch.int64
    assert torch.equal(edges.edge_index, edge_index)


def test_sizes_are_found_where_they_are_not_given() -> None:
    edge_index = torch.tensor([[0, 4], [2, 1]])
    edges = Edges.from_edge_index(edge_index)
    assert (edges.num_sources, edges.num_targets) == (5, 5)
    edges = Edges.from_edge_index(edge_index, 6)
    assert (edges.num_sources, edges.num_targets) == (6, 6)
    edges = Edges.from_edge_index(edge_index, num_targets=3)
    assert (edges.num_sources, edges.num_targets) == (5, 3)
    edges = Edges.from_edge_index(edge_index[:, :0])
    assert (edges.num_sources, edges.num_targets, edges.num_edges) == (0, 0, 0)


@pytest.mark.parametrize(("row", "size"), [(0, NUM_SOURCES), (1, NUM_TARGETS)])
@pytest.mark.parametrize("flow", ["source_to_target", "target_to_source"])
def test_an_index_out_of_range_is_named(row: int, size: int, flow: str) -> None:
    end = ("source", "target")[row]
    given_row = row if flow == "source_to_target" else 1 - row
    for wrong in (size, -1, 2**40):
        edge_index = random_edges()
        edge_index[row, 17] = wrong
        given = edge_index if flow == "source_to_target" else edge_index.flip(0)
        words = rf"edge_index\[{given_row}\] holds {end} nodes .* \[0, {size}\), got {wrong}"
        with pytest.raises(IndexError, match=words):
            Edges.from_edge_index(given, NUM_SOURCES, NUM_TARGETS, flow=flow)


def test_a_negative_index_is_refused_where_sizes_are_found() -> None:
    with pytest.raises(IndexError, match="got -3"):
        Edges.from_edge_index(torch.tensor([[0, 1], [1, -3]]))
    with pytest.raises(IndexError, match=r"\[0, 2\), got 4"):
        Edges.from_edge_index(torch.tensor([[0, 1], [1, 4]]), 2)


@pytest.mark.parametrize(
    ("edge_index", "error", "words"),
    [
        ([[0], [1]], TypeError, "integer tensor, got list"),
        (torch.rand(2, 3), TypeError, "integer tensor, got torch.float32"),
        (torch.ones(2, 3, dtype=torch.bool), TypeError, "integer tensor, got torch.bool"),
        (torch.eye(3, dtype=torch.int64).to_sparse(), TypeError, "dense"),
        (torch.zeros(3, 2, dtype=torch.int64), ValueError, r"\(2, E\), got \(3, 2\)"),
        (torch.zeros(2, dtype=torch.int64), ValueError, r"\(2, E\), got \(2,\)"),
        (torch.zeros(2, 3, 1, dtype=torch.int64), ValueError, r"\(2, E\), got \(2, 3, 1\)"),
    ],
)
def test_what_is_no_edge_list_is_refused(
    edge_index: Tensor, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        Edges.from_edge_index(edge_index, 3, 3)


def test_sizes_and_flow_are_checked() -> None:
    edge_index = torch.zeros(2, 1, dtype=torch.int64)
    with pytest.raises(ValueError, match="must not be negative, got -1, 2"):
        Edges.from_edge_index(edge_index, -1, 2)
    with pytest.raises(TypeError, match="num_sources must be an int, got float"):
        Edges.from_edge_index(edge_index, 3.0, 3)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="num_targets must be an int, got str"):
        Edges.from_edge_index(edge_index, 3, "3")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"flow must be one of .* got 'sideways'"):
        Edges.from_edge_index(edge_index, 3, 3, flow="sideways")


def test_nothing_done_to_the_edge_list_afterwards_reaches_the_structure() -> None:
    edge_index = random_edges()
    before = edge_index.clone()
    edges = Edges.from_edge_index(edge_index, NUM_SOURCES, NUM_TARGETS)
    edge_index.fill_(10**6)
    assert torch.equal(edges.edge_index, before)
    check_sorted(edges.by_target, before[1], before[0], NUM_TARGETS)
    with_loops = Edges.from_edge_index(before, NUM_SOURCES, NUM_TARGETS, self_loops=True)
    kept = with_loops.edge_index.clone()
    before.zero_()
    assert torch.equal(with_loops.edge_index, kept)
    assert with_loops.select_given(torch.arange(40.0)).shape == (kept.shape[1] - NUM_TARGETS,)


def test_the_edge_list_of_pyg_brings_its_sizes() -> None:
    plain = random_edges()
    edge_index = EdgeIndex(plain, sparse_size=(NUM_SOURCES, NUM_TARGETS))
    edges = Edges.from_edge_index(edge_index)
    assert (edges.num_sources, edges.num_targets) == (NUM_SOURCES, NUM_TARGETS)
    assert type(edges.source) is Tensor
    assert torch.equal(edges.edge_index, plain)
    flipped = Edges.from_edge_index(edge_index, flow="target_to_source")
    assert (flipped.num_sources, flipped.num_targets) == (NUM_TARGETS, NUM_SOURCES)
    assert torch.equal(flipped.source, plain[1])
    without = Edges.from_edge_index(EdgeIndex(plain), NUM_SOURCES, NUM_TARGETS)
    assert torch.equal(without.edge_index, plain)


def test_a_structure_is_built_from_data_and_batches_of_it() -> None:
    small = Data(x=torch.ones(3, 1), edge_index=torch.tensor([[0, 1], [1, 0]]))
    edges = Edges.from_data(small)
    assert (edges.num_sources, edges.num_targets, edges.num_edges) == (3, 3, 2)
    batch = Batch.from_data_list(
        [small, Data(x=torch.ones(2, 1), edge_index=torch.zeros(2, 1).long())]
    )
    edges = Edges.from_data(batch, self_loops=True)
    assert edges.num_targets == 5
    assert edges.edge_index.tolist() == [[0, 1, 0, 1, 2, 3, 4], [1, 0, 0, 1, 2, 3, 4]]


def test_a_structure_is_built_from_the_edges_between_two_kinds_of_nodes() -> None:
    data = HeteroData()
    data["author"].x = torch.ones(4, 1)
    data["paper"].x = torch.ones(6, 1)
    data["author", "writes", "paper"].edge_index = torch.tensor([[0, 3], [5, 1]])
    edges = Edges.from_data(data["author", "writes", "paper"])
    assert (edges.num_sources, edges.num_targets) == (4, 6)


def test_data_without_edges_is_refused() -> None:
    with pytest.raises(ValueError, match="data must have an edge_index"):
        Edges.from_data(Data(x=torch.ones(2, 1)))


FILL_VALUES = [None, 0.0, 2, 1.5, "mean", "add", "sum", "min", "max", "mul"]


@pytest.mark.parametrize("flow", ["source_to_target", "target_to_source"])
@pytest.mark.parametrize("fill_value", [*FILL_VALUES, torch.tensor([1.0, 2.0, 3.0])], ids=str)
@pytest.mark.parametrize("width", [None, 3])
def test_self_loops_are_those_of_pyg(
    fill_value: float | str | Tensor | None, width: int | None, flow: str
) -> None:
    if isinstance(fill_value, Tensor) and width is None:
        fill_value = torch.tensor(2.0)
    num_nodes = 6
    edge_index = torch.randint(num_nodes - 1, (2, 30))  # the last node has no edge
    edge_index = torch.cat([edge_index, torch.tensor([[2, 2, 4], [2, 2, 4]])], dim=1)
    edge_attr = torch.randn(33) if width is None else torch.randn(33, width)
    edges = Edges.from_edge_index(edge_index, num_nodes, flow=flow, self_loops=True)
    index, attr = remove_self_loops(edge_index, edge_attr)
    index, attr = add_self_loops(index, attr, fill_value=fill_value, num_nodes=num_nodes)
    assert edges.has_own_loops
    assert edges.num_given == 33
    assert edges.num_loops == num_nodes
    assert torch.equal(edges.edge_index, index)
    assert_close(edges.extend(edge_attr, fill_value), attr)


def test_self_loops_between_two_sets_link_the_nodes_they_share() -> None:
    edge_index = torch.tensor([[6, 1, 0], [0, 1, 4]])
    edges = Edges.from_edge_index(edge_index, NUM_SOURCES, NUM_TARGETS, self_loops=True)
    assert edges.edge_index.tolist() == [[6, 0, 0, 1, 2, 3, 4], [0, 4, 0, 1, 2, 3, 4]]
    attr = edges.extend(torch.tensor([1.0, 2.0, 3.0]), "mean")
    assert attr.tolist() == [1, 3, 1, 0, 0, 0, 3]


def test_features_of_edges_are_differentiable_through_self_loops() -> None:
    edge_index = torch.tensor([[0, 1, 1, 2], [1, 1, 2, 2]])
    edges = Edges.from_edge_index(edge_index, 3, self_loops=True)
    x = torch.rand(4, 2, dtype=torch.float64, requires_grad=True)
    for fill_value in ("mean", "add", 0.5):
        assert torch.autograd.gradcheck(lambda x, fill=fill_value: edges.extend(x, fill), (x,))
    edges.extend(x, "mean").sum().backward()
    assert x.grad is not None
    assert x.grad[[1, 3]].eq(0).all()  # the loops that were given are replaced


def test_without_self_loops_features_stay_as_they_are() -> None:
    edges = Edges.from_edge_index(random_edges(), NUM_SOURCES, NUM_TARGETS)
    x = torch.rand(40, 2)
    assert edges.extend(x) is x
    assert not edges.has_own_loops


def test_features_of_edges_are_checked() -> None:
    edges = Edges.from_edge_index(random_edges(), NUM_SOURCES, NUM_TARGETS, self_loops=True)
    for shape in [(39, 2), (), (0,)]:
        with pytest.raises(ValueError, match="one row for each of the 40 edges"):
            edges.extend(torch.rand(shape))
    with pytest.raises(ValueError, match=r"one value for each feature, \(2,\), got \(3,\)"):
        edges.extend(torch.rand(40, 2), torch.rand(3))
    with pytest.raises(ValueError, match=r"fill_value must be one of .* got 'median'"):
        edges.extend(torch.rand(40, 2), "median")
    with pytest.raises(TypeError, match=r"fill_value must be .* got list"):
        edges.extend(torch.rand(40, 2), [1.0, 2.0])  # type: ignore[arg-type]


def test_a_structure_moves_whole() -> None:
    edges = Edges.from_edge_index(random_edges(), NUM_SOURCES, NUM_TARGETS, self_loops=True)
    assert edges.to("cpu") is edges
    assert edges.by_target.ptr.device.type == "cpu"
    moved = edges.to("meta")
    assert moved.device.type == "meta"
    assert moved.source.device == moved.target.device == moved.edge_index.device
    assert moved.select_given(torch.rand(40, device="meta")).device.type == "meta"
    assert (moved.num_edges, moved.num_loops) == (edges.num_edges, edges.num_loops)
    assert edges.device.type == "cpu"  # the original stays


@pytest.mark.parametrize("self_loops", [False, True])
def test_copies_and_pickles_are_equal_and_apart(self_loops: bool) -> None:
    edges = Edges.from_edge_index(random_edges(), NUM_SOURCES, NUM_TARGETS, self_loops=self_loops)
    expected = edges.by_target
    for other in (copy.deepcopy(edges), pickle.loads(pickle.dumps(edges))):
        assert torch.equal(other.edge_index, edges.edge_index)
        assert torch.equal(other.by_target.order, expected.order)
        assert torch.equal(other.by_source.ptr, edges.by_source.ptr)
        assert other.source.data_ptr() != edges.source.data_ptr()
        assert repr(other) == repr(edges)


def test_a_structure_says_what_it_is() -> None:
    edge_index = torch.tensor([[0, 1], [1, 2]])
    edges = Edges.from_edge_index(edge_index, 4, 3)
    assert repr(edges) == "Edges(2 edges from 4 sources to 3 targets)"
    edges = Edges.from_edge_index(edge_index, 3, self_loops=True)
    assert repr(edges) == "Edges(5 edges from 3 sources to 3 targets, 3 self-loops)"
