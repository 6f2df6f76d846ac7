"""Kernels for GPUs run on the CPU, in Triton's interpreter: ``TRITON_INTERPRET=1 pytest``."""

import importlib.util
import os
from pathlib import Path

import pytest

HERE = Path(__file__).parent
# Numpy computes the lanes beyond the last row or column, too, which nobody reads.
MASKED = "ignore:.* encountered in:RuntimeWarning:triton.runtime.interpreter"

if importlib.util.find_spec("triton") is None:
    collect_ignore_glob = ["test_*.py"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    interprets = os.environ.get("TRITON_INTERPRET") == "1"
    for item in items:
        if HERE not in item.path.parents:
            continue
        item.add_marker(pytest.mark.filterwarnings(MASKED))
        if not interprets:
            item.add_marker(pytest.mark.skip("runs in Triton's interpreter: TRITON_INTERPRET=1"))
