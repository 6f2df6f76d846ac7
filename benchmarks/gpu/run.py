"""Runs what the command line asks for, case by case, and leaves a record of each."""

import argparse
import importlib.metadata
import json
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu.bandwidth import measure_passes
from benchmarks.gpu.checks import run_checks
from benchmarks.gpu.interpreted import triton_on_cpu
from benchmarks.gpu.layer_checks import layer_checks
from benchmarks.gpu.machine import Bandwidth, Machine, find_machine
from benchmarks.gpu.page import write_page
from benchmarks.gpu.program_checks import program_checks
from benchmarks.gpu.segment_checks import segment_checks
from benchmarks.gpu.timings import GROUPS, ROUNDS, cases_of, measure
from benchmarks.harness import ROOT
from benchmarks.peers import PEERS
from graphattn.training.records import surroundings

_NAMES = ("checks", "bandwidth", *GROUPS)
_PACKAGES = ("triton", "torch-scatter", "dgl")
_SEEDS = "graphs: 0, 1, ..., one for each batch; weights: 0; cotangent: 1"
_OURS = ("ours", "custom")

Record = dict[str, Any]


def run(arguments: Sequence[str] | None, description: str | None) -> int:
    """Checks, times, and writes records and the page.

    Args:
        arguments: Of the command line; its own if not given.
        description: What the command says of itself.

    Returns:
        The status to exit with.
    """
    given = _given(arguments, description)
    if given.render:
        output = given.output or ROOT
        print(f"wrote {write_page(_records(output), _pages(output))}")
        return 0
    machine = find_machine()
    if machine is None:
        told = "a GPU that PyTorch can use is needed; without one, TRITON_INTERPRET=1 in the"
        print(f"{told} environment gives a try in Triton's interpreter", file=sys.stderr)
        return 2
    given.quick = given.quick or machine.is_interpreted
    given.rounds = given.rounds or (1 if given.quick else ROUNDS)
    with tempfile.TemporaryDirectory() as scratch:
        # A try must not take the place of measurements.
        output = given.output or (Path(scratch) if given.quick else ROOT)
        with triton_on_cpu() if machine.is_interpreted else nullcontext():
            has_failed = _run_cases(machine, given, _records(output))
        page = write_page(_records(output), _pages(output))
        if output == Path(scratch):
            print("a try leaves no files unless --output names a folder")
        else:
            print(f"wrote {page}")
    print("FAILED: see above" if has_failed else "all that ran is as it must be")
    return int(has_failed)


def _given(arguments: Sequence[str] | None, description: str | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--cases", default=",".join(_NAMES), help="by comma; default: all")
    parser.add_argument("--peers", help=f"of {', '.join(PEERS)}, by comma; default: each case's")
    parser.add_argument("--rounds", type=int, help=f"samples of each; default: {ROUNDS}")
    parser.add_argument("--quick", action="store_true", help="a try: tiny sizes, one round")
    parser.add_argument("--render", action="store_true", help="only make the page anew")
    parser.add_argument("--output", type=Path, help="root of the files; default: the checkout")
    given = parser.parse_args(arguments)
    given.cases = given.cases.split(",")
    given.peers = given.peers.split(",") if given.peers else None
    for name, known in (("cases", _NAMES), ("peers", PEERS)):
        if unknown := sorted(set(getattr(given, name) or ()) - set(known)):
            parser.error(f"--{name} must be among {', '.join(known)}, got {', '.join(unknown)}")
    if given.rounds is not None and given.rounds < 1:
        parser.error(f"--rounds must be at least 1, got {given.rounds}")
    return given


def _run_cases(machine: Machine, given: argparse.Namespace, records: Path) -> bool:
    """Whether a check or a layer of ours failed."""
    # Numpy, in which the interpreter computes, warns of what is masked out afterwards.
    warnings.filterwarnings("ignore", ".* encountered in", RuntimeWarning)
    bandwidth = machine.bandwidth()
    _say(f"{machine.name}: {bandwidth}")
    has_failed = False
    for name in given.cases:
        record = _about(name, machine, bandwidth, given)
        if name == "checks":
            outcomes = run_checks(_checks(machine, given.quick), machine, _say)
            record["results"] = [asdict(outcome) for outcome in outcomes]
            has_failed |= any(outcome.status == "FAILED" for outcome in outcomes)
        elif name == "bandwidth":
            record["results"] = measure_passes(machine, bandwidth, given.rounds, _say)
        else:
            for case in cases_of(name, machine, is_quick=given.quick):
                measured = measure(machine, case, given.peers, given.rounds, _say)
                record["results"] += measured.results
                record["failures"] += measured.failures
            has_failed |= any(failure["peer"] in _OURS for failure in record["failures"])
        if not record["results"] and not record["failures"]:
            print(f"{name}: none of the contestants is there or asked for")
            continue
        records.mkdir(parents=True, exist_ok=True)
        part = records / f"{name}.json.part"
        part.write_text(json.dumps(record, indent=1) + "\n")
        part.replace(records / f"{name}.json")
    return has_failed


def _checks(machine: Machine, is_quick: bool) -> Iterator[Any]:
    of_programs = program_checks(machine, is_quick=is_quick)
    of_segments = segment_checks(machine, is_quick=is_quick)
    return chain(of_programs, of_segments, layer_checks(machine))


def _about(name: str, machine: Machine, bandwidth: Bandwidth, given: argparse.Namespace) -> Record:
    command = f"python -m benchmarks.gpu --cases {name} --rounds {given.rounds}"
    command += f" --peers {','.join(given.peers)}" if given.peers else ""
    around = surroundings()
    around["hardware"]["cores"] = os.cpu_count()
    around["versions"] |= _versions()
    about = {"group": name, "command": command, "quick": given.quick, "seeds": _SEEDS, **around}
    about |= {"machine": machine.name, "bandwidth": asdict(bandwidth)}
    return {**about, "failures": [], "results": []}


def _versions() -> dict[str, str]:
    of_torch = {"cuda": torch.version.cuda, "hip": torch.version.hip}
    found = {name: version for name, version in of_torch.items() if version is not None}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _records(output: Path) -> Path:
    return output / "benchmarks" / "records" / "gpu"


def _pages(output: Path) -> Path:
    return output / "docs" / "gpu"


def _say(line: str) -> None:
    print(line, flush=True)
