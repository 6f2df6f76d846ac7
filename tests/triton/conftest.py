"""Tests of Triton's kernels in its interpreter: a process of their own, and none without Triton."""

import importlib.util
import os
from pathlib import Path

import pytest

if importlib.util.find_spec("triton") is None:
    REASON = "Triton is not installed"
elif os.environ.get("TRITON_INTERPRET") != "1":
    REASON = "TRITON_INTERPRET=1 must be set before Triton is imported: make test-triton"
else:
    REASON = ""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if REASON and Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.skip(reason=REASON))
