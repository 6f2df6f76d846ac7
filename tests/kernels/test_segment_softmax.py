"""Segment softmax: values, derivatives, bits, special numbers, bad input, the peers' results."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from segments import COLUMNS, CUTS, DTYPES, cut, pieces, small_blocks, without_compiler
from torch import Tensor
from torch.testing import assert_close
from torch_geometric.utils import softmax as pyg_softmax

from graphattn.kernels.cpp import segment_walk
from graphattn.kernels.segment_softmax import segment_softmax

BACKENDS = ("auto", "reference")


@pytest.fixture(autouse=True)
def blocks(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    small_blocks(monkeypatch)
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def by_pieces(logits: Tensor, ptr: Tensor) -> Tensor:
    return torch.cat([logits[:0], *(piece.softmax(0) for piece in pieces(logits, ptr))])


def inputs(name: str, columns: tuple[int, ...], dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    ptr = cut(name)
    return (3 * torch.randn(int(ptr[-1]), *columns)).to(dtype), ptr


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("columns", COLUMNS, ids=str)
@pytest.mark.parametrize("name", CUTS)
def test_each_segment_has_the_softmax_of_torch(
    name: str, columns: tuple[int, ...], backend: str
) -> None:
    logits, ptr = inputs(name, columns, torch.float32)
    weights = segment_softmax(logits, ptr, backend=backend)  # type: ignore[arg-type]
    assert_close(weights, by_pieces(logits.double(), ptr).float())


@pytest.mark.parametrize("columns", [(3,)], ids=str)  # the others with float32, above
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_type_is_computed_in_float32_or_wider(
    dtype: torch.dtype, columns: tuple[int, ...]
) -> None:
    logits, ptr = inputs("long ones", columns, dtype)
    logits.requires_grad_()
    weights = segment_softmax(logits, ptr)
    wide = logits.detach().double().requires_grad_()
    expected = by_pieces(wide, ptr)
    assert weights.dtype == dtype
    assert_close(weights, expected.to(dtype))
    cotangent = torch.randn_like(weights)
    (grad,) = torch.autograd.grad(weights, logits, cotangent)
    (expected_grad,) = torch.autograd.grad(expected, wide, cotangent.double())
    # The derivative starts from weights that were rounded: each is wrong by up to half an eps.
    eps = torch.finfo(dtype).eps
    tolerance = {"atol": eps, "rtol": 4 * eps} if dtype.itemsize == 2 else {}
    assert_close(grad, expected_grad.to(dtype), **tolerance)


@pytest.mark.parametrize("columns", [(), (3,), (2, 1)], ids=str)  # four columns with float32
@pytest.mark.parametrize("name", ["empty first and last", "long ones"])
def test_derivatives_of_first_and_second_order(name: str, columns: tuple[int, ...]) -> None:
    logits, ptr = inputs(name, columns, torch.float64)
    logits.requires_grad_()
    fast = name == "long ones"
    assert torch.autograd.gradcheck(segment_softmax, (logits, ptr), fast_mode=fast)
    assert torch.autograd.gradgradcheck(segment_softmax, (logits, ptr), fast_mode=fast)


@pytest.mark.parametrize("columns", [(), (2, 2), (8,), (19,)], ids=str)
def test_the_bits_are_the_same_for_any_number_of_threads(columns: tuple[int, ...]) -> None:
    ptr = torch.cat([cut("long ones"), cut("long ones")[-1] + torch.arange(1, 300).square()])
    logits = torch.randn(int(ptr[-1]), *columns, requires_grad=True)
    cotangent = torch.randn_like(logits)
    results = []
    for num_threads in (1, 2, 3, 1):
        torch.set_num_threads(num_threads)
        weights = segment_softmax(logits, ptr)
        results.append((weights, *torch.autograd.grad(weights, logits, cotangent)))
    for weights, grad in results[1:]:
        assert torch.equal(weights, results[0][0])
        assert torch.equal(grad, results[0][1])


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("columns", [1, 3, 8])
def test_special_numbers_stay_in_their_segment_and_column(columns: int, backend: str) -> None:
    ptr = cut("long ones")
    for value in (torch.nan, torch.inf, -torch.inf):
        for row in (0, 5, int(ptr[-1]) - 1):
            logits = torch.randn(int(ptr[-1]), columns)
            logits[row, -1] = value
            weights = segment_softmax(logits, ptr, backend=backend)  # type: ignore[arg-type]
            assert_close(weights, by_pieces(logits, ptr), equal_nan=True)


def test_a_block_of_many_rows_is_summed_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segment_walk, "_BLOCK", 1000)
    ptr = torch.tensor([0, 256, 513, 1500, 5000])
    for columns in (1, 3, 8):
        logits = torch.randn(5000, columns)
        assert_close(segment_softmax(logits, ptr), by_pieces(logits.double(), ptr).float())


def test_a_segment_of_minus_infinity_alone_is_that_of_torch() -> None:
    logits, ptr = torch.full((5, 4), -torch.inf), torch.tensor([0, 2, 5])
    logits[4] = 0.0
    assert_close(segment_softmax(logits, ptr), by_pieces(logits, ptr), equal_nan=True)


def test_large_logits_do_not_overflow() -> None:
    logits, ptr = inputs("long ones", (4,), torch.float32)
    assert_close(segment_softmax(logits + 1e4, ptr), by_pieces(logits + 1e4, ptr))
    assert_close(segment_softmax(logits * 1e4, ptr), by_pieces(logits * 1e4, ptr))


def test_rows_need_not_be_contiguous() -> None:
    ptr = torch.tensor([0, 9, 3, 9, 9, 9, 20, 9])[::2]
    assert ptr.tolist() == [0, 3, 9, 20]
    logits = torch.randn(4, 20).T
    assert_close(segment_softmax(logits, ptr), by_pieces(logits, ptr))


@pytest.mark.parametrize("number", [0, 1])
def test_stored_values_of_torch_geometric(number: int, golden_folder: Path) -> None:
    path = golden_folder / "normalisers" / f"segment_softmax_{number}.npz"
    arrays = {name: torch.from_numpy(array) for name, array in _arrays(path).items()}
    index, num_nodes = arrays["in.index"], (10, 15)[number]
    order = index.argsort(stable=True)
    ptr = torch.cat([index.new_zeros(1), index.bincount(minlength=num_nodes).cumsum(0)])
    for dtype in (torch.float32, torch.float64):
        logits = arrays["in.x"].to(dtype)[order].requires_grad_()
        weights = segment_softmax(logits, ptr)
        (grad,) = torch.autograd.grad(weights, logits, arrays["cot.out"].to(dtype)[order])
        assert_close(weights, arrays["out.out"][order].to(dtype))
        assert_close(grad, arrays["grad_in.x"][order].to(dtype))


def _arrays(path: Path) -> dict[str, np.ndarray]:
    with np.load(path) as stored:
        return {name: stored[name] for name in stored.files if name != "cfg"}


def test_equals_the_softmax_of_torch_geometric() -> None:
    logits, ptr = inputs("empty first and last", (4,), torch.float32)
    assert_close(segment_softmax(logits, ptr), pyg_softmax(logits, ptr=ptr))


def test_equals_torch_scatter() -> None:
    torch_scatter = pytest.importorskip("torch_scatter", reason="torch-scatter is not installed")
    logits, ptr = inputs("empty first and last", (4,), torch.float32)
    index = torch.arange(6).repeat_interleave(ptr.diff())
    expected = torch_scatter.scatter_softmax(logits, index, dim=0)
    assert_close(segment_softmax(logits, ptr), expected)


@pytest.mark.parametrize("name", ["nothing", "empty first and last"])
def test_the_operators_are_sound(name: str) -> None:
    logits, ptr = inputs(name, (2, 2), torch.float32)
    operators = torch.ops.graphattn
    torch.library.opcheck(operators.segment_softmax, (logits.requires_grad_(), ptr))
    weights = segment_softmax(logits.detach(), ptr).requires_grad_()
    grad = torch.randn_like(weights, requires_grad=True)
    torch.library.opcheck(operators.segment_softmax_backward, (weights, grad, ptr))


def test_compiles_to_one_graph() -> None:
    logits, ptr = inputs("empty first and last", (4,), torch.float32)
    compiled = torch.compile(segment_softmax, backend="aot_eager", fullgraph=True)
    assert torch.equal(compiled(logits, ptr), segment_softmax(logits, ptr))


def test_without_a_compiler_values_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    logits, ptr = inputs("long ones", (4,), torch.float64)
    logits.requires_grad_()
    weights = segment_softmax(logits, ptr)
    cotangent = torch.randn_like(weights)
    (grad,) = torch.autograd.grad(weights, logits, cotangent)
    without_compiler(monkeypatch)
    weights_without = segment_softmax(logits, ptr)
    assert_close(weights_without, weights)
    assert_close(torch.autograd.grad(weights_without, logits, cotangent)[0], grad)


@pytest.mark.parametrize("has_compiler", [True, False])
@pytest.mark.parametrize("ptr", [[1, 5], [0, 4], [0, 6], [0, 3, 2, 5], [0, -1, 5], [0, 2**62, 5]])
def test_boundaries_that_do_not_fit_are_refused(
    ptr: list[int], has_compiler: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not has_compiler:
        without_compiler(monkeypatch)
    for backend in BACKENDS:
        with pytest.raises(ValueError, match="ptr must rise from 0 to the number of rows, 5"):
            segment_softmax(torch.zeros(5, 3), torch.tensor(ptr), backend=backend)  # type: ignore[arg-type]


def test_what_are_no_segments_is_refused() -> None:
    logits, ptr = torch.zeros(5, 2), torch.tensor([0, 5])
    with pytest.raises(TypeError, match=r"logits must be float32, .* got torch\.int64"):
        segment_softmax(logits.long(), ptr)
    with pytest.raises(TypeError, match="logits must be a tensor, got list"):
        segment_softmax([1.0], ptr)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"ptr must be \(S \+ 1,\) int64, got \(2,\) torch\.int32"):
        segment_softmax(logits, ptr.int())
    with pytest.raises(ValueError, match=r"ptr must be \(S \+ 1,\) int64, got \(0,\)"):
        segment_softmax(logits, ptr[:0])
    with pytest.raises(ValueError, match=r"logits must be \(E, \.\.\.\), got a single number"):
        segment_softmax(torch.tensor(1.0), ptr)
    with pytest.raises(ValueError, match="on one device, got cpu, meta"):
        segment_softmax(logits, ptr.to("meta"))
    with pytest.raises(ValueError, match="backend must be 'auto' or 'reference', got 'fast'"):
        segment_softmax(logits, ptr, backend="fast")  # type: ignore[arg-type]


def test_the_operator_of_the_derivative_refuses_what_does_not_fit() -> None:
    backward = torch.ops.graphattn.segment_softmax_backward
    weights, ptr = torch.zeros(5, 2), torch.tensor([0, 5])
    for arguments in (
        (weights, weights[:4], ptr),
        (weights, weights.double(), ptr),
        (weights, weights, ptr.int()),
        (weights, weights, ptr[:0]),
    ):
        with pytest.raises(ValueError, match="ptr, rows and segments must fit one another, got"):
            backward(*arguments)
