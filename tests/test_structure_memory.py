"""Structures are found again as long as the edge list is the same, and never longer."""

import gc
import threading
import weakref
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from graphattn import structure_memory
from graphattn.edges import Edges
from graphattn.structure_memory import edges_of


@pytest.fixture(autouse=True)
def empty_memory() -> Iterator[None]:
    structure_memory._remembered.clear()
    yield
    structure_memory._remembered.clear()


def triangle() -> Tensor:
    return torch.tensor([[0, 1, 2], [1, 2, 0]])


def num_remembered() -> int:
    return len(structure_memory._remembered)


def test_the_same_list_gives_the_same_structure() -> None:
    edge_index = triangle()
    edges = edges_of(edge_index, 3, 3)
    assert edges_of(edge_index, 3, 3) is edges
    assert torch.equal(edges.edge_index, edge_index)
    assert num_remembered() == 1


def test_another_list_size_flow_or_loops_give_another_structure() -> None:
    edge_index = triangle()
    structures = [
        edges_of(edge_index, 3, 3),
        edges_of(edge_index.clone(), 3, 3),
        edges_of(edge_index, 4, 3),
        edges_of(edge_index, 3, 4),
        edges_of(edge_index, 3, 3, flow="target_to_source"),
        edges_of(edge_index, 3, 3, self_loops=True),
    ]
    assert len({id(edges) for edges in structures}) == len(structures)
    assert edges_of(edge_index, 3, 3, self_loops=True) is structures[-1]
    assert [edges.num_edges for edges in structures] == [3, 3, 3, 3, 3, 6]


def test_a_list_changed_in_place_is_sorted_anew() -> None:
    edge_index = triangle()
    before = edges_of(edge_index, 3, 3)
    edge_index[1, 2] = 2
    after = edges_of(edge_index, 3, 3)
    assert after is not before
    assert after.target.tolist() == [1, 2, 2]
    assert before.target.tolist() == [1, 2, 0]
    assert edges_of(edge_index, 3, 3) is after
    assert num_remembered() == 1


def test_a_list_changed_in_place_is_checked_anew() -> None:
    edge_index = triangle()
    edges_of(edge_index, 3, 3)
    edge_index[0, 0] = 7
    with pytest.raises(IndexError, match="got 7"):
        edges_of(edge_index, 3, 3)


def test_a_structure_is_forgotten_with_its_list() -> None:
    edge_index = triangle()
    edges = weakref.ref(edges_of(edge_index, 3, 3))
    edges_of(edge_index, 3, 3, self_loops=True)
    assert num_remembered() == 2
    list_alive = weakref.ref(edge_index)
    gc.disable()  # no cycle may be needed to free either
    try:
        del edge_index
        assert list_alive() is None
        assert edges() is None
        assert num_remembered() == 0
    finally:
        gc.enable()


def test_no_list_is_mistaken_for_one_that_lay_in_its_place() -> None:
    for node in range(50):
        edge_index = torch.tensor([[node], [49 - node]])
        edges = edges_of(edge_index, 50, 50)
        assert (int(edges.source), int(edges.target)) == (node, 49 - node)
        del edge_index


def test_sixteen_structures_are_remembered_and_the_oldest_goes_first() -> None:
    lists = [triangle() for _ in range(17)]
    structures = [edges_of(edge_index, 3, 3) for edge_index in lists[:16]]
    assert edges_of(lists[0], 3, 3) is structures[0]  # used again, so the second is the oldest
    edges_of(lists[16], 3, 3)
    assert num_remembered() == 16
    assert edges_of(lists[0], 3, 3) is structures[0]
    assert edges_of(lists[2], 3, 3) is structures[2]
    assert edges_of(lists[1], 3, 3) is not structures[1]


def test_inference_tensors_are_not_remembered() -> None:
    with torch.inference_mode():
        edge_index = triangle()
        first = edges_of(edge_index, 3, 3)
        edge_index[1, 2] = 2  # nothing tells of this
        second = edges_of(edge_index, 3, 3)
    assert num_remembered() == 0
    assert first.target.tolist() == [1, 2, 0]
    assert second.target.tolist() == [1, 2, 2]


def test_an_ordinary_list_is_remembered_in_inference_mode() -> None:
    edge_index = triangle()
    with torch.inference_mode():
        edges = edges_of(edge_index, 3, 3)
    assert edges_of(edge_index, 3, 3) is edges


def test_a_hidden_change_gives_the_old_structure_and_a_safe_one() -> None:
    edge_index = triangle()
    edges = edges_of(edge_index, 3, 3)
    edge_index.data[0, 0] = 10**9
    edge_index.numpy()[1, 0] = -(10**9)
    again = edges_of(edge_index, 3, 3)
    assert again is edges
    assert again.by_target.neighbor.tolist() == [2, 0, 1]


def test_what_is_refused_is_not_remembered() -> None:
    wrong = torch.tensor([[0], [5]])
    for _ in range(2):
        with pytest.raises(IndexError, match="got 5"):
            edges_of(wrong, 3, 3)
    with pytest.raises(TypeError, match="integer tensor, got list"):
        edges_of([[0], [1]], 3, 3)  # type: ignore[arg-type]
    assert num_remembered() == 0


def test_many_threads_may_ask_at_once() -> None:
    shared = [triangle() for _ in range(4)]
    errors: list[Exception] = []
    start = threading.Barrier(4)

    def ask() -> None:
        start.wait()
        try:
            for turn in range(150):
                own = torch.tensor([[turn % 3, 1], [2, 0]])
                assert edges_of(own, 3, 3).source.tolist() == [turn % 3, 1]
                assert isinstance(edges_of(shared[turn % 4], 3, 3), Edges)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert num_remembered() <= 16
