"""The gate for kernels on GPUs: what it reads off compiled code, where that is known."""

import dataclasses
import math
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from inspected_kernels import WRITTEN

from graphattn.kernels.triton.inspect.compilation import TARGETS
from graphattn.kernels.triton.inspect.gate import failures
from graphattn.kernels.triton.inspect.inspection import Inspection
from graphattn.kernels.triton.inspect.instructions import Loop
from graphattn.kernels.triton.inspect.minimum import Minimum
from graphattn.kernels.triton.inspect.prediction import H100, Graph, predicted
from graphattn.kernels.triton.inspect.programs import LAYERS
from graphattn.kernels.triton.module import module

# Compiles what it is sent, in a process where Triton does compile.
COMPILE = """
import pickle, sys
from graphattn.kernels.triton.inspect.inspection import inspected
seen = {}
for name, (kernel, architecture) in pickle.load(sys.stdin.buffer).items():
    try:
        seen[name] = inspected(kernel, architecture)
    except ValueError as error:
        seen[name] = str(error)
open(sys.argv[1], "wb").write(pickle.dumps(seen))
"""
NEEDED = Minimum(gathered={"source": 512}, streamed={"neighbor": 4}, per_row={"out": 512})


def in_a_process_that_compiles(*arguments: str, given: bytes = b"") -> Any:
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    return subprocess.run(
        [sys.executable, *arguments], input=given, env=environment, capture_output=True, check=False
    )


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What is read off the kernels by hand: for sm_90 by name, for others with the architecture."""
    wanted = {name: (written.kernel(), "sm_90") for name, written in WRITTEN.items()}
    for name in ("once", "twice", "spread", "spilling"):
        for architecture in TARGETS:
            if (name, architecture) != ("spilling", "gfx942"):  # whose threads have registers left
                wanted[f"{name} {architecture}"] = (WRITTEN[name].kernel(), architecture)
    path = Path(tmp_path_factory.mktemp("seen"), "seen.pickle")
    done = in_a_process_that_compiles("-c", COMPILE, str(path), given=pickle.dumps(wanted))
    assert done.returncode == 0, done.stderr.decode()
    return dict(pickle.loads(path.read_bytes()))


def test_a_row_that_is_read_once_counts_once(seen: dict[str, Inspection]) -> None:
    one = seen["once"]
    assert one.edges == 16
    assert one.moved == one.requested == {"neighbor": 4, "source": 8 * 16 * 4}
    assert set(one.widths["source"]) == {16}
    assert failures(one, NEEDED, is_forward=True) == []


def test_a_row_that_is_read_in_two_walks_counts_twice(seen: dict[str, Inspection]) -> None:
    assert seen["twice"].moved == {"neighbor": 8, "source": 2 * 8 * 16 * 4}
    assert len(seen["twice"].loops) == 2
    found = failures(seen["twice"], NEEDED, is_forward=True)
    assert found == ["bytes: 1032 for each edge, of which 516 are needed"]
    assert failures(seen["twice"], NEEDED, is_forward=False) == []


def test_a_number_that_is_spread_over_channels_counts_once(seen: dict[str, Inspection]) -> None:
    assert seen["spread"].moved["bias"] == 8 * 4


def test_a_loop_inside_of_that_over_edges_counts_with_its_turns(
    seen: dict[str, Any],
) -> None:
    assert seen["in quarters"].moved["source"] == 2 * 8 * 16 * 4
    assert "must have a fixed number of turns" in seen["of unknown length"]


def test_what_several_warps_read_is_requested_by_each(seen: dict[str, Inspection]) -> None:
    # A tile of 64 elements on 256 threads: all of them read, four times each.
    one = seen["of many warps"]
    assert one.moved == {"neighbor": 4, "source": 32 * 4}
    assert one.requested["source"] == 4 * one.moved["source"]


def test_a_kernel_without_loops_is_one_walk(seen: dict[str, Inspection]) -> None:
    one = seen["flat"]
    assert one.edges == 16
    assert one.moved["source"] == one.moved["out"] == 512
    assert one.moved["ptr"] == 2 * 8 / 16
    assert len(one.loops) == 1
    assert one.rest == 0


def test_narrow_loads_fail(seen: dict[str, Inspection]) -> None:
    assert set(seen["narrow"].widths["source"]) == {4}
    assert failures(seen["narrow"], NEEDED, is_forward=True) == ["no vectors: source by 4 bytes"]


def test_atomics_fail(seen: dict[str, Inspection]) -> None:
    assert seen["atomic"].atomics
    assert failures(seen["atomic"], None, is_forward=False)[0].startswith("atomics: ")


@pytest.mark.parametrize("architecture", ["sm_80", "sm_90", "sm_100"])
def test_spills_fail_on_every_architecture(seen: dict[str, Inspection], architecture: str) -> None:
    used = seen[f"spilling {architecture}"].resources
    assert used.stack > 0
    assert used.local_loads > 0
    assert used.local_stores > 0
    spills, local, *_ = failures(seen[f"spilling {architecture}"], None, is_forward=False)
    assert spills.startswith("spills: ")
    assert local == f"local memory: {used.stack} bytes a thread"
    assert seen[f"once {architecture}"].resources.stack == 0


@pytest.mark.parametrize("architecture", TARGETS)
@pytest.mark.parametrize("name", ["once", "twice", "spread"])
def test_architectures_move_the_same_bytes(
    seen: dict[str, Inspection], name: str, architecture: str
) -> None:
    one = seen[f"{name} {architecture}"]
    assert one.moved == seen[name].moved
    assert one.occupancy is not None
    assert one.widest >= 8


@pytest.mark.parametrize("name", ["once", "by one warp", "of many warps", "twice", "narrow"])
def test_instructions_hold_what_is_accessed(seen: dict[str, Inspection], name: str) -> None:
    # Told apart from what the layouts say: so many bytes of each thread, times the threads.
    one = seen[name]
    turns = 2 if name == "twice" else 1
    of_threads = sum(one.widths["source"]) * 32 * one.kernel.num_warps
    assert of_threads == one.requested["source"] * one.edges >= turns * 64 * 4


@pytest.mark.parametrize("name", ["once", "of many warps", "twice", "spread", "flat"])
def test_the_interpreter_moves_the_same_bytes(
    seen: dict[str, Inspection], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Addresses themselves, on a graph whose tiles are full and whose sources differ.
    assert moved_when_interpreted(name, monkeypatch) == seen[name].moved


def moved_when_interpreted(name: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    from triton.runtime.interpreter import InterpreterBuilder

    written = WRITTEN[name]
    block, heads, channels = written.sizes
    num_rows = 4
    num_edges = num_rows * block * (1 if name == "flat" else 2)
    sizes = (num_edges, heads, channels)
    tensors = {
        "ptr": torch.linspace(0, num_edges, num_rows + 1).long(),
        "neighbor": torch.randperm(num_edges).int(),
        "source": torch.rand(sizes),
        "bias": torch.rand(num_edges, heads),
        "out": torch.zeros(sizes),
    }
    moved: dict[str, float] = {}

    def count(pointers: Any, mask: Any) -> None:
        addresses = np.unique(pointers.data[np.broadcast_to(mask.data, pointers.data.shape)])
        for key, tensor in tensors.items():
            first = tensor.data_ptr()
            inside = (addresses >= first) & (addresses < first + tensor.nbytes)
            size = int(inside.sum()) * tensor.itemsize / num_edges
            moved[key] = moved.get(key, 0) + size

    load, store = InterpreterBuilder.create_masked_load, InterpreterBuilder.create_masked_store

    def counted_load(self: Any, pointers: Any, mask: Any, *rest: Any) -> Any:
        count(pointers, mask)
        return load(self, pointers, mask, *rest)

    def counted_store(self: Any, pointers: Any, value: Any, mask: Any, *rest: Any) -> Any:
        count(pointers, mask)
        return store(self, pointers, value, mask, *rest)

    monkeypatch.setattr(InterpreterBuilder, "create_masked_load", counted_load)
    monkeypatch.setattr(InterpreterBuilder, "create_masked_store", counted_store)
    kernel = written.kernel()
    function = module(kernel.text).kernel
    function[(num_rows,)](*(tensors[key] for key in written.names), **kernel.constants)
    # Outside of the walk is what belongs to a row.
    of_rows = () if name == "flat" else ("ptr", "out")
    return {key: size for key, size in moved.items() if size and key not in of_rows}


def test_a_loop_of_machine_code_is_counted(seen: dict[str, Inspection]) -> None:
    one, alone = seen["once"], seen["by one warp"]
    (loop,), (loop_alone,) = one.loops, alone.loops
    assert loop.loads == len(one.widths["source"]) + len(one.widths["neighbor"])
    assert loop.instructions > loop.loads
    # Edges lie on several warps, which meet to add them up; one warp has no one to wait for.
    assert loop.barriers > 0
    assert loop_alone.barriers == 0
    assert one.rest > 0


def test_a_prediction_is_bytes_over_bandwidth_or_instructions_over_issue(
    seen: dict[str, Inspection],
) -> None:
    graph = Graph(10, 1000)
    degrees = graph._degrees["target"].tolist()
    assert sum(degrees) == 1000
    assert degrees[0] > 2 * degrees[-1]
    tiles = sum(math.ceil(degree / 16) for degree in degrees)
    assert graph.num_tiles("target", 16) == tiles
    one = dataclasses.replace(seen["once"], loops=[Loop(100, 5, 1)], rest=7)
    found = predicted(one, NEEDED, "target", graph, H100)
    assert found.memory == (1000 * 516 + 10 * 512) / 3.35e12
    assert found.issue == pytest.approx((tiles * 100 + 10 * 7) * 4 / (132 * 4 * 1.98e9))
    assert found.seconds == max(found.memory, found.issue)
    with pytest.raises(ValueError, match="must be compiled for sm_90"):
        predicted(seen["once sm_80"], NEEDED, "target", graph, H100)


@pytest.mark.parametrize("size", ["8x16", "8x64"])
def test_the_passes_of_layers_pass_the_gate(size: str) -> None:
    command = f"-m graphattn.kernels.triton.inspect --sizes {size} --dtypes float32"
    done = in_a_process_that_compiles(*command.split())
    lines = done.stdout.decode().splitlines()
    assert done.returncode == 0, done.stdout.decode() + done.stderr.decode()
    rows = [line for line in lines[1:] if line.split()[:1] and line.split()[0] in LAYERS]
    # Three passes each, and for each pass a merge of rows that are cut.
    assert [row.split()[0] for row in rows] == [name for name in LAYERS for _ in range(6)]
    assert all(row.endswith(" ok") for row in rows)
    assert "a prediction, not a timing" in done.stdout.decode()


def test_a_kernel_that_spills_fails_the_command() -> None:
    command = (
        "-m graphattn.kernels.triton.inspect --layers GATv2 --sizes 8x16 --dtypes float32"
        " --passes forward --edges 64 --warps 1 --markdown"
    )
    done = in_a_process_that_compiles(*command.split())
    assert done.returncode == 1, done.stderr.decode()
    head, rule, row = done.stdout.decode().splitlines()[:3]
    assert head.count("|") == rule.count("|") == row.count("|") > 10
    assert "spills: " in row
