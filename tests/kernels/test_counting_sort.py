"""Grouping edges: values, order, bits for any number of threads, bad input, no compiler."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor
from torch._subclasses import FakeTensorMode

from graphattn.kernels.counting_sort import Groups, cpu, group_edges, reference, transpose
from graphattn.kernels.cpp import fallback
from graphattn.kernels.edge_list import check_indices, copy_edges, drop_loops
from graphattn.kernels.edge_list import cpu as edge_list_cpu

# (keys, others, edges): none, few and many of each; a hub; more than fit one bucket.
SIZES = [(0, 0, 0), (5, 7, 0), (5, 7, 1), (5, 7, 40), (1, 9, 300), (900, 3, 2000), (3, 900, 2000)]


@pytest.fixture
def torch_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture
def in_buckets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Deals even few edges to buckets, and to as many threads as there are."""
    monkeypatch.setattr(cpu, "_MAX_EDGES_DIRECT", 10)
    monkeypatch.setattr(cpu, "_BUCKET_BITS", 4)
    monkeypatch.setattr(cpu, "_EDGES_PER_THREAD", 10)
    monkeypatch.setattr(edge_list_cpu, "_EDGES_PER_THREAD", 10)


@pytest.fixture
def no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fallback, "is_available", lambda: False)
    assert not fallback.can_compile(torch.zeros(1))


def ends(size: tuple[int, int, int], dtype: torch.dtype = torch.int64) -> tuple[Tensor, Tensor]:
    num_keys, num_others, num_edges = size
    key = (torch.rand(num_edges).square() * num_keys).to(dtype)  # more edges at the first keys
    return key, torch.randint(max(num_others, 1), (num_edges,), dtype=dtype)


def check_equal(
    actual: tuple[Tensor, ...], expected: tuple[Tensor, ...], dtype: torch.dtype = torch.int32
) -> None:
    assert len(actual) == len(expected)
    assert actual[0].dtype == torch.int64
    assert all(tensor.dtype == dtype for tensor in actual[1:])
    assert all(torch.equal(*pair) for pair in zip(actual, expected, strict=True))


def check(key: Tensor, other: Tensor, num_keys: int, num_others: int) -> None:
    groups = group_edges(key, other, num_keys, num_others)
    check_equal(groups, reference.group_edges(key, other, num_keys, num_others))
    check_equal(transpose(groups, num_others), reference.transpose(groups, num_others))


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32])
@pytest.mark.parametrize("size", SIZES)
def test_groups_are_those_of_a_stable_sort(size: tuple[int, int, int], dtype: torch.dtype) -> None:
    check(*ends(size, dtype), *size[:2])


@pytest.mark.parametrize("num_threads", [1, 2, 3])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.usefixtures("in_buckets", "torch_threads")
def test_buckets_and_threads_change_nothing(size: tuple[int, int, int], num_threads: int) -> None:
    torch.set_num_threads(num_threads)
    check(*ends(size), *size[:2])


@pytest.mark.parametrize("num_threads", [1, 3])
@pytest.mark.usefixtures("in_buckets", "torch_threads")
def test_edges_that_are_sorted_already_stay(num_threads: int) -> None:
    torch.set_num_threads(num_threads)
    key, other = ends((900, 30, 2000))
    key = key.sort()[0] + 5  # keys without edges first and last
    groups = group_edges(key, other, 1000, 30)
    assert groups.order.tolist() == list(range(2000))
    check_equal(groups, reference.group_edges(key, other, 1000, 30))


@pytest.mark.usefixtures("in_buckets", "torch_threads")
def test_one_edge_out_of_place_is_put_there_wherever_it_stands() -> None:
    torch.set_num_threads(3)
    for place in range(1, 60):  # also where the slices of two threads meet
        key = torch.arange(60)
        key[place] = 0
        check(key, key.flip(0), 60, 60)


def test_the_size_of_a_large_graph_is_no_matter() -> None:
    check(*ends((70_000, 100, 100_000)), 70_000, 100)
    check(*ends((100, 70_000, 100_000)), 100, 70_000)


def test_ends_need_not_be_contiguous() -> None:
    pairs = torch.randint(9, (50, 2))
    check(pairs[:, 0], pairs[:, 1], 9, 9)


def test_positions_are_int64_where_nodes_do_not_fit_int32() -> None:
    key = torch.tensor([1, 0, 1])
    other = torch.tensor([2**31 + 5, 3, 2**31])
    groups = group_edges(key, other, 2, 2**31 + 6)
    check_equal(groups, reference.group_edges(key, other, 2, 2**31 + 6), torch.int64)
    assert groups.neighbor.tolist() == [3, 2**31 + 5, 2**31]


def test_int64_groups_are_transposed() -> None:
    groups = group_edges(*ends((20, 30, 100)), 20, 30)
    wide = Groups(groups.ptr, groups.neighbor.long(), groups.order.long())
    found = transpose(wide, 30)
    assert found.twin.dtype == torch.int64
    assert all(torch.equal(*pair) for pair in zip(found, transpose(groups, 30), strict=True))


def test_twins_lead_from_one_grouping_to_the_other() -> None:
    key, other = ends((20, 30, 100))
    groups = group_edges(key, other, 20, 30)
    found = transpose(groups, 30)
    twin = found.twin.long()
    assert torch.equal(found.order, groups.order[twin])
    assert torch.equal(key[found.order.long()].int(), found.neighbor)
    for node in range(30):  # edges out of one node come in order of where they go
        assert found.neighbor[found.ptr[node] : found.ptr[node + 1]].diff().ge(0).all()


@pytest.mark.parametrize("num_edges", [1, 3000])
@pytest.mark.parametrize(("key", "other", "words"), [(7, 0, "got 7"), (-1, 0, "got -1")])
@pytest.mark.usefixtures("in_buckets")
def test_a_node_out_of_range_is_named(key: int, other: int, words: str, num_edges: int) -> None:
    keys, others = torch.zeros(2, num_edges, dtype=torch.int64)
    keys[-1], others[-1] = key, other
    with pytest.raises(IndexError, match=rf"key must lie in \[0, 7\), {words}"):
        group_edges(keys, others, 7, 9)
    with pytest.raises(IndexError, match=rf"theirs must lie in \[0, 7\), {words}"):
        group_edges(others, keys, 9, 7, names=("ours", "theirs"))
    with pytest.raises(IndexError, match=rf"key must lie in \[0, 0\), {words}"):
        group_edges(keys, others, 0, 9)


def test_what_is_no_list_of_edges_is_refused() -> None:
    good = torch.zeros(3, dtype=torch.int64)
    with pytest.raises(TypeError, match=r"both int64 or both int32, got torch.int64 and .*int32"):
        group_edges(good, good.int(), 2, 2)
    with pytest.raises(TypeError, match=r"torch\.float32"):
        group_edges(good.float(), good.float(), 2, 2)
    with pytest.raises(ValueError, match=r"both be \(E,\) on one device, got \(3,\) .* \(2,\)"):
        group_edges(good, good[:2], 2, 2)
    with pytest.raises(ValueError, match="must not be negative, got 2, -1"):
        group_edges(good, good, 2, -1)


@pytest.mark.parametrize("has_compiler", [True, False])
def test_groups_that_are_none_are_refused(
    has_compiler: bool, request: pytest.FixtureRequest
) -> None:
    if not has_compiler:
        request.getfixturevalue("no_compiler")
    ptr, neighbor, order = group_edges(*ends((4, 9, 20)), 4, 9)
    for place, value in ((0, 1), (4, 19), (4, 2**40), (2, -1), (1, 2**40)):
        wrong = ptr.clone()
        wrong[place] = value
        with pytest.raises(ValueError, match="ptr must rise from 0 to 20"):
            transpose(Groups(wrong, neighbor, order), 9)
    with pytest.raises(IndexError, match=r"neighbor must lie in \[0, 3\), got"):
        transpose(Groups(ptr, neighbor, order), 3)
    with pytest.raises(TypeError, match=r"ptr must be int64, got torch\.int32"):
        transpose(Groups(ptr.int(), neighbor, order), 9)
    with pytest.raises(TypeError, match=r"neighbor and order must be both .* got .*int64 and"):
        transpose(Groups(ptr, neighbor.long(), order), 9)
    with pytest.raises(ValueError, match=r"groups must have .* got \(\(0,\), \(20,\), \(20,\)\)"):
        transpose(Groups(ptr[:0], neighbor, order), 9)


@pytest.mark.parametrize("has_compiler", [True, False])
@pytest.mark.parametrize("num_edges", [0, 1, 3000])
@pytest.mark.usefixtures("in_buckets", "torch_threads")
def test_loops_are_left_out_and_copies_are_checked(
    num_edges: int, has_compiler: bool, request: pytest.FixtureRequest
) -> None:
    if not has_compiler:
        request.getfixturevalue("no_compiler")
    torch.set_num_threads(3)
    first, second = torch.randint(4, (2, num_edges))
    edges, kept = drop_loops(first, second, room=2)
    expected = (first != second).nonzero().squeeze(1)
    assert torch.equal(kept, expected)
    assert edges.shape == (2, len(kept) + 2)
    assert torch.equal(edges[:, :-2], torch.stack([first[kept], second[kept]]))
    own = copy_edges(first, second, 4, 4)
    assert torch.equal(own, torch.stack([first, second]))
    first.zero_()
    assert num_edges < 3000 or own[0].any()  # it is a copy
    check_indices(first, second, 1, 4)


@pytest.mark.parametrize("run", [check_indices, copy_edges])
@pytest.mark.parametrize("has_compiler", [True, False])
def test_edges_out_of_range_are_refused(
    run: object, has_compiler: bool, request: pytest.FixtureRequest
) -> None:
    if not has_compiler:
        request.getfixturevalue("no_compiler")
    assert callable(run)
    first, second = torch.tensor([[0, 2, 1], [3, -4, 5]])
    with pytest.raises(IndexError, match=r"b must lie in \[0, 9\), got -4"):
        run(first, second, 3, 9, names=("a", "b"))
    with pytest.raises(IndexError, match=r"first must lie in \[0, 2\), got 2"):
        run(first, second, 2, 9)
    with pytest.raises(TypeError, match=r"must be int64, got torch\.int32 and torch\.int64"):
        run(first.int(), second, 3, 9)
    with pytest.raises(ValueError, match=r"both be \(E,\) on one device, got \(3,\) .* \(2,\)"):
        run(first, second[:2], 3, 9)


def test_without_a_compiler_groups_are_the_same(request: pytest.FixtureRequest) -> None:
    key, other = ends((20, 30, 100))
    compiled = group_edges(key, other, 20, 30)
    transposed = transpose(compiled, 30)
    request.getfixturevalue("no_compiler")
    check_equal(group_edges(key, other, 20, 30), compiled)
    check_equal(transpose(compiled, 30), transposed)
    with pytest.raises(IndexError, match=r"key must lie in \[0, 3\), got"):
        group_edges(key, other, 3, 30)


def test_tensors_without_memory_of_their_own_are_not_read() -> None:
    with FakeTensorMode():
        key = torch.zeros(4, dtype=torch.int64)
        assert not fallback.can_compile(key)
        with pytest.raises(RuntimeError, match="aten"):
            group_edges(key, key, 3, 3)
