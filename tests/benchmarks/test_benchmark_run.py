"""The harness takes turns, refuses unlike contestants, and the whole runs from the command line."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, cast

import pytest

from benchmarks.cases import Case
from benchmarks.harness import Environment, Harness, Worker
from benchmarks.results import read_records

ROOT = Path(__file__).resolve().parents[2]
CASE = Case("a case", "uniform", 10, 30, layers=("GATConv", "TransformerConv"), rounds=2)


class Recorded:
    """Stands for all workers: answers at once, and keeps what it was asked."""

    def __init__(self, checksums: dict[str, float]) -> None:
        self.checksums = checksums
        self.asked: list[tuple[Any, ...]] = []

    def ask(self, do: str, **arguments: Any) -> Any:
        self.asked.append((do, arguments.get("layer"), arguments.get("peer")))
        if do == "prepare":
            return {"checksum": [self.checksums.get(arguments["peer"], 1.0)], "seconds": 0.5}
        return (len(self.asked), 2 * len(self.asked))


def harness(worker: Recorded) -> Harness:
    environment = Environment(sys.executable)
    made = Harness({"main": environment, "dgl": environment}, 1)
    made._workers = {name: cast(Worker, worker) for name in ("main", "dgl")}
    return made


def test_contestants_take_turns_and_a_peer_without_the_layer_sits_out() -> None:
    worker = Recorded({})
    results = harness(worker).measure(CASE, ["ours", "dgl", "pyg-scatter"])
    turns = [asked[1:] for asked in worker.asked if asked[0] == "iterate"]
    once = [("GATConv", "ours"), ("GATConv", "dgl"), ("TransformerConv", "ours")]
    assert turns == [*once, *once]  # torch-scatter is not installed anywhere
    for result in results:
        assert len(result["forward"]) == len(result["training"]) == 2
        assert result["training"] == [2 * seconds for seconds in result["forward"]]
        assert result["peak"] is None


def test_contestants_that_disagree_are_not_timed() -> None:
    worker = Recorded({"dgl": 1.01})
    with pytest.raises(RuntimeError, match="GATConv of dgl must give the results of ours"):
        harness(worker).measure(CASE, ["ours", "dgl"])
    assert not any(asked[0] == "iterate" for asked in worker.asked)


def test_what_goes_wrong_in_a_worker_is_told() -> None:
    with (
        Worker(Environment(sys.executable), 1) as worker,
        pytest.raises(RuntimeError, match=r"(?s)failed at iterate .*KeyError"),
    ):
        worker.ask("iterate", layer="GATConv", peer="nobody")


def test_a_try_of_the_command_line_leaves_records_and_a_page(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.run", "--quick", "--threads", "1"]
    command += ["--cases", "molecules,yardstick,custom"]
    command += ["--peers", "ours,pyg,pyg-sorted,generated,yardstick"]
    done = subprocess.run(
        [*command, "--output", str(tmp_path)], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    records = read_records(tmp_path / "benchmarks" / "records")
    assert records.keys() == {"molecules", "yardstick", "custom"}
    assert records["molecules"].peers() == ["ours", "pyg", "pyg-sorted"]
    for result in records["yardstick"].results:
        assert result["peak"] >= 0
        assert result["training"][0] > result["forward"][0] > 0
    page = (tmp_path / "docs" / "benchmarks.md").read_text()
    for title in ("## Goals", "A fresh batch of 256 molecules", "hand-written", "A score of one"):
        assert title in page
    assert "of a quick try" in page
    text = (tmp_path / "benchmarks" / "records" / "molecules.json").read_text()
    assert str(ROOT) not in text
    assert json.loads(text)["workers"]["main"]["threads"] == 1


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (["--cases", "reference,nothing"], "--cases must be among reference, .*, got nothing"),
        (["--peers", "jax"], "--peers must be among ours, .*, got jax"),
        (["--rounds", "0"], "--rounds must be at least 1, got 0"),
    ],
)
def test_unknown_words_are_refused(
    wrong: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    from benchmarks.run import main

    with pytest.raises(SystemExit):
        main(wrong)
    assert re.search(message, capsys.readouterr().err)
