"""Laplacian eigenvectors: their definition, the stored ones of PyG, degenerate and large graphs."""

from pathlib import Path

import networkx
import pytest
import torch
from odd_graphs import ODD, random_graph, side_by_side, undirected
from official import load
from torch import Tensor
from torch.testing import assert_close
from torch_geometric.data import Data
from torch_geometric.transforms import AddLaplacianEigenvectorPE
from torch_geometric.utils import to_networkx

from graphattn.encodings import laplacian, laplacian_eigenvectors
from graphattn.graphs import Graphs

STORED = ["ring_tail", "substituted_ring", "tree", "two_components_isolated"]


def graph_of(edge_index: Tensor, num_nodes: int, weight: Tensor | None = None) -> Graphs:
    return Graphs(edge_index, torch.tensor([0, num_nodes]), weight)


def by_definition(data: Data) -> Tensor:
    """The Laplacian of another library, with PyG's entry for isolated nodes."""
    graph = to_networkx(data, to_undirected=True)
    matrix = torch.from_numpy(networkx.normalized_laplacian_matrix(graph).toarray())
    isolated = [node for node, degree in graph.degree() if degree == 0]
    matrix[isolated, isolated] = 1.0
    return matrix


def assert_eigenvectors(matrix: Tensor, values: Tensor, vectors: Tensor, atol: float) -> None:
    """Of length one, at right angles, solving the equation; the smallest values but the first."""
    values, vectors = values.double(), vectors.double()
    expected = torch.linalg.eigvalsh(matrix)[1 : 1 + len(values)]
    assert_close(values, expected, atol=atol, rtol=0.0)
    assert_close(matrix @ vectors, vectors * values, atol=atol, rtol=0.0)
    every = torch.eye(len(values), dtype=torch.float64)
    assert_close(vectors.t() @ vectors, every, atol=atol, rtol=0.0)


@pytest.mark.parametrize("name", STORED)
def test_stored_eigenvalues_and_eigenspaces_are_met(name: str, golden_folder: Path) -> None:
    stored = {
        k: torch.from_numpy(v)
        for k, v in load(golden_folder / f"encodings/{name}.npz").items()
        if k != "cfg"
    }
    k = stored["out.pyg_lap_pe"].shape[1]
    graphs = graph_of(stored["in.edge_index"], int(stored["in.num_nodes"]))
    values, vectors = laplacian_eigenvectors(graphs, k)
    assert_eigenvectors(stored["out.pyg_laplacian_sym"].double(), values[0], vectors, 1e-5)
    assert_close(values[0], stored["out.pyg_eigenvalues"][1 : k + 1].float(), atol=1e-5, rtol=0.0)
    official = stored["out.pyg_lap_pe"].float()
    all_values = stored["out.pyg_eigenvalues"].float()
    compared = 0
    for value in values[0].unique():
        own = (values[0] - value).abs() < 1e-4
        if own.sum() < ((all_values - value).abs() < 1e-4).sum():
            continue  # part of an eigenspace is any part of it
        compared += 1
        projectors = (x[:, own] @ x[:, own].t() for x in (vectors, official))
        assert_close(*projectors, atol=1e-5, rtol=0.0)
    assert compared > 0
    zero = laplacian_eigenvectors(graphs, k, isolated=0.0).values[0]
    expected = stored["out.lap_eigenvalues_sym"][1 : k + 1].float()
    assert_close(zero, expected, atol=1e-5, rtol=0.0)


@pytest.mark.parametrize("seed", range(3))
def test_they_are_those_of_pyg_up_to_sign(seed: int) -> None:
    data = random_graph(15, seed, share=0.4)
    official = AddLaplacianEigenvectorPE(4, is_undirected=True)(data).laplacian_eigenvector_pe
    values, ours = laplacian_eigenvectors(Graphs.from_data(data), 4)
    assert values.diff().min() > 1e-3  # no eigenvalue is repeated
    assert_close(ours.abs(), official.float().abs(), atol=1e-5, rtol=0.0)
    assert_close((ours * official).sum(0).abs(), torch.ones(4), atol=1e-5, rtol=0.0)


@pytest.mark.parametrize("name", [name for name, data in ODD.items() if data.num_nodes])
def test_they_solve_the_equation_on_odd_graphs(name: str) -> None:
    matrix = by_definition(ODD[name])
    most = matrix.shape[0] - 1
    values, vectors = laplacian_eigenvectors(Graphs.from_data(ODD[name]), 6)
    assert values.shape == (1, 6)
    assert vectors.shape == (most + 1, 6)
    kept = min(most, 6)
    assert_eigenvectors(matrix, values[0, :kept], vectors[:, :kept], 1e-5)
    assert (values[0, kept:] == 0).all()
    assert (vectors[:, kept:] == 0).all()


def test_a_graph_has_the_same_alone_and_among_others() -> None:
    values, vectors = laplacian_eigenvectors(side_by_side(), 4)
    start = 0
    for number, data in enumerate(ODD.values()):
        own = laplacian_eigenvectors(Graphs.from_data(data), 4)
        end = start + data.num_nodes
        assert_close(values[number], own.values[0], atol=1e-6, rtol=0.0)
        assert_close(vectors[start:end], own.vectors, atol=1e-6, rtol=0.0)
        start = end
    assert start == vectors.shape[0]


def test_the_first_of_the_largest_components_is_positive() -> None:
    # On a path, components are equal in pairs, so that rounding alone would choose between them.
    vectors = laplacian_eigenvectors(side_by_side(), 3).vectors
    path = vectors[: ODD["path"].num_nodes]
    assert_close(path.abs(), path.flip(0).abs(), atol=1e-6, rtol=0.0)
    for column in path.t():
        largest = column.abs() > column.abs().max() - 1e-4
        assert column[largest][0] > 0
    assert torch.equal(vectors, laplacian_eigenvectors(side_by_side(), 3).vectors)


def test_weights_of_equal_edges_add_up_and_loops_do_not_count() -> None:
    once = laplacian_eigenvectors(
        graph_of(
            undirected((0, 1), (1, 2), (2, 3)), 4, torch.tensor([2.0, 1.0, 3.0, 2.0, 1.0, 3.0])
        ),
        3,
    )
    edges = torch.cat([undirected((0, 1), (1, 2), (2, 3), (0, 1)), torch.tensor([[3], [3]])], 1)
    twice = laplacian_eigenvectors(
        graph_of(edges, 4, torch.tensor([1.0, 1, 3, 1, 1, 1, 3, 1, 9])), 3
    )
    assert_close(once, twice)
    assert not torch.allclose(once.values, laplacian_eigenvectors(graph_of(edges, 4), 3).values)


def large(kind: str) -> Data:
    """Graphs past the limit of dense solvers, of spectra that are hard in one way each."""
    if kind == "random":
        graph = networkx.random_regular_graph(3, 600, seed=0)
    elif kind == "long path":  # eigenvalues crowd near zero
        graph = networkx.path_graph(1200)
    else:  # zero is an eigenvalue three times, and isolated nodes have one
        parts = [networkx.random_regular_graph(3, size, seed=0) for size in (520, 510, 30)]
        graph = networkx.disjoint_union_all([*parts, networkx.empty_graph(2)])
        order = torch.randperm(graph.number_of_nodes()).tolist()
        graph = networkx.relabel_nodes(graph, dict(enumerate(order)))
    ends = torch.tensor(list(graph.edges)).t()
    return Data(edge_index=torch.cat([ends, ends.flip(0)], 1), num_nodes=len(graph))


@pytest.mark.parametrize("kind", ["random", "long path", "components"])
def test_large_graphs_have_the_same_eigenvectors(kind: str) -> None:
    data = large(kind)
    assert data.num_nodes > laplacian._MOST_DENSE
    values, vectors = laplacian_eigenvectors(Graphs.from_data(data), 8)
    assert_eigenvectors(by_definition(data), values[0], vectors, 1e-5)
    if kind == "components":
        assert (values[0] < 1e-5).tolist() == [True, True] + [False] * 6


def test_edges_must_run_both_ways() -> None:
    one_way = torch.tensor([[0, 1], [1, 2]])
    with pytest.raises(ValueError, match="both directions"):
        laplacian_eigenvectors(graph_of(one_way, 3), 2)
    with pytest.raises(ValueError, match="both directions"):
        laplacian_eigenvectors(graph_of(one_way, 600), 2)


@pytest.mark.parametrize("num_nodes", [3, 600])
@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e9])
def test_weights_of_both_directions_are_equal_up_to_rounding(scale: float, num_nodes: int) -> None:
    edges, weight = undirected((0, 1), (1, 2)), scale * torch.tensor([1.0, 3.0, 1.0, 3.0])
    rounded = weight * torch.tensor([1.0, 1.0, 1.0 + 1e-6, 1.0])
    found, expected = (
        laplacian_eigenvectors(graph_of(edges, num_nodes, x), 2) for x in (rounded, weight)
    )
    assert_close(found.values, expected.values, atol=1e-5, rtol=0.0)
    unequal = weight * torch.tensor([1.0, 1.0, 1.001, 1.0])
    with pytest.raises(ValueError, match="both directions, with equal weights"):
        laplacian_eigenvectors(graph_of(edges, num_nodes, unequal), 2)


def test_no_graphs_have_no_eigenvectors() -> None:
    values, vectors = laplacian_eigenvectors(Graphs(undirected(), torch.tensor([0])), 3)
    assert values.shape == (0, 3)
    assert vectors.shape == (0, 3)


def test_bad_input_is_refused() -> None:
    with pytest.raises(TypeError, match="Graphs"):
        laplacian_eigenvectors(undirected((0, 1)), 2)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="k must be"):
        laplacian_eigenvectors(graph_of(undirected((0, 1)), 2), 0)
