"""Sequences of numbers and their algorithms: checked against plain Python."""

import statistics

import pytest
import torch
from torch.testing import assert_close

from graphattn.datasets.algorithmic_tasks import ALGORITHMS, number_sequences, spread_positions


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("min", lambda own: [min(own[: place + 1]) for place in range(len(own))]),
        ("sum", lambda own: [sum(own[: place + 1]) for place in range(len(own))]),
        ("median", lambda own: [statistics.median(own[: place + 1]) for place in range(len(own))]),
        ("sort", sorted),
    ],
)
@pytest.mark.parametrize("length", [1, 2, 7, 8])
def test_an_algorithm_does_what_its_name_says(name: str, expected: object, length: int) -> None:
    numbers = torch.randn(30, length, dtype=torch.float64)
    assert_close(
        ALGORITHMS[name](numbers), torch.tensor([*map(expected, numbers.tolist())]).double()
    )


def test_every_sequence_is_drawn_evenly_from_a_range_of_its_own() -> None:
    numbers = number_sequences(4000, 500, bound=3.0, generator=seeded())
    low, high = numbers.aminmax(dim=1)
    assert -3 < float(low.min()) < -2.9
    assert 2.9 < float(high.max()) < 3
    # The smaller and the larger of two even draws from -3 to 3.
    assert_close(
        (low.mean(), high.mean()), (torch.tensor(-1.0), torch.tensor(1.0)), atol=0.08, rtol=0
    )
    placed = (numbers - low[:, None]) / (high - low)[:, None]
    assert_close(placed.mean(), torch.tensor(0.5), atol=0.01, rtol=0)
    assert_close(placed.var(), torch.tensor(1 / 12), atol=0.002, rtol=0)


def test_ranges_within_those_to_train_on_are_left_out_if_asked_for() -> None:
    def within(**outside: float) -> float:
        numbers = number_sequences(4000, 500, bound=4.0, generator=seeded(), **outside)
        return float((numbers.abs().amax(dim=1) < 1.9).float().mean())

    assert abs(within() - (1.9 / 4) ** 2) < 0.03
    # Ends just above 2 may not be met by a draw.
    assert within(outside=2.0) < 0.001


def test_positions_rise_and_all_are_as_likely() -> None:
    positions = spread_positions(5000, 3, 10, generator=seeded())
    assert positions.shape == (5000, 3)
    assert positions.diff(dim=1).min() >= 1
    counts = positions.flatten().bincount(minlength=10)
    assert len(counts) == 10
    assert (counts - 1500).abs().max() < 150
    assert torch.equal(spread_positions(2, 4, 4), torch.arange(4).expand(2, 4))


def test_a_generator_fixes_the_draws() -> None:
    for draw in (
        lambda seed: number_sequences(9, 4, generator=seeded(seed)),
        lambda seed: number_sequences(9, 4, bound=3.0, outside=2.0, generator=seeded(seed)),
        lambda seed: spread_positions(9, 4, 20, generator=seeded(seed)),
    ):
        assert torch.equal(draw(1), draw(1))
        assert not torch.equal(draw(1), draw(2))


@pytest.mark.parametrize("name", ALGORITHMS)
def test_no_sequences_and_sequences_of_no_numbers_are_empty(name: str) -> None:
    for shape in ((0, 5), (3, 0), (0, 0)):
        assert ALGORITHMS[name](number_sequences(*shape)).shape == shape
        assert spread_positions(*shape, 5).shape == shape


def test_bad_sizes_are_named() -> None:
    with pytest.raises(ValueError, match="num_sequences and length must be at least 0, got -1, 5"):
        number_sequences(-1, 5)
    with pytest.raises(ValueError, match=r"bound must be above 0 and outside, got 2.0, 2.0"):
        number_sequences(1, 5, outside=2.0)
    with pytest.raises(ValueError, match="bound must be above 0"):
        number_sequences(1, 5, bound=0.0)
    with pytest.raises(ValueError, match="length from 0 to num_positions = 3, got 2, 4"):
        spread_positions(2, 4, 3)
    for algorithm in ALGORITHMS.values():
        with pytest.raises(ValueError, match=r"numbers must be \(S, N\), got \(5,\)"):
            algorithm(torch.zeros(5))
