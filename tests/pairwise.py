"""A small set of cases in which every two values of every two options meet at least once."""

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations, product
from typing import Any

Case = dict[str, Any]
Pair = tuple[str, int, str, int]


def all_pairs(
    options: Mapping[str, Sequence[Any]], allowed: Callable[[Case], bool] = lambda case: True
) -> list[Case]:
    """Greedy all-pairs cover of ``options``.

    Args:
        options: Values of every option, by name.
        allowed: Whether a case, or a part of one, makes sense. It gets dictionaries that hold only
            some of the options, and must then judge by those alone.

    Returns:
        Cases, each with a value for every option. Pairs that ``allowed`` forbids are left out.
    """
    open_pairs = {
        (first, i, second, j)
        for first, second in combinations(options, 2)
        for i, j in product(range(len(options[first])), range(len(options[second])))
        if allowed({first: options[first][i], second: options[second][j]})
    }
    cases: list[Case] = []
    while open_pairs:
        indices = _grow(options, allowed, open_pairs)
        covered = {pair for pair in open_pairs if _is_in(pair, indices)}
        assert covered, f"no allowed case holds {min(open_pairs)}"
        open_pairs -= covered
        cases.append({name: options[name][index] for name, index in indices.items()})
    return cases


def _is_in(pair: Pair, indices: Mapping[str, int]) -> bool:
    first, i, second, j = pair
    return indices.get(first) == i and indices.get(second) == j


def _grow(
    options: Mapping[str, Sequence[Any]], allowed: Callable[[Case], bool], open_pairs: set[Pair]
) -> dict[str, int]:
    """One case: starts from an open pair, then gives each option its most useful value."""
    first, i, second, j = min(open_pairs)
    indices = {first: i, second: j}

    def usefulness(candidate: dict[str, int]) -> int:
        return sum(_is_in(pair, candidate) for pair in open_pairs)

    for name in options:
        if name not in indices:
            candidates = [indices | {name: index} for index in range(len(options[name]))]
            sensible = [
                candidate
                for candidate in candidates
                if allowed({option: options[option][k] for option, k in candidate.items()})
            ]
            indices = max(sensible, key=usefulness)
    return indices
