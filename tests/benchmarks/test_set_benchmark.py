"""Sets of the benchmarks are what they are said to be, and all contestants compute one thing."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmarks.harness import check_agreement
from benchmarks.peers import MISSING, PEERS
from benchmarks.results import read_records
from benchmarks.sets.cases import BLOCKS, SET_GROUPS, SetCase
from benchmarks.worker import Worker

ROOT = Path(__file__).resolve().parents[2]
CASES = [case for group in SET_GROUPS.values() for case in group]
RAGGED = SET_GROUPS["sets-ragged"][0]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_case_survives_json_and_has_as_many_elements_as_its_sizes_say(case: SetCase) -> None:
    small = SetCase.from_plain(case.small().plain())
    assert small == case.small()
    assert len(small.sizes) == small.num_sets
    assert small.smallest <= int(small.sizes.min()) <= int(small.sizes.max()) <= small.largest
    (inputs,) = small.inputs()
    assert inputs.x[0].shape == (small.num_nodes, small.channels)
    assert inputs.x[0].nbytes == small.num_bytes
    assert torch.equal(inputs.edge_index[0], torch.arange(small.num_nodes))
    assert torch.equal(inputs.edge_index[1].bincount(minlength=small.num_sets), small.sizes)
    assert all(PEERS[peer].build_on_sets for peer in case.peers)


def test_logarithms_of_sizes_are_uniform() -> None:
    # The share of sets below a size is that of its logarithm.
    sizes = SetCase("many", 100_000, 10, 2000, (), ()).sizes
    for part in (0.25, 0.5, 0.75):
        below = sizes < 10 * 200.1**part
        assert float(below.float().mean()) == pytest.approx(part, abs=0.02)
    assert (int(sizes.min()), int(sizes.max())) == (10, 2000)


def test_sets_of_one_size_are_that_and_ragged_ones_reach_both_ends() -> None:
    for case in SET_GROUPS["sets-equal"]:
        assert case.sizes.tolist() == [case.largest] * 64
    assert int(RAGGED.sizes.min()) < 15
    assert int(RAGGED.sizes.max()) > 1800


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors is in prototype")
@pytest.mark.parametrize("layer", BLOCKS)
def test_contestants_on_ragged_sets_compute_one_thing(layer: str, tmp_path: Path) -> None:
    # What is compiled takes too long for a test.
    case, worker = RAGGED.small().plain(), Worker()
    path = str(tmp_path / "weights.pt")
    worker.weights(case, layer, path)
    results = [
        {"layer": layer, "peer": peer, **worker.prepare(case, layer, peer, path)}
        for peer in RAGGED.peers
        if peer != "pyg-compile" and layer not in MISSING.get(peer, ())
    ]
    assert len(results) >= 3
    check_agreement(results)


def test_a_try_of_the_command_line_runs_all_cases_of_sets(tmp_path: Path) -> None:
    peers = ["ours", "pyg", "dense"]
    command = [sys.executable, "-m", "benchmarks.run", "--quick", "--threads", "1"]
    command += ["--cases", ",".join(SET_GROUPS), "--peers", ",".join(peers)]
    done = subprocess.run(
        [*command, "--output", str(tmp_path)], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    records = read_records(tmp_path / "benchmarks" / "records")
    assert records.keys() == SET_GROUPS.keys()
    for group, record in records.items():
        for case in SET_GROUPS[group]:
            assert record.layers(case.name) == list(case.layers)
        for result in record.results:
            assert result["peer"] in peers
            assert result["training"][0] > result["forward"][0] > 0
            assert (result["peak"] is not None) == (group == "sets-ragged")
    page = (tmp_path / "docs" / "benchmarks.md").read_text()
    for text in ("## Sets of unequal size", "## Sets of one size", "| 1,000,000 |", "Goals"):
        assert text in page
