"""Operations on segments in Triton's interpreter: values, derivatives, numbers that are none."""

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from graphattn.kernels.segment_reduce import op as reduce_op
from graphattn.kernels.segment_reduce import reference as reduce_reference
from graphattn.kernels.segment_reduce import triton as reduce
from graphattn.kernels.segment_softmax import op as softmax_op
from graphattn.kernels.segment_softmax import reference as softmax_reference
from graphattn.kernels.segment_softmax import triton as softmax
from graphattn.kernels.triton import available, segments
from graphattn.kernels.triton.segments import cut

PIECE = 8  # rows, in place of hundreds
CUTS = {
    "nothing": [0],
    "empty segments alone": [0, 0, 0],
    "empty first and last": [0, 0, 3, 3, 7, 7],
    "just a piece": [0, PIECE, 2 * PIECE],
    "long ones": [0, 1, 2 * PIECE, 3 * PIECE + 1, 3 * PIECE + 1, 3 * PIECE + 5, 9 * PIECE + 3],
}
DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)
REDUCTIONS = ("sum", "mean", "min", "max")
CASES = [(torch.float32, name) for name in CUTS] + [(dtype, "long ones") for dtype in DTYPES[1:]]


@pytest.fixture(autouse=True)
def short_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes segments long that are not, and tiles so small that even a piece takes several."""
    monkeypatch.setattr(segments, "PIECE", PIECE)
    monkeypatch.setattr(segments, "_MOST_COLUMNS", 4)
    monkeypatch.setattr(segments, "_THREADS", (2, 2))


def inputs(name: str, columns: tuple[int, ...], dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    ptr = torch.tensor(CUTS[name])
    # Of few values, so that many rows hold the largest one together.
    return torch.randint(-9, 9, (int(ptr[-1]), *columns)).to(dtype) / 4, ptr


def check_softmax(logits: Tensor, ptr: Tensor) -> None:
    dtype, grad = logits.dtype, torch.randn_like(logits)
    weights = softmax.segment_softmax(logits, ptr)
    assert_close(weights, softmax_reference.segment_softmax(logits.double(), ptr).to(dtype))
    given = (weights.double(), grad.double(), ptr)
    expected = softmax_reference.segment_softmax_backward(*given).to(dtype)
    assert_close(softmax.segment_softmax_backward(weights, grad, ptr), expected)


def check_reduce(x: Tensor, ptr: Tensor, name: str) -> None:
    result = reduce.segment_reduce(x, ptr, name)
    assert_close(result, reduce_reference.segment_reduce(x.double(), ptr, name).to(x.dtype))
    grad = torch.randn_like(result)
    if name in ("min", "max"):
        gradient = reduce.segment_extreme_backward(grad, x, result, ptr)
    else:
        gradient = reduce.segment_expand(grad, ptr, x.shape[0], name)
    wide = x.double().requires_grad_()
    expected = reduce_reference.segment_reduce(wide, ptr, name)
    (of_wide,) = torch.autograd.grad(expected, wide, grad.double())
    assert_close(gradient, of_wide.to(x.dtype))


@pytest.mark.parametrize(("dtype", "name"), CASES, ids=str)
def test_softmax_and_its_derivative_are_the_reference(dtype: torch.dtype, name: str) -> None:
    check_softmax(*inputs(name, (3,), dtype))


@pytest.mark.parametrize("columns", [(), (1,), (2, 2), (7,), (0,)], ids=str)
def test_softmax_takes_any_number_of_columns(columns: tuple[int, ...]) -> None:
    check_softmax(*inputs("long ones", columns, torch.float32))


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize(("dtype", "name"), CASES, ids=str)
def test_reductions_and_their_derivatives_are_the_reference(
    dtype: torch.dtype, name: str, reduction: str
) -> None:
    check_reduce(*inputs(name, (3,), dtype), reduction)


@pytest.mark.parametrize("columns", [(), (1,), (2, 2), (7,), (0,)], ids=str)
def test_reductions_take_any_number_of_columns(columns: tuple[int, ...]) -> None:
    x, ptr = inputs("long ones", columns, torch.float32)
    for reduction in REDUCTIONS:
        check_reduce(x, ptr, reduction)


@pytest.mark.parametrize("row", [0, 2, 5, 74])
@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_special_numbers_stay_in_their_segment_and_column(value: float, row: int) -> None:
    x, ptr = inputs("long ones", (4,), torch.float32)  # two tiles for each piece
    x[row, -1] = value
    expected = softmax_reference.segment_softmax(x, ptr)
    assert_close(softmax.segment_softmax(x, ptr), expected, equal_nan=True)
    for reduction in REDUCTIONS:
        expected = reduce_reference.segment_reduce(x, ptr, reduction)
        assert_close(reduce.segment_reduce(x, ptr, reduction), expected, equal_nan=True)
    result = reduce_reference.segment_reduce(x, ptr, "max")
    given = (torch.randn_like(result), x, result, ptr)
    expected = reduce_reference.segment_extreme_backward(*given)
    assert_close(reduce.segment_extreme_backward(*given), expected, equal_nan=True)


def test_a_segment_of_minus_infinity_alone_is_that_of_torch() -> None:
    for num_rows in (2, 3 * PIECE):
        logits, ptr = torch.full((num_rows, 2), -torch.inf), torch.tensor([0, num_rows])
        assert softmax.segment_softmax(logits, ptr).isnan().all()
        logits[-1] = 0.0
        assert_close(softmax.segment_softmax(logits, ptr), logits.softmax(0))


def test_large_logits_do_not_overflow() -> None:
    logits, ptr = inputs("long ones", (4,), torch.float32)
    for large in (logits + 1e4, logits * 1e4):
        expected = softmax_reference.segment_softmax(large, ptr)
        assert_close(softmax.segment_softmax(large, ptr), expected)


def test_rows_need_not_be_contiguous() -> None:
    ptr = torch.tensor([0, 9, 3, 9, 9, 9, 20, 9])[::2]
    logits = torch.randn(4, 20).T
    expected = softmax_reference.segment_softmax(logits, ptr)
    assert_close(softmax.segment_softmax(logits, ptr), expected)


def test_a_tile_is_as_long_as_segments_mostly_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    tile = segments.Tile
    single, double = segments.tl.float32, segments.tl.float64
    assert tile.of(single, 8, 14)[2:] == (16, 8)
    assert tile.of(single, 8, 2)[2:] == (4, 8)
    assert tile.of(single, 8, 1e6)[2:] == (128, 8)
    assert tile.of(single, 100, 1e6)[2:] == (16, 64)
    assert tile.of(double, 100, 1e6)[2:] == (4, 64)
    assert tile.of(single, 3, 0.1)[2:] == (8, 4)
    assert tile.of(single, 100, 1e6).num_panels == 2
    assert tile.of(single, 8, 14).options["num_warps"] == 1
    assert tile.of(single, 8, 1e6).options["num_warps"] == 4


@pytest.mark.parametrize("name", CUTS)
def test_long_segments_are_cut_and_short_ones_are_not(name: str) -> None:
    bounds = CUTS[name]
    segment_of_piece, first = cut(torch.tensor(bounds), bounds[-1])
    sizes = [end - begin for begin, end in itertools.pairwise(bounds)]
    counts = [-(-size // PIECE) if size > PIECE else 0 for size in sizes]
    expected = [s for s, count in enumerate(counts) for _ in range(count)]
    free = [len(sizes)] * (len(segment_of_piece) - len(expected))
    assert len(segment_of_piece) == 2 * (bounds[-1] // PIECE)
    assert segment_of_piece.tolist() == expected + free
    assert first.diff().tolist() == counts


def test_the_most_pieces_that_there_can_be_fit() -> None:
    bounds = torch.arange(5) * (PIECE + 1)  # each is cut into two, one of them of one row
    segment_of_piece, _ = cut(bounds, int(bounds[-1]))
    assert segment_of_piece.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]


def test_what_does_not_fit_is_refused() -> None:
    x, ptr = torch.zeros(5, 2), torch.tensor([0, 5])
    calls: list[Any] = [
        lambda: softmax.segment_softmax_backward(x, x[:4], ptr),
        lambda: softmax.segment_softmax_backward(x, x.double(), ptr),
        lambda: softmax.segment_softmax(x, ptr.int()),
        lambda: reduce.segment_expand(x, ptr, 5, "sum"),
        lambda: reduce.segment_extreme_backward(x[:1], x, x[:1, :1], ptr),
    ]
    for call in calls:
        with pytest.raises(ValueError, match="ptr, rows and segments must fit one another, got"):
            call()


def test_what_a_gpu_would_run_checks_boundaries_and_gives_the_same() -> None:
    x, ptr = inputs("long ones", (2,), torch.float32)
    weights, extreme = torch.rand_like(x), reduce_op.segment_reduce(x, ptr, "max")
    calls = {
        softmax_op._segment_softmax: (x, ptr),
        softmax_op._segment_softmax_backward: (weights, x, ptr),
        reduce_op._segment_reduce: (x, ptr, "mean"),
        reduce_op._segment_expand: (extreme, ptr, x.shape[0], "mean"),
        reduce_op._segment_extreme_backward: (torch.rand_like(extreme), x, extreme, ptr),
    }
    for operator, given in calls.items():
        on_gpu: Any = operator._backend_fns["cuda"]
        assert_close(on_gpu(*given), operator(*given))
        wrong = [value + 1 if value is ptr else value for value in given]
        with pytest.raises(ValueError, match="ptr must rise from 0 to the number of rows, 75"):
            on_gpu(*wrong)


def test_without_triton_the_error_names_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    available.require_triton()
    monkeypatch.setattr(available.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(ModuleNotFoundError, match=r'pip install "graphattn\[triton\]"'):
        available.require_triton()
