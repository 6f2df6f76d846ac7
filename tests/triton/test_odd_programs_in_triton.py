"""Programs of unusual form in Triton."""

import pytest
from odd_programs import MESSAGES, SCORES, check_message, check_score


@pytest.mark.parametrize("name", SCORES)
def test_scores(name: str) -> None:
    check_score(SCORES[name], "triton")


@pytest.mark.parametrize("name", MESSAGES)
def test_messages(name: str) -> None:
    check_message(name, "triton")
