"""Reductions of segments: values, derivatives, bits, special numbers, bad input, the peers'."""

from collections.abc import Iterator

import pytest
import torch
from segments import COLUMNS, CUTS, DTYPES, cut, pieces, small_blocks, without_compiler
from torch import Tensor
from torch.testing import assert_close

from graphattn.kernels.cpp import segment_walk
from graphattn.kernels.segment_reduce import segment_reduce
from graphattn.kernels.segment_reduce.op import segment_expand

BACKENDS = ("auto", "reference")
REDUCTIONS = ("sum", "mean", "min", "max")


@pytest.fixture(autouse=True)
def blocks(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    small_blocks(monkeypatch)
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def by_pieces(x: Tensor, ptr: Tensor, reduce: str) -> Tensor:
    run = {"sum": torch.sum, "mean": torch.mean, "min": torch.amin, "max": torch.amax}[reduce]
    rows = [run(piece, 0) if len(piece) else piece.sum(0) for piece in pieces(x, ptr)]
    return torch.stack(rows) if rows else x.new_zeros(0, *x.shape[1:])


def inputs(name: str, columns: tuple[int, ...], dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    ptr = cut(name)
    # Of few values, so that many rows hold the largest one together.
    return torch.randint(-9, 9, (int(ptr[-1]), *columns)).to(dtype) / 8, ptr


@pytest.mark.parametrize("reduce", REDUCTIONS)
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("columns", COLUMNS, ids=str)
@pytest.mark.parametrize("name", CUTS)
def test_values_and_gradients_are_those_of_torch(
    name: str, columns: tuple[int, ...], backend: str, reduce: str
) -> None:
    x, ptr = inputs(name, columns, torch.float32)
    ours, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
    result = segment_reduce(ours, ptr, reduce, backend=backend)  # type: ignore[arg-type]
    expected = by_pieces(theirs, ptr, reduce)
    assert_close(result, expected)
    cotangent = torch.randn_like(result)
    result.backward(cotangent)
    if expected.requires_grad:
        expected.backward(cotangent)
    assert_close(ours.grad, torch.zeros_like(x) if theirs.grad is None else theirs.grad)


@pytest.mark.parametrize("reduce", REDUCTIONS)
@pytest.mark.parametrize("columns", [()], ids=str)  # the others with float32, above
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_type_is_summed_in_float32_or_wider(
    dtype: torch.dtype, columns: tuple[int, ...], reduce: str
) -> None:
    ptr = cut("long ones")
    x = (100 * torch.rand(int(ptr[-1]), *columns)).to(dtype)
    result = segment_reduce(x, ptr, reduce)  # type: ignore[arg-type]
    assert result.dtype == dtype
    assert_close(result, by_pieces(x.double(), ptr, reduce).to(dtype))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_every_number_of_half_precision_is_read_and_written(dtype: torch.dtype) -> None:
    x = torch.arange(-(2**15), 2**15).to(torch.int16).view(dtype)
    segments = torch.arange(2**16 + 1)
    assert_close(segment_reduce(x, segments), x, rtol=0, atol=0, equal_nan=True)
    pairs = torch.stack([x, x.roll(1)], dim=1).flatten()  # means lie between two numbers
    expected = pairs.float().reshape(-1, 2).mean(1).to(dtype)
    means = segment_reduce(pairs, 2 * segments, "mean")
    assert_close(means, expected, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("reduce", REDUCTIONS)
@pytest.mark.parametrize("columns", [(), (3,), (2, 1)], ids=str)  # four columns with float32
def test_derivatives_of_first_and_second_order(columns: tuple[int, ...], reduce: str) -> None:
    ptr = cut("empty first and last")
    x = torch.randn(int(ptr[-1]), *columns, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(segment_reduce, (x, ptr, reduce))
    assert torch.autograd.gradgradcheck(segment_reduce, (x, ptr, reduce))


@pytest.mark.parametrize("reduce", ["min", "max"])
def test_rows_that_tie_are_differentiated_twice(reduce: str) -> None:
    x, ptr = inputs("long ones", (3,), torch.float64)
    x.requires_grad_()

    def gradients(run: object) -> Tensor:
        assert callable(run)
        cotangent = torch.linspace(1, 2, 18, dtype=torch.float64).reshape(6, 3).requires_grad_()
        (first,) = torch.autograd.grad(run(x, ptr, reduce), x, cotangent, create_graph=True)
        return torch.autograd.grad(first.square().sum(), cotangent)[0]

    assert_close(gradients(segment_reduce), gradients(by_pieces))


@pytest.mark.parametrize("reduce", REDUCTIONS)
@pytest.mark.parametrize("columns", [(), (2, 2), (8,), (19,)], ids=str)
def test_the_bits_are_the_same_for_any_number_of_threads(
    columns: tuple[int, ...], reduce: str
) -> None:
    ptr = torch.cat([cut("long ones"), cut("long ones")[-1] + torch.arange(1, 300).square()])
    x = torch.randn(int(ptr[-1]), *columns, requires_grad=True)
    results = []
    for num_threads in (1, 2, 3, 1):
        torch.set_num_threads(num_threads)
        result = segment_reduce(x, ptr, reduce)  # type: ignore[arg-type]
        results.append((result, *torch.autograd.grad(result.square().sum(), x)))
    for result, grad in results[1:]:
        assert torch.equal(result, results[0][0])
        assert torch.equal(grad, results[0][1])


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("reduce", REDUCTIONS)
@pytest.mark.parametrize("columns", [1, 3, 8])
def test_special_numbers_stay_in_their_segment_and_column(
    columns: int, reduce: str, backend: str
) -> None:
    ptr = cut("long ones")
    for value in (torch.nan, torch.inf, -torch.inf):
        for row in (0, 5, int(ptr[-1]) - 1):
            x = torch.randn(int(ptr[-1]), columns)
            x[row, -1] = value
            result = segment_reduce(x, ptr, reduce, backend=backend)  # type: ignore[arg-type]
            assert_close(result, by_pieces(x, ptr, reduce), equal_nan=True)


def test_a_long_sum_is_made_of_short_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segment_walk, "_BLOCK", 1 << 13)
    x = torch.rand(500_000, 3)
    ours = segment_reduce(x, torch.tensor([0, 500_000]))[0]
    # Added one by one within a block, they would be wrong by ten times as much.
    assert_close(ours, x.double().sum(0).float(), rtol=3e-7, atol=0)


@pytest.mark.parametrize("reduce", REDUCTIONS)
def test_equals_torch_scatter(reduce: str) -> None:
    torch_scatter = pytest.importorskip("torch_scatter", reason="torch-scatter is not installed")
    x, ptr = inputs("empty first and last", (4,), torch.float32)
    expected = torch_scatter.segment_csr(x, ptr, reduce=reduce)
    assert_close(segment_reduce(x, ptr, reduce), expected)  # type: ignore[arg-type]


@pytest.mark.parametrize("reduce", REDUCTIONS)
@pytest.mark.parametrize("name", ["nothing", "empty first and last"])
def test_the_operators_are_sound(name: str, reduce: str) -> None:
    x, ptr = inputs(name, (2, 2), torch.float32)
    operators = torch.ops.graphattn
    result = segment_reduce(x, ptr, reduce)  # type: ignore[arg-type]
    torch.library.opcheck(operators.segment_reduce, (x.clone().requires_grad_(), ptr, reduce))
    own = result.clone().requires_grad_()
    if reduce in ("sum", "mean"):
        torch.library.opcheck(operators.segment_expand, (own, ptr, x.shape[0], reduce))
    else:
        torch.library.opcheck(operators.segment_extreme_backward, (own, x, result, ptr))


def test_compiles_to_one_graph() -> None:
    x, ptr = inputs("empty first and last", (4,), torch.float32)
    compiled = torch.compile(segment_reduce, backend="aot_eager", fullgraph=True)
    assert torch.equal(compiled(x, ptr, "mean"), segment_reduce(x, ptr, "mean"))


@pytest.mark.parametrize("reduce", REDUCTIONS)
def test_without_a_compiler_values_are_the_same(
    reduce: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, ptr = inputs("long ones", (2,), torch.float64)
    x.requires_grad_()
    result = segment_reduce(x, ptr, reduce)  # type: ignore[arg-type]
    cotangent = torch.randn_like(result)
    (grad,) = torch.autograd.grad(result, x, cotangent)
    without_compiler(monkeypatch)
    without = segment_reduce(x, ptr, reduce)  # type: ignore[arg-type]
    assert_close(without, result)
    assert_close(torch.autograd.grad(without, x, cotangent)[0], grad)


def test_values_of_segments_are_given_to_their_rows() -> None:
    ptr = cut("empty first and last")
    x = torch.randn(6, 3)
    assert torch.equal(segment_expand(x, ptr, 20), x.repeat_interleave(ptr.diff(), dim=0))
    with pytest.raises(ValueError, match=r"a row for each of 6 segments, got \(5, 3\)"):
        segment_expand(x[:5], ptr, 20)
    with pytest.raises(ValueError, match="ptr must rise from 0 to the number of rows, 21"):
        segment_expand(x, ptr, 21)


@pytest.mark.parametrize("has_compiler", [True, False])
@pytest.mark.parametrize("ptr", [[1, 5], [0, 4], [0, 6], [0, 3, 2, 5], [0, -1, 5], [0, 2**62, 5]])
def test_boundaries_that_do_not_fit_are_refused(
    ptr: list[int], has_compiler: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not has_compiler:
        without_compiler(monkeypatch)
    for backend in BACKENDS:
        with pytest.raises(ValueError, match="ptr must rise from 0 to the number of rows, 5"):
            segment_reduce(torch.zeros(5, 3), torch.tensor(ptr), backend=backend)  # type: ignore[arg-type]


def test_what_are_no_segments_is_refused() -> None:
    x, ptr = torch.zeros(5, 2), torch.tensor([0, 5])
    with pytest.raises(TypeError, match=r"x must be float32, .* got torch\.int64"):
        segment_reduce(x.long(), ptr)
    with pytest.raises(TypeError, match=r"ptr must be \(S \+ 1,\) int64, got \(2,\) torch\.int32"):
        segment_reduce(x, ptr.int())
    with pytest.raises(ValueError, match=r"reduce must be one of \('sum', .*, got 'median'"):
        segment_reduce(x, ptr, "median")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="backend must be 'auto' or 'reference', got 'fast'"):
        segment_reduce(x, ptr, backend="fast")  # type: ignore[arg-type]


def test_operators_refuse_what_does_not_fit() -> None:
    operators = torch.ops.graphattn
    x, ptr = torch.zeros(5, 2), torch.tensor([0, 5])
    with pytest.raises(ValueError, match="must fit one another"):
        operators.segment_expand(x, ptr, 5, "sum")
    for extreme in (x[:2], x[:1, :1], x[:1].double()):
        with pytest.raises(ValueError, match="must fit one another"):
            operators.segment_extreme_backward(x[:1], x, extreme, ptr)
