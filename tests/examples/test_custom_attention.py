"""The example of a score of one's own finds the width that it promises."""

from collections.abc import Callable
from types import ModuleType

import pytest


def test_the_hidden_width_is_found(
    load_example: Callable[[str], ModuleType], capsys: pytest.CaptureFixture[str]
) -> None:
    custom_attention = load_example("custom_attention")
    width = custom_attention.main([])
    assert width == pytest.approx(custom_attention.HIDDEN_WIDTH, abs=1e-3)
    assert "logits <-" in capsys.readouterr().out
