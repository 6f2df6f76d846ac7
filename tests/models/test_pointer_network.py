"""Pointer networks: they learn to sort, set by set."""

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from graphattn import Blocks
from graphattn.models.pointer_network import PointerNetwork
from graphattn.nn.sets.pointer_attention import chosen

STEPS, SIZES = [2, 1, 0, 0, 3], [4, 1, 2, 0, 5]


def sets(steps: list[int], sizes: list[int]) -> tuple[Tensor, Blocks]:
    borders = [torch.tensor([0, *counts]).cumsum(0) for counts in (steps, sizes)]
    return torch.rand(sum(sizes), 2), Blocks.from_ptr(*borders)


@pytest.mark.parametrize("only_once", [False, True])
def test_a_set_gives_the_same_alone_and_in_any_batch(only_once: bool) -> None:
    network = PointerNetwork(2, 6, only_once)
    x, blocks = sets(STEPS, SIZES)
    choices = network.decode(x, blocks)
    together = network(x, blocks, choices)
    pairs = [steps * size for steps, size in zip(STEPS, SIZES, strict=True)]
    start = 0
    parts = zip(x.split(SIZES), choices.split(STEPS), together.split(pairs), STEPS, strict=True)
    for own, rows, expected, steps in parts:
        _, alone = sets([steps], [len(own)])
        assert_close(network(own, alone, rows - start), expected, atol=1e-6, rtol=1e-5)
        assert torch.equal(network.decode(own, alone), rows - start)
        start += len(own)


def test_each_step_sees_the_choice_before_it() -> None:
    network = PointerNetwork(2, 6)
    torch.nn.init.normal_(network.start)
    x, blocks = sets([3], [4])
    choices = torch.tensor([2, 0, 3])
    elements, state = network.encoder(x[None])
    seen = torch.stack([network.start, x[2], x[0]])
    states, _ = network.decoder(seen[None], state)
    expected = network.pointer(states[0], elements[0], blocks)
    assert_close(network(x, blocks, choices), expected)
    assert not torch.allclose(network(x, blocks, choices.flip(0)), expected)


@pytest.mark.parametrize("only_once", [False, True])
def test_decoding_takes_the_most_probable_element_of_every_step(only_once: bool) -> None:
    network = PointerNetwork(2, 6, only_once)
    with torch.no_grad():
        network.pointer.attention.mul_(20)
    x, blocks = sets([5, 0, 3], [5, 0, 4])
    choices = network.decode(x, blocks)
    log_probability = network(x, blocks, choices)
    rows = log_probability.split(blocks.by_target.ptr.diff().tolist())
    best = torch.stack([row.argmax() for row in rows]) + blocks.by_target.neighbor
    assert torch.equal(choices, best)
    if only_once:
        assert sorted(choices[:5].tolist()) == [0, 1, 2, 3, 4]
        assert len(choices[5:].unique()) == 3
        assert [int(row.isinf().sum()) for row in rows] == [0, 1, 2, 3, 4, 0, 1, 2]


def test_probabilities_of_a_step_do_not_see_later_choices() -> None:
    network = PointerNetwork(2, 6, only_once=True)
    x, blocks = sets([4], [4])
    first = network(x, blocks, torch.tensor([2, 0, 1, 3]))
    second = network(x, blocks, torch.tensor([2, 0, 3, 1]))
    assert_close(first[:12], second[:12])
    assert not torch.allclose(first[12:], second[12:])


def test_it_learns_to_sort_sets_of_several_sizes() -> None:
    network = PointerNetwork(1, 24, only_once=True)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    sizes = torch.randint(2, 6, (64,)).tolist()

    def problem() -> tuple[Tensor, Blocks, Tensor]:
        _, blocks = sets(sizes, sizes)
        x = torch.rand(sum(sizes), 1)
        order = [part.flatten().argsort() for part in x.split(sizes)]
        starts = blocks.source_ptr[:-1].unbind()
        choices = torch.cat([own + start for own, start in zip(order, starts, strict=True)])
        return x, blocks, choices

    for _ in range(200):
        x, blocks, choices = problem()
        loss = -chosen(network(x, blocks, choices), choices, blocks).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    x, blocks, choices = problem()
    right = (network.decode(x, blocks) == choices).float().mean()
    assert right > 0.85  # by chance: 0.35


@pytest.mark.parametrize("only_once", [False, True])
def test_nan_stays_in_its_set_where_rows_are_chosen_all_the_same(only_once: bool) -> None:
    network = PointerNetwork(2, 6, only_once)
    x, blocks = sets(STEPS, SIZES)
    expected = network.decode(x, blocks)
    x[1] = torch.nan
    found = network.decode(x, blocks)
    assert torch.equal(found[2:], expected[2:])
    assert ((found[:2] >= 0) & (found[:2] < SIZES[0])).all()
    assert not only_once or found[0] != found[1]


def test_bad_input_is_named() -> None:
    network = PointerNetwork(2, 6, only_once=True)
    x, blocks = sets([3], [2])
    with pytest.raises(ValueError, match="blocks must have elements to choose, got 2 for 3"):
        network.decode(x, blocks)
    with pytest.raises(ValueError, match="blocks must have elements to choose, got 0 for 1"):
        PointerNetwork(2, 6).decode(x[:0], sets([1], [0])[1])
    with pytest.raises(TypeError, match=r"blocks must be a graphattn\.Blocks, got int"):
        network(x, 3, torch.zeros(2).long())
    with pytest.raises(ValueError, match=r"x must be \(2, 2\), got \(2, 1\)"):
        network(x[:, :1], sets([1], [2])[1], torch.zeros(1).long())
