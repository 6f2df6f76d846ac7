"""Programs of unusual form in C++."""

import pytest
from odd_programs import SCORES, check_message, check_score

# Those that are odd for C++: types that mix, and limits of whole numbers.
ODD = ["whole_numbers_reduced", "whole_numbers_divided", "mixed_types"]


@pytest.mark.parametrize("name", ODD)
def test_scores(name: str) -> None:
    check_score(SCORES[name], "cpp")


def test_a_matrix_that_is_folded() -> None:
    check_message("through_a_folded_matrix", "cpp")
