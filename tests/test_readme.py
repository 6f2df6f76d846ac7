"""The code in the README runs as it stands."""

import re
from pathlib import Path

import pytest

README = Path(__file__).resolve().parents[1] / "README.md"
BLOCKS = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)


@pytest.mark.parametrize("block", BLOCKS)
def test_a_block_of_code_runs(block: str) -> None:
    names: dict[str, object] = {}
    exec(block, names)
    if "out" in names:
        assert names["out"].shape == (4, 8, 16)


def test_there_is_code_to_run() -> None:
    assert len(BLOCKS) == 2
