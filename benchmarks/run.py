"""Times the layers against their peers, keeps every sample, and makes docs/benchmarks.md of them.

    python -m benchmarks.run                                  # everything, in about half an hour
    python -m benchmarks.run --cases reference,cora --peers ours,pyg --rounds 5
    python -m benchmarks.run --render                         # the page anew, from the records

Peers that need other packages take part when they are shown to it:

    pip install --no-build-isolation --no-deps --target FOLDER torch-scatter
    sh benchmarks/dgl_environment.sh OTHER
    python -m benchmarks.run --scatter FOLDER --dgl OTHER/bin/python

Contestants take turns, A B C A B C, in processes that wait for one another; each group of cases
leaves one file in benchmarks/records/.
"""

import argparse
import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks import training
from benchmarks.cases import GROUPS, Case
from benchmarks.crystals.measure import measure as measure_crystals
from benchmarks.harness import ROOT, Harness, environments
from benchmarks.molecules.measure import measure as measure_molecules
from benchmarks.peers import PEERS
from benchmarks.report import write_report
from benchmarks.sets.cases import SET_GROUPS, SetCase
from graphattn.training.records import surroundings

TRAINING = "training"
IN_THIS_PROCESS = {"crystals": measure_crystals, "molecule-training": measure_molecules}
CASES: dict[str, tuple[Case | SetCase, ...]] = {**GROUPS, **SET_GROUPS}
NAMES = (*CASES, TRAINING, *IN_THIS_PROCESS)
SEEDS = (
    "graphs, sets and crystals: 0, 1, ..., one for each batch; order of molecules: 0; weights: 0;"
    " cotangent: 1"
)


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", default=",".join(NAMES), help="groups, by comma; default: all")
    parser.add_argument("--peers", help=f"of {', '.join(PEERS)}, by comma; default: each case's")
    parser.add_argument("--rounds", type=int, help="iterations; default: each case's")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--scatter", type=Path, help="folder with torch-scatter in it")
    parser.add_argument("--dgl", type=Path, help="Python of an environment with DGL")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, one round, to a try")
    parser.add_argument("--render", action="store_true", help="only make the page anew")
    parser.add_argument("--output", type=Path, help="root of the files; default: the checkout")
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures, and writes records and the page."""
    made = parser()
    given = made.parse_args(arguments)
    groups, peers = given.cases.split(","), given.peers.split(",") if given.peers else None
    for name, wanted, known in (("--cases", groups, NAMES), ("--peers", peers or [], PEERS)):
        if unknown := sorted(set(wanted) - set(known)):
            made.error(f"{name} must be among {', '.join(known)}, got {', '.join(unknown)}")
    if given.rounds is not None and given.rounds < 1:
        made.error(f"--rounds must be at least 1, got {given.rounds}")
    with tempfile.TemporaryDirectory() as scratch:
        # A try must not take the place of measurements.
        output = given.output or (Path(scratch) if given.quick else ROOT)
        records = output / "benchmarks" / "records"
        for group in () if given.render else groups:
            record = measure(group, peers, given)
            if not record["results"]:
                print(f"{group}: none of the contestants is there or asked for")
                continue
            records.mkdir(parents=True, exist_ok=True)
            part = records / f"{group}.json.part"
            part.write_text(json.dumps(record, indent=1, allow_nan=False) + "\n")
            part.replace(records / f"{group}.json")
        write_report(records, output / "docs")
        if output == Path(scratch):
            print("all works; a try leaves no files unless --output names a folder")
        else:
            print(f"wrote {output / 'docs' / 'benchmarks.md'}")


def measure(group: str, peers: Sequence[str] | None, given: argparse.Namespace) -> dict[str, Any]:
    """The record of one group of cases."""
    command = f"python -m benchmarks.run --cases {group}"
    command += "".join(
        f" --{name} {value}"
        for name in ("peers", "rounds", "threads")
        if (value := getattr(given, name)) is not None
    )
    rounds = 1 if given.quick else given.rounds
    results: list[dict[str, Any]] = []
    around = surroundings()
    workers: dict[str, Any] = {}
    if group == TRAINING:
        torch.set_num_threads(given.threads)
        results += training.measure(rounds or training.ROUNDS, _say)
    elif group in IN_THIS_PROCESS:
        torch.set_num_threads(given.threads)
        results += IN_THIS_PROCESS[group](rounds, given.threads, given.quick, _say)
    else:
        with Harness(environments(given.scatter, given.dgl), given.threads) as harness:
            for case in CASES[group]:
                case = case.small() if given.quick else case
                run = harness.first_calls if group == "compile" else harness.measure
                results += run(case, peers, rounds, _say)
            workers = harness.describe()
    around["hardware"] |= {"threads": given.threads, "cores": os.cpu_count()}
    start = {"group": group, "command": command, "quick": given.quick, "seeds": SEEDS}
    return {**start, **around, "workers": workers, "results": results}


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    main()
