"""All pairs inside each set: the same as a list of the pairs, without one being made."""

from typing import Any

import numpy
import pytest
import torch
from contract_programs import CASES
from contract_runs import RETURNED, assert_equal, assert_near, is_square, run, threads, wide
from torch import Tensor
from torch.overrides import TorchFunctionMode

from graphattn.attention import EdgeAttention
from graphattn.blocks import Blocks
from graphattn.dropout import drawn_mask
from graphattn.edges import Edges
from graphattn.kernels.philox import philox

QUERIES = torch.tensor([0, 3, 3, 7, 12, 14])  # a set without queries,
KEYS = torch.tensor([0, 4, 6, 6, 13, 14])  # and one without keys
OPTIONS = {"dropout": 0.4, **dict.fromkeys(RETURNED, True)}
WIDTHS = (3, 5)
# Those whose passes differ: fused and in steps, sums of all kinds, matrices, an edge output.
REPRESENTATIVE = [
    *("GATv2", "Transformer", "perceptron", "channel-wise", "message of all ends"),
    *("sink softmax", "ReLU sum", "entmax 1.5", "symmetric degree"),
]


def dot_product(query: Tensor, key: Tensor) -> Tensor:
    return (query * key).sum(-1)


def simple(**options: Any) -> EdgeAttention:
    return EdgeAttention(
        dot_product, lambda value: value, target=["query"], source=["key", "value"], **options
    )


def features(blocks: Blocks) -> dict[str, Tensor]:
    torch.manual_seed(0)
    sizes = {"query": blocks.num_targets, "key": blocks.num_sources, "value": blocks.num_sources}
    return {name: torch.randn(size, *WIDTHS, requires_grad=True) for name, size in sizes.items()}


@pytest.mark.parametrize("options", [{}, OPTIONS], ids=["plain", "with all that is returned"])
@pytest.mark.parametrize("name", REPRESENTATIVE)
def test_programs_give_what_the_definition_gives_on_all_pairs(
    name: str, options: dict[str, Any]
) -> None:
    case = CASES[name]
    blocks = Blocks.from_ptr(QUERIES, QUERIES if is_square(case) else KEYS)
    compiled = case.layer(*WIDTHS, backend="cpp")
    reference = case.layer(*WIDTHS, backend="reference", check=False)
    reference.load_state_dict(compiled.state_dict())
    inputs = case.inputs(blocks, *WIDTHS, torch.float32)
    actual = run(compiled, blocks, inputs, **options)
    expected = run(
        reference.double(), blocks, wide(inputs), cotangent_type=torch.float32, **options
    )
    assert_near(actual, expected, torch.float32)


def test_all_pairs_as_edges_give_the_same() -> None:
    blocks = Blocks.from_ptr(QUERIES, KEYS)
    inputs = features(blocks)
    of_blocks = run(simple(), blocks, inputs, return_weights=True)
    of_edges = run(simple(), blocks.edges(), inputs, return_weights=True)
    assert_near(
        of_blocks, run(simple(), blocks.edges(), inputs, return_weights=True), torch.float32
    )
    assert_equal(of_edges, run(simple(), blocks.edges(), inputs, return_weights=True))


def test_a_set_gives_the_same_alone_and_among_others() -> None:
    blocks = Blocks.from_ptr(QUERIES, KEYS)
    inputs = features(blocks)
    out = simple()(blocks, **inputs)
    for number in range(blocks.num_sets):
        own, keys = (slice(*ptr[number : number + 2].tolist()) for ptr in (QUERIES, KEYS))
        alone = {"query": inputs["query"][own], "key": inputs["key"][keys]}
        alone["value"] = inputs["value"][keys]
        sizes = [torch.tensor([0, len(alone[name])]) for name in ("query", "key")]
        torch.testing.assert_close(simple()(Blocks.from_ptr(*sizes), **alone), out[own])


def test_queries_without_keys_get_zeros_and_gradients_of_zero() -> None:
    blocks = Blocks.from_ptr(QUERIES, KEYS)
    inputs = features(blocks)
    found = run(simple(), blocks, inputs)
    assert not found.results[0][3:7].any()
    assert not found.gradients["query"][3:7].any()
    assert not found.gradients["key"][4:6].any()


@pytest.mark.parametrize("size", [0, 1])
def test_no_sets_and_empty_sets(size: int) -> None:
    blocks = Blocks.from_ptr(torch.zeros(size + 1, dtype=torch.int64))
    assert simple()(blocks, **features(blocks)).shape == (0, *WIDTHS)


def test_the_same_bits_for_any_number_of_threads() -> None:
    blocks = Blocks.from_ptr(torch.tensor([0, 5, 180, 200]), torch.tensor([0, 300, 310, 390]))
    inputs, runs = features(blocks), []
    for number in (1, 2, 3):
        with threads(number):
            runs.append(run(simple(), blocks, inputs, dropout=0.3))
    for other in runs[1:]:
        assert_equal(other, runs[0])


def test_dropout_draws_by_seed_and_drops_the_share_that_it_should() -> None:
    blocks = Blocks.from_ptr(torch.tensor([0, 200]))
    inputs = features(blocks)
    drawn = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        drawn.append(simple()(blocks, **inputs, dropout=0.25, return_dropped=True))
    assert torch.equal(drawn[0][0], drawn[1][0])
    assert not torch.equal(drawn[0][0], drawn[2][0])
    share = float((drawn[0][1] == 0).double().mean())
    assert abs(share - 0.25) < 0.01  # of 80,000 weights; five standard deviations
    everything = simple()(blocks, **inputs, dropout=1.0)
    assert not everything.any()


def test_the_generator_is_the_published_one() -> None:
    # Random123's own test vector for a counter and a key of zeros.
    assert int(philox(0, torch.tensor([0]))) == 0x6627E8D5
    draw = torch.tensor([5, 1 << 31])
    assert abs(float(drawn_mask(draw, (1000, 10)).double().mean()) - 0.5) < 0.02
    with pytest.raises(TypeError, match="counter must be int64"):
        philox(0, torch.tensor([0.0]))
    with pytest.raises(ValueError, match=r"seed must lie in \[0, 2\*\*63\), got -1"):
        philox(-1, torch.tensor([0]))


class LargestSize(TorchFunctionMode):
    """Remembers the most elements that any tensor has which a function of PyTorch returns."""

    def __init__(self) -> None:
        super().__init__()
        self.elements = 0

    def __torch_function__(
        self, function: Any, types: Any, arguments: Any = (), settings: Any = None
    ) -> Any:
        result = function(*arguments, **(settings or {}))
        if isinstance(result, Tensor):
            self.elements = max(self.elements, result.numel())
        return result


def test_nothing_of_the_length_of_the_pairs_is_made() -> None:
    size = 700
    attention, tiny = simple(), Blocks.from_ptr(torch.tensor([0, 1]))
    run(attention, tiny, features(tiny))  # what is recorded is recorded for any number of pairs
    with LargestSize() as seen:
        blocks = Blocks.from_ptr(torch.tensor([0, size]))
        attention(blocks, **features(blocks), dropout=0.2).sum().backward()
    assert 0 < seen.elements < size * size / 10


def test_batches_and_borders_give_the_same_structure() -> None:
    batch = torch.tensor([0, 0, 2, 2, 2, 4])
    blocks = Blocks.from_batch(batch, num_sets=6)
    assert blocks.target_ptr.tolist() == [0, 2, 2, 5, 5, 6, 6]
    assert (blocks.num_sets, blocks.num_edges) == (6, 4 + 9 + 1)
    crossed = Blocks.from_batch(batch, torch.tensor([1, 2, 5]))
    assert (crossed.num_sets, crossed.num_sources, crossed.num_edges) == (6, 3, 3)
    assert Blocks.from_batch(batch[:0]).num_sets == 0
    spread = torch.stack([batch, batch.flip(0)], 1)[:, 0]
    assert Blocks.from_batch(spread).target_ptr.tolist() == [0, 2, 2, 5, 5, 6]
    assert repr(blocks) == "Blocks(6 sets, 6 queries, 6 keys, 14 pairs)"
    pairs = blocks.edges()
    assert isinstance(pairs, Edges)
    assert pairs.target.tolist()[:4] == [0, 0, 1, 1]
    assert pairs.source.tolist()[:4] == [0, 1, 0, 1]


@pytest.mark.parametrize("num_sets", [5, 0])
def test_structures_that_follow_are_those_of_their_borders(num_sets: int) -> None:
    ptrs = [own[: num_sets + 1] for own in (QUERIES, KEYS)]
    blocks = Blocks.from_ptr(*ptrs)
    seeds = torch.arange(num_sets + 1) * 3
    expected = {
        "swapped": (blocks.transposed(), ptrs[::-1]),
        "queries": (blocks.among_targets(), [ptrs[0], ptrs[0]]),
        "seeds": (blocks.seeds(3), [seeds, ptrs[0]]),
        "to seeds": (blocks.transposed().seeds(3).transposed(), [ptrs[1], seeds]),
        "among seeds": (blocks.seeds(3).among_targets(), [seeds, seeds]),
        "seeds of seeds": (blocks.seeds(3).seeds(2), [seeds // 3 * 2, seeds]),
    }
    for name, (found, borders) in expected.items():
        made = Blocks.from_ptr(*borders)
        assert torch.equal(found.target_ptr, made.target_ptr), name
        assert torch.equal(found.source_ptr, made.source_ptr), name
        for key in ("targets", "sources", "edges"):
            assert getattr(found, f"num_{key}") == getattr(made, f"num_{key}"), name
        for key in ("targets", "sources", "pairs"):
            assert getattr(found, f"most_{key}") == getattr(made, f"most_{key}"), name
    assert blocks.most_targets == max(blocks.target_sizes, default=0)
    sizes = zip(blocks.target_sizes, blocks.source_sizes, strict=True)
    assert blocks.most_pairs == max((n * m for n, m in sizes), default=0)
    assert blocks.seeds(3) is blocks.seeds(count=3)
    assert blocks.among_targets() is blocks.among_targets()


def test_numbers_of_seeds_are_whole() -> None:
    blocks = Blocks.from_ptr(torch.tensor([0, 2, 4, 5]))
    for count in (numpy.int8(100), torch.tensor(100)):
        seeds = blocks.seeds(count)
        assert seeds is blocks.seeds(100)
        assert (seeds.num_targets, seeds.num_edges, seeds.most_pairs) == (300, 500, 200)
    for wrong in (100.0, [100]):
        with pytest.raises(TypeError, match="integer"):
            blocks.seeds(wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="count must not be negative, got -1"):
        blocks.seeds(-1)


def test_bad_borders_and_batches_are_named() -> None:
    ptr = torch.tensor([0, 2, 4])
    with pytest.raises(TypeError, match=r"target_ptr must be an int64 tensor, got torch\.int32"):
        Blocks.from_ptr(ptr.int())
    with pytest.raises(ValueError, match=r"target_ptr must be \(S \+ 1,\), got \(1, 3\)"):
        Blocks.from_ptr(ptr[None])
    with pytest.raises(ValueError, match=r"source_ptr must rise from 0, got \[0, 3, 1\]"):
        Blocks.from_ptr(ptr, torch.tensor([0, 3, 1]))
    with pytest.raises(ValueError, match="must have one set each"):
        Blocks.from_ptr(ptr, ptr[:2])
    with pytest.raises(ValueError, match="batch must not be negative nor fall: sort"):
        Blocks.from_batch(torch.tensor([1, 0]))
    with pytest.raises(ValueError, match=r"batch must lie in \[0, num_sets = 2\), got 4"):
        Blocks.from_batch(torch.tensor([0, 4]), num_sets=2)
    with pytest.raises(ValueError, match="num_sets must not be negative, got -3"):
        Blocks.from_batch(ptr[:0], num_sets=-3)
    with pytest.raises(TypeError, match=r"batch must be an int64 tensor, got torch\.float32"):
        Blocks.from_batch(torch.tensor([0.0]))
    with pytest.raises(ValueError, match="query must have one row for each target, 4"):
        simple()(
            Blocks.from_ptr(ptr),
            query=torch.randn(3, 1, 2),
            key=torch.randn(4, 1, 2),
            value=torch.randn(4, 1, 2),
        )
