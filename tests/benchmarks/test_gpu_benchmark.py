"""The benchmark for GPUs runs end to end in Triton's interpreter, and tells what fails."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from benchmarks.cases import Case
from benchmarks.gpu.checks import Check, CheckError, compare, compare_bits, run_checks
from benchmarks.gpu.machine import Bandwidth, Interpreter
from benchmarks.gpu.timings import GROUPS, measure
from benchmarks.peers import PEERS, Peer
from benchmarks.peers import pyg as peers_pyg
from benchmarks.peers.contestant import Contestant
from benchmarks.results import read_records

ROOT = Path(__file__).resolve().parents[2]
CASE = Case("a case", "uniform", 10, 30, in_channels=8, layers=("GATConv",), heads=2, channels=4)


def command_line(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    pytest.importorskip("triton")
    return subprocess.run(
        [sys.executable, "-m", "benchmarks.gpu", *arguments],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", **variables},
        capture_output=True,
        text=True,
    )


def test_a_try_checks_and_times_and_writes_everything(tmp_path: Path) -> None:
    done = command_line("--output", str(tmp_path), TRITON_INTERPRET="1")
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr
    folder = tmp_path / "benchmarks" / "records" / "gpu"
    records = read_records(folder)
    assert records.keys() == {"checks", "bandwidth", *GROUPS}
    checks = records.pop("checks").results
    found = {check["name"]: check["status"] for check in checks}
    assert len(found) == len(checks) > 60
    assert {check["found"] for check in checks if check["status"] == "skipped"} == {"needs a GPU"}
    for name in ("GATv2, bfloat16", "entmax, alpha 1.5, float16", "GATv2Conv against PyG's"):
        assert [status for own, status in found.items() if own.startswith(name)], name
    assert found["GATv2Conv takes Triton's kernels"] == "ok"
    passes = records.pop("bandwidth").results
    assert len(passes) == 3 * 2 * 3  # layers, element types, passes
    for result in passes:
        assert result["bytes"] > 0
        assert result["seconds"][0] > 0
    for group, record in records.items():
        assert record.about["failures"] == []
        assert "ours" in record.peers(), group
        for result in record.results:
            assert result["training"][0] > result["forward"][0] > 0
    page = (tmp_path / "docs" / "gpu" / "benchmarks.md").read_text()
    for text in ("## Checks", "## Bandwidth", "A large graph", "in bfloat16", "of a quick try"):
        assert text in page
    assert "| GATv2Conv | " in page
    assert str(ROOT) not in "".join(path.read_text() for path in folder.iterdir())


def test_without_a_gpu_it_says_what_is_needed() -> None:
    done = command_line(TRITON_INTERPRET="0", CUDA_VISIBLE_DEVICES="", HIP_VISIBLE_DEVICES="")
    assert done.returncode == 2
    assert "a GPU that PyTorch can use is needed" in done.stderr
    assert "TRITON_INTERPRET=1" in done.stderr


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (["--cases", "checks,nothing"], "--cases must be among checks, .*, got nothing"),
        (["--peers", "jax"], "--peers must be among ours, .*, got jax"),
        (["--rounds", "0"], "--rounds must be at least 1, got 0"),
    ],
)
def test_unknown_words_are_refused(
    wrong: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("triton")
    from benchmarks.gpu.__main__ import main

    with pytest.raises(SystemExit):
        main(wrong)
    assert re.search(message, capsys.readouterr().err)


def test_what_is_missing_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from benchmarks.gpu import __main__ as command

    monkeypatch.setattr(command, "_NEEDED", ("torch", "a_package_that_is_not_there"))
    assert command.main([]) == 2
    assert "a_package_that_is_not_there must be installed" in capsys.readouterr().err


def test_a_check_that_fails_is_told_and_the_next_one_runs() -> None:
    def differs() -> str:
        raise CheckError("off by 7")

    def breaks() -> str:
        raise ZeroDivisionError("nothing\nto divide by")

    checks = [Check("one", differs), Check("two", breaks), Check("three", lambda: "as it must be")]
    said: list[str] = []
    outcomes = run_checks(checks, Interpreter(), said.append)
    assert [outcome.status for outcome in outcomes] == ["FAILED", "FAILED", "ok"]
    assert outcomes[0].found == "off by 7"
    assert outcomes[1].found == "ZeroDivisionError: nothing to divide by"
    assert "in breaks" in outcomes[1].trace
    assert any("FAILED" in line and "off by 7" in line for line in said)


@pytest.mark.parametrize(
    ("actual", "message"),
    [
        ({"x": torch.tensor([1.0, 2.1])}, "x is off by 1.0e-01"),
        ({"x": torch.tensor([1.0, torch.nan])}, "x differs in where it is NaN, 1 times"),
        ({"x": torch.tensor([1.0, 2.0]).half()}, "x is torch.float16"),
        ({"x": torch.tensor([1.0])}, "must be"),
        ({"y": torch.tensor([1.0, 2.0])}, "gives y and must give x"),
    ],
)
def test_what_differs_is_no_match(actual: dict[str, Tensor], message: str) -> None:
    expected = {"x": torch.tensor([1.0, 2.0], dtype=torch.float64)}
    with pytest.raises(CheckError, match=message):
        compare(actual, expected, torch.float32)


def test_what_is_near_matches_but_not_to_the_bit() -> None:
    near, expected = torch.tensor([1.0, 2.00001]), torch.tensor([1.0, 2.0])
    found = compare({"x": near}, {"x": expected.double()}, torch.float32)
    assert found.startswith("x off by 1.0e-05")
    with pytest.raises(CheckError, match="x differs in 1 of 2 numbers"):
        compare_bits({"x": near}, {"x": expected})


def wrong(layer: str, case: Case, weights: dict[str, Tensor]) -> Contestant:
    """A peer that gives twice what it must."""
    right = peers_pyg.eager(layer, case, weights)
    return Contestant(right.parameters, right.prepare, lambda *given: 2 * right.call(*given))


def test_who_fails_or_differs_is_left_out_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PEERS, "pyg-sorted", Peer("", "main", f"{__name__}:wrong"))
    monkeypatch.setitem(PEERS, "pyg-compile", Peer("", "main", "a_module_that_is_not_there:f"))
    said: list[str] = []
    peers = ["pyg", "pyg-sorted", "pyg-compile"]
    measured = measure(Interpreter(), CASE, peers, 3, said.append)
    assert [result["peer"] for result in measured.results] == ["pyg"]
    assert [len(measured.results[0][what]) for what in ("forward", "training")] == [3, 3]
    errors = {failure["peer"]: failure["error"] for failure in measured.failures}
    assert errors.keys() == {"pyg-sorted", "pyg-compile"}
    assert "GATConv of pyg-sorted must give the results of pyg" in errors["pyg-sorted"]
    assert "ModuleNotFoundError" in errors["pyg-compile"]


def test_shares_are_of_the_larger_bandwidth() -> None:
    assert Bandwidth(3e12, 2e12).peak == 3e12
    assert "3,000 GB/s by memory clock" in str(Bandwidth(3e12, 2e12))
    assert Bandwidth(1e12, 2e12).peak == 2e12  # a clock that cannot be right
    assert str(Bandwidth(None, 2e12)) == "2,000 GB/s of a copy measured here"
