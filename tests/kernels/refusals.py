"""Checks that a function is no edge program, and that the error says where."""

import inspect
import re
from collections.abc import Callable
from typing import Any

import pytest
from edge_programs import captured

from graphattn.kernels.program import CaptureError


def refused(function: Callable[..., Any], *words: str) -> str:
    """Captures, and checks that the error names a line of the function and the words."""
    with pytest.raises(CaptureError) as caught:
        captured(function)
    text = str(caught.value)
    for word in words:
        assert word in text, text
    found = re.search(r"([^/]+\.py):(\d+): ", text)
    assert found is not None, text
    code = inspect.unwrap(function).__code__
    lines = {line for *_, line in code.co_lines() if line is not None}
    assert code.co_filename.endswith(f"/{found[1]}"), text
    assert int(found[2]) in lines, text
    return text
