"""Sequences of numbers and what an algorithm makes of them: minimum, sum, median, order."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor


def number_sequences(
    num_sequences: int,
    length: int,
    *,
    bound: float = 2.0,
    outside: float | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Draw sequences of numbers, each from a range of its own.

    Both ends of a range are drawn evenly from ``-bound`` to ``bound``, and the numbers of its
    sequence evenly between them.

    Args:
        num_sequences: ``S``; none gives an empty tensor.
        length: ``N``, of every sequence; likewise.
        bound: How far from zero the ends may lie.
        outside: Ranges from ``-outside`` to ``outside``, such as a network was trained on, are
            drawn again; without it, none is.
        generator: Where random numbers come from; without it, from PyTorch's own.

    Returns:
        The numbers, ``(S, N)`` float32, without unit.

    Raises:
        ValueError: If a size is negative, or ``bound`` is not positive, or not above ``outside``.

    Source: the authors' code of Back De Luca et al., "Positional Attention: Expressivity and
        Learnability of Algorithmic Computation", ICML 2025.
    """
    if min(num_sequences, length) < 0:
        raise ValueError(
            f"num_sequences and length must be at least 0, got {num_sequences}, {length}"
        )
    if not bound > max(0.0, outside or 0.0):
        raise ValueError(f"bound must be above 0 and outside, got {bound}, {outside}")
    ends = bound * (2 * torch.rand(num_sequences, 2, generator=generator) - 1)
    while outside is not None and (seen := (ends.abs() <= outside).all(dim=1)).any():
        ends[seen] = bound * (2 * torch.rand(int(seen.sum()), 2, generator=generator) - 1)
    low, high = ends.aminmax(dim=1, keepdim=True)
    return low + (high - low) * torch.rand(num_sequences, length, generator=generator)


def spread_positions(
    num_sequences: int,
    length: int,
    num_positions: int,
    *,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Draw a position for each number of a sequence, in order, out of more than there are numbers.

    A network that is trained on them has met every position when a sequence comes that is longer
    than all it was trained on. A sequence that is as long as can be takes every position.

    Args:
        num_sequences: ``S``; none gives an empty tensor.
        length: ``N``, of every sequence; likewise.
        num_positions: How many there are to choose from.
        generator: Where random numbers come from; without it, from PyTorch's own.

    Returns:
        Positions, ``(S, N)`` int64, rising in every row, from 0 to ``num_positions - 1``.

    Raises:
        ValueError: If a size is negative, or ``length`` is more than ``num_positions``.

    Source: Ruoss et al., "Randomized Positional Encodings Boost Length Generalization of
        Transformers", ACL 2023.
    """
    if num_sequences < 0 or not 0 <= length <= num_positions:
        raise ValueError(
            "num_sequences must be at least 0 and length from 0 to num_positions ="
            f" {num_positions}, got {num_sequences}, {length}"
        )
    order = torch.rand(num_sequences, num_positions, generator=generator).argsort(dim=1)
    return order[:, :length].sort(dim=1).values


def cumulative_minimum(numbers: Tensor) -> Tensor:
    """The smallest number up to each place: of ``(S, N)`` the same, likewise of no numbers."""
    _check(numbers)
    return numbers.cummin(dim=1).values


def cumulative_sum(numbers: Tensor) -> Tensor:
    """The sum of the numbers up to each place: of ``(S, N)`` the same, likewise of no numbers."""
    _check(numbers)
    return numbers.cumsum(dim=1)


def cumulative_median(numbers: Tensor) -> Tensor:
    """The median of the numbers up to each place, halfway between two that are in the middle.

    Args:
        numbers: ``(S, N)``, floating point.

    Returns:
        ``(S, N)``; of no numbers, none.

    Raises:
        ValueError: If ``numbers`` are no matrix.
    """
    _check(numbers)
    place = torch.arange(numbers.shape[1], device=numbers.device)
    later = place > place.unsqueeze(1)  # (N, N)
    up_to = numbers.unsqueeze(1).masked_fill(later, torch.inf).sort(dim=2).values  # (S, N, N)
    middles = torch.stack([place // 2, (place + 1) // 2], dim=1)  # (N, 2)
    return up_to.gather(2, middles.expand(len(numbers), -1, -1)).mean(dim=2)


def ascending(numbers: Tensor) -> Tensor:
    """The numbers in order, smallest first: of ``(S, N)`` the same, likewise of no numbers."""
    _check(numbers)
    return numbers.sort(dim=1).values


ALGORITHMS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "min": cumulative_minimum,
    "sum": cumulative_sum,
    "median": cumulative_median,
    "sort": ascending,
}


def _check(numbers: Tensor) -> None:
    if numbers.ndim != 2:
        raise ValueError(f"numbers must be (S, N), got {tuple(numbers.shape)}")
