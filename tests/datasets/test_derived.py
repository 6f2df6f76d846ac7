"""Results kept in the cache: of which settings, whole or not at all, and read without running."""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch_geometric.data import Data

from graphattn.datasets.derived import derived, pack, unpack


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GRAPHATTN_CACHE", str(tmp_path))
    return tmp_path / "derived"


def counted(calls: list[int]) -> Callable[[], dict[str, Any]]:
    def make() -> dict[str, Any]:
        calls.append(len(calls))
        return {"number": torch.tensor(len(calls))}

    return make


def test_a_result_is_computed_once_for_each_settings(cache: Path) -> None:
    calls: list[int] = []
    numbers = [
        int(derived("things/one", {"version": version}, counted(calls))["number"])
        for version in (1, 1, "1", 2, "1", 1, 2)
    ]
    assert numbers == [1, 1, 2, 3, 2, 1, 3]
    assert len(list(cache.rglob("*.pt"))) == 3


def test_a_file_of_other_settings_is_not_taken(cache: Path) -> None:
    calls: list[int] = []
    derived("one", {"version": 1}, counted(calls))
    derived("one", {"version": 2}, counted(calls))
    first, second = sorted(cache.iterdir(), key=lambda path: path.stat().st_mtime_ns)
    first.write_bytes(second.read_bytes())  # as if both hashes were equal
    assert int(derived("one", {"version": 1}, counted(calls))["number"]) == 3


def test_nothing_is_left_of_what_fails(cache: Path) -> None:
    def failing() -> dict[str, Any]:
        raise ArithmeticError

    def unkept() -> dict[str, Any]:
        return {"function": lambda: None}  # cannot be written

    with pytest.raises(ArithmeticError):
        derived("one", {}, failing)
    with pytest.raises((AttributeError, pickle.PicklingError)):
        derived("one", {}, unkept)
    assert [path for path in cache.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("damage", ["cut off", "emptied", "of another program"])
def test_a_damaged_file_is_named(cache: Path, damage: str) -> None:
    derived("one", {}, lambda: {"number": torch.arange(1000)})
    [path] = cache.iterdir()
    if damage == "of another program":
        torch.save({"weight": torch.zeros(2)}, path)
    else:
        path.write_bytes(path.read_bytes()[: 500 if damage == "cut off" else 0])
    with pytest.raises(ValueError, match=rf"{path} .*delete it, try again"):
        derived("one", {}, lambda: {"number": torch.arange(1000)})


class Attack:
    def __reduce__(self) -> tuple[Callable[[str], Any], tuple[str]]:
        return exec, ("raise SystemExit('code of the file ran')",)


def test_code_in_a_file_does_not_run(cache: Path) -> None:
    derived("one", {}, lambda: {"number": torch.zeros(1)})
    [path] = cache.iterdir()
    torch.save({"settings": {}, "result": Attack()}, path)
    with pytest.raises(ValueError, match="cannot be read"):
        derived("one", {}, lambda: {"number": torch.zeros(1)})


def test_graphs_are_the_same_when_unpacked() -> None:
    graphs = [
        Data(
            x=torch.tensor([[0, 118], [3, 255]]),
            edge_index=torch.tensor([[0, 1], [1, 0]]),
            edge_attr=torch.tensor([-1, 40_000]),
            y=torch.tensor([[float("nan"), 0.5]]),
            smiles="CO",
        ),
        Data(
            x=torch.tensor([[7, 7]]),
            edge_index=torch.empty(2, 0, dtype=torch.int64),
            edge_attr=torch.empty(0, dtype=torch.int64),
            y=torch.tensor([[1.0, 2.0]]),
            smiles="C",
        ),
    ]
    packed = pack(graphs)
    assert packed["x"][0].dtype == torch.uint8
    assert packed["edge_attr"][0].dtype == torch.int32
    for before, after in zip(graphs, unpack(packed), strict=True):
        assert before.keys() == after.keys()
        assert before.smiles == after.smiles
        for key in ("x", "edge_index", "edge_attr", "y"):
            assert after[key].dtype == before[key].dtype
            torch.testing.assert_close(after[key], before[key], rtol=0, atol=0, equal_nan=True)
    assert unpack(pack([])) == []
