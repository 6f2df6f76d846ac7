"""Dot-product attention inside sets: definition, dropout, special numbers, threads, refusals."""

from collections.abc import Iterator

import pytest
import torch
from segments import without_compiler
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck
from torch.nn import functional as F
from torch.testing import assert_close

from graphattn import Blocks
from graphattn.dropout import drawn_mask
from graphattn.kernels.block_attention import block_attention, reference

# Whole tiles of four queries and rests, one vector of keys and several, none, and no queries.
QUERIES, KEYS = [27, 0, 5, 1, 3, 40, 0, 8], [27, 4, 70, 16, 0, 33, 0, 1]
# Heads and widths of keys and values: whole vectors or not.
WIDTHS = {"even": (4, 16, 16), "wide": (1, 64, 80), "odd": (3, 5, 7), "one": (2, 1, 1)}
SEED, QUARTER = 12_345_678_901_234, 1 << 30
DRAW = torch.tensor([SEED, QUARTER])


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def ptr(sizes: list[int]) -> Tensor:
    return torch.tensor([0, *sizes]).cumsum(0)


BORDERS = (ptr(QUERIES), ptr(KEYS))


def inputs(widths: str, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    heads, width, value_width = WIDTHS[widths]
    rows = (sum(QUERIES), width), (sum(KEYS), width), (sum(KEYS), value_width)
    return [torch.randn(n, heads, w, dtype=dtype, requires_grad=True) for n, w in rows]


@pytest.mark.parametrize("threshold", [0, QUARTER], ids=["all", "dropout"])
@pytest.mark.parametrize("widths", WIDTHS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_it_is_the_definition(dtype: torch.dtype, widths: str, threshold: int) -> None:
    given = inputs(widths, dtype)
    out = block_attention(*given, *BORDERS, torch.tensor([SEED, threshold]))
    expected, _ = reference.block_attention(*given, *BORDERS, SEED, threshold)
    cotangent = torch.randn_like(out)
    bound = 1e-5 if dtype == torch.float32 else 1e-13
    assert_close(out, expected, atol=bound, rtol=0.0)
    found = torch.autograd.grad(out, given, cotangent)
    for one, another in zip(found, torch.autograd.grad(expected, given, cotangent), strict=True):
        assert_close(one, another, atol=bound, rtol=bound)


def test_the_definition_is_pytorchs_attention_set_by_set() -> None:
    query, key, value = inputs("even")
    out, _ = reference.block_attention(query, key, value, *BORDERS, 0, 0)
    parts = zip(
        query.split(QUERIES), key.split(KEYS), value.split(KEYS), out.split(QUERIES), strict=True
    )
    for *own, found in parts:
        dense = [x.transpose(0, 1) for x in own]
        expected = F.scaled_dot_product_attention(*dense).transpose(0, 1)
        assert_close(found, expected if len(own[1]) else torch.zeros_like(found))


def test_what_is_dropped_is_what_programs_drop() -> None:
    query, key, _ = inputs("even")
    blocks = Blocks.from_ptr(*BORDERS)
    mask = drawn_mask(DRAW, (blocks.num_edges, 4))
    # Values that name the keys show the weights.
    names = torch.eye(len(key), dtype=key.dtype)[:, None].expand(-1, 4, -1)
    shown = block_attention(query, key, names, *BORDERS, DRAW)
    whole = block_attention(query, key, names, *BORDERS)
    pairs = blocks.target, slice(None), blocks.source
    assert torch.equal(shown[pairs] != 0, mask.bool())
    assert mask.double().mean().item() == pytest.approx(0.75, abs=0.02)
    assert_close(shown[pairs], whole[pairs] * mask / 0.75)


@pytest.mark.parametrize("threshold", [0, QUARTER], ids=["all", "dropout"])
def test_derivatives_of_derivatives(threshold: int) -> None:
    given = inputs("odd")

    def attend(*given: Tensor) -> Tensor:
        return block_attention(*given, *BORDERS, torch.tensor([SEED, threshold]))

    assert gradcheck(attend, given, fast_mode=True)
    assert gradgradcheck(attend, given, fast_mode=True)


@pytest.mark.parametrize("needed", [0, 1, 2])
def test_one_input_may_be_differentiated_alone(needed: int) -> None:
    given = [x.detach() for x in inputs("odd")]
    given[needed].requires_grad_()
    assert gradgradcheck(lambda *x: block_attention(*x, *BORDERS), given, fast_mode=True)


def test_inside_transforms() -> None:
    given = [x.detach() for x in inputs("odd")]
    tangents = tuple(torch.randn_like(x) for x in given)

    def attend(*given: Tensor) -> Tensor:
        return block_attention(*given, *BORDERS, DRAW)

    out, tangent = torch.func.jvp(attend, tuple(given), tangents)
    assert_close(out, attend(*given))
    pulled, pull = torch.func.vjp(attend, *given)
    cotangent = torch.randn_like(out)
    products = [(x * y).sum() for x, y in zip(pull(cotangent), tangents, strict=True)]
    assert_close(torch.stack(products).sum(), (cotangent * tangent).sum())
    assert_close(pulled, out)
    together = torch.vmap(attend)(*(torch.stack([x, 2 * x]) for x in given))
    assert_close(together[1], attend(*(2 * x for x in given)))


def test_several_gradients_at_once() -> None:
    given = inputs("odd")
    out = block_attention(*given, *BORDERS)
    cotangents = torch.randn(3, *out.shape, dtype=out.dtype)
    found = torch.autograd.grad(out, given, cotangents, is_grads_batched=True, retain_graph=True)
    wanted = torch.autograd.grad(out, given, cotangents[1])
    for one, another in zip(found, wanted, strict=True):
        assert_close(one[1], another)


def test_parts_of_a_wider_matrix_and_turned_ones() -> None:
    x = torch.randn(sum(QUERIES), 48, dtype=torch.float64, requires_grad=True)
    parts = [part.unflatten(1, (4, 4)) for part in x.chunk(3, dim=1)]
    turned = [part.transpose(1, 2).contiguous().transpose(1, 2) for part in parts]
    whole = [part.contiguous() for part in parts]
    own = (ptr(QUERIES), ptr(QUERIES))
    expected = block_attention(*whole, *own)
    (wanted,) = torch.autograd.grad(expected.sum(), x)  # a gradient without memory of its own
    for given in (parts, turned):
        out = block_attention(*given, *own)
        assert torch.equal(out, expected)
        assert torch.equal(torch.autograd.grad(out.sum(), x)[0], wanted)


def test_the_bits_are_those_of_a_set_alone_and_of_any_number_of_threads() -> None:
    given, results = inputs("even", torch.float32), []
    for count in (1, 3):
        torch.set_num_threads(count)
        out = block_attention(*given, *BORDERS)
        results.append((out, *torch.autograd.grad(out.square().sum(), given)))
    for one, another in zip(*results, strict=True):
        assert torch.equal(one, another)
    ends = [slice(int(x[5]), int(x[6])) for x in BORDERS]
    own = [x[end] for x, end in zip(given, (ends[0], ends[1], ends[1]), strict=True)]
    alone = block_attention(*own, ptr([QUERIES[5]]), ptr([KEYS[5]]))
    assert torch.equal(alone, results[0][0][ends[0]])


@pytest.mark.parametrize("size", [1e3, 3e4], ids=str)
def test_large_logits(size: float) -> None:
    query, key, value = inputs("even", torch.float32)
    given = [(size * query).detach().requires_grad_(), key, value]
    out = block_attention(*given, *BORDERS)
    doubles = [x.detach().double().requires_grad_() for x in given]
    expected, _ = reference.block_attention(*doubles, *BORDERS, 0, 0)
    assert_close(out.double(), expected, atol=1e-2, rtol=0.0)
    assert all(x.isfinite().all() for x in torch.autograd.grad(out.sum(), given))


def test_nan_and_infinity_stay_in_their_row() -> None:
    query, key, value = (x.detach() for x in inputs("even", torch.float32))
    clean = block_attention(query, key, value, *BORDERS)
    query[0, 0], query[30, 1] = torch.nan, -torch.inf  # of the first set, and of the third
    key[31:101, 1] = key[31:101, 1].abs() + 0.1  # so that all of its logits are -inf
    out = block_attention(query, key, value, *BORDERS)
    assert out[0, 0].isnan().all()
    assert out[30, 1].eq(0).all()  # as of a query that has no keys
    out[0, 0], out[30, 1] = clean[0, 0], clean[30, 1]
    assert_close(out[:27], clean[:27], atol=0.0, rtol=0.0)
    assert out.isfinite().all()


def test_nothing_gives_nothing() -> None:
    none = torch.zeros(1, dtype=torch.int64)
    for rows, heads, width in ((0, 2, 3), (0, 0, 0)):
        given = [torch.ones(rows, heads, width, requires_grad=True) for _ in range(3)]
        out = block_attention(*given, none, none)
        assert out.shape == (rows, heads, width)
        assert all(x.shape == out.shape for x in torch.autograd.grad(out.sum(), given))
    # Without channels all keys are the same.
    query, key, value = torch.ones(2, 1, 0), torch.ones(4, 1, 0), torch.arange(4.0).view(4, 1, 1)
    assert block_attention(query, key, value, ptr([2]), ptr([4])).flatten().tolist() == [1.5, 1.5]


def test_it_runs_without_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    given = inputs("odd")
    expected = block_attention(*given, *BORDERS, DRAW)
    wanted = torch.autograd.grad(expected.sum(), given)
    without_compiler(monkeypatch)
    out = block_attention(*given, *BORDERS, DRAW)
    assert_close(out, expected)
    assert_close(torch.autograd.grad(out.sum(), given), wanted)


def test_the_operator_is_sound() -> None:
    given = [x.detach()[:30].requires_grad_() for x in inputs("odd")]
    own = (ptr([20, 10]), ptr([20, 10]))
    for draw in (None, DRAW):
        torch.library.opcheck(torch.ops.graphattn.block_attention.default, (*given, *own, draw))


def test_bad_input_is_named() -> None:
    query, key, value = (x.detach() for x in inputs("odd"))
    targets, sources = BORDERS
    with pytest.raises(TypeError, match=r"key must be float32 or float64, as query is, got .*16"):
        block_attention(query, key.half(), value, targets, sources)
    with pytest.raises(TypeError, match="query must be float32 or float64"):
        block_attention(query.long(), key, value, targets, sources)
    with pytest.raises(ValueError, match=r"value must be \(rows, H, C\), got \(151, 21\)"):
        block_attention(query, key, value.flatten(1), targets, sources)
    with pytest.raises(ValueError, match=r"must be \(N, H, C\), \(M, H, C\), \(M, H, D\), got"):
        block_attention(query, key[:, :2], value, targets, sources)
    with pytest.raises(ValueError, match=r"must be \(N, H, C\), \(M, H, C\), \(M, H, D\), got"):
        block_attention(query, key, value[1:], targets, sources)
    with pytest.raises(TypeError, match=r"source_ptr must be int64, got torch\.int32"):
        block_attention(query, key, value, targets, sources.int())
    with pytest.raises(ValueError, match=r"one border more than sets, got \(9,\) and \(8,\)"):
        block_attention(query, key, value, targets, sources[1:])
    for wrong in (targets + 1, targets.flip(0), targets * 2):
        with pytest.raises(ValueError, match="must rise from 0 to the number of rows, 84"):
            block_attention(query, key, value, wrong, sources)
    for seed, threshold in ((-1, 0), (0, 1 << 32), (0, -1)):
        with pytest.raises(ValueError, match=f"got {seed} and {threshold}"):
            block_attention(query, key, value, *BORDERS, torch.tensor([seed, threshold]))
    for draw in (torch.zeros(3, dtype=torch.int64), torch.zeros(2)):
        with pytest.raises(ValueError, match=r"draw must be int64 \(2,\), a seed and a threshold"):
            block_attention(query, key, value, *BORDERS, draw)
