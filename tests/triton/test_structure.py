"""Structures of edges on a GPU: nothing waits for the device, and what is wrong is found there."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from graphattn import Edges
from graphattn.kernels.counting_sort import Groups, cpu, group_edges, reference, transpose
from graphattn.kernels.edge_list import check_indices, copy_edges
from graphattn.kernels.edge_list.op import assert_in_range
from graphattn.kernels.entmax.op import _check_rows_on_device
from graphattn.kernels.segment_reduce import reference as segments
from graphattn.kernels.triton.segments import cut

# Tensors that have a shape and no values: whoever asks for one raises, where a GPU would be
# waited for.
META = torch.device("meta")


def ends(num_edges: int, device: torch.device | str = "cpu") -> Tensor:
    return torch.randint(5, (2, num_edges), device=device)


@pytest.mark.parametrize("num_edges", [0, 1, 60])
def test_grouping_is_that_of_the_counting_sort(num_edges: int) -> None:
    key, other = ends(num_edges)
    groups, expected = reference.group_edges(key, other, 7, 5), cpu.group_edges(key, other, 7, 5)
    assert expected is not None
    found, transposed = reference.transpose(groups, 5), cpu.transpose(expected, 5)
    assert transposed is not None
    pairs = [*zip(groups, expected, strict=True), *zip(found, transposed, strict=True)]
    assert all(torch.equal(ours, theirs) for ours, theirs in pairs)
    assert all(ours.dtype == theirs.dtype for ours, theirs in pairs)


@pytest.mark.parametrize("num_edges", [0, 60])
def test_no_value_is_asked_for_while_a_structure_is_built(num_edges: int) -> None:
    key, other = ends(num_edges, META)
    check_indices(key, other, 5, 5)
    copy_edges(key, other, 5, 5)
    groups = group_edges(key, other, 5, 7)
    transposed = transpose(groups, 7)
    assert [len(t) for t in (*groups, *transposed)] == [6, *[num_edges] * 2, 8, *[num_edges] * 3]
    edges = Edges(torch.stack([key, other]), 7, 5)
    for rows in (edges.by_target, edges.by_source):
        assert rows.neighbor.dtype == rows.order.dtype == torch.int32
        assert rows.order.shape == (num_edges,)


def test_no_value_is_asked_for_by_operations_on_segments() -> None:
    ptr, order, x = ends(5, META)[0], ends(9, META)[0], torch.empty(9, 2, device=META)
    _check_rows_on_device(ptr, order)
    assert [len(t) for t in cut(ptr, 5000)] == [18, 5]
    for name in ("sum", "mean", "max"):
        assert segments.segment_reduce(x, ptr, name).shape == (4, 2)
    assert segments.segment_of_row(ptr, 9).shape == (9,)


@pytest.mark.parametrize(
    "ask",
    [Tensor.bincount, Tensor.nonzero, Tensor.item, bool, lambda x: x.repeat_interleave(x)],
    ids=["bincount", "nonzero", "item", "bool", "repeat_interleave"],
)
def test_a_question_for_a_value_would_be_noticed(ask: Callable[[Tensor], object]) -> None:
    with pytest.raises((RuntimeError, NotImplementedError), match=r"[Mm]eta"):
        ask(torch.empty(1, dtype=torch.int64, device=META))


@pytest.mark.parametrize("index", [[0, 5], [-1, 0], [2**40]])
def test_indices_out_of_range_fail_where_they_are(index: list[int]) -> None:
    with pytest.raises(RuntimeError, match=r"source must lie in \[0, 5\)"):
        assert_in_range(torch.tensor(index), 5, "source")


def test_indices_in_range_pass() -> None:
    assert_in_range(torch.tensor([0, 4], dtype=torch.int32), 5, "source")
    assert_in_range(torch.tensor([], dtype=torch.int64), 0, "source")


def test_groups_that_are_none_are_found_without_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    asserted: list[str] = []
    monkeypatch.setattr(torch, "_assert_async", lambda _, message: asserted.append(message))
    groups = group_edges(*ends(20, META), 5, 5)
    assert asserted == ["key must lie in [0, 5)", "other must lie in [0, 5)"]
    transpose(Groups(*groups), 6)
    rises = "ptr must rise from 0 to the number of rows, 20, and does not"
    assert asserted[2:] == [rises, "neighbor must lie in [0, 6)"]
