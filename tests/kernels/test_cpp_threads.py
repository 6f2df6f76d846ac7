"""Compiled libraries in processes that have threads, fork, or compute with denormals."""

import sys
import threading
from pathlib import Path

import pytest
import torch
from cpp_building import TEAM, add, run_python, use_empty_cache

from graphattn.kernels.cpp import compiler
from graphattn.kernels.cpp.build import load, num_threads


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    return use_empty_cache(monkeypatch, tmp_path)


def test_without_openmp_there_is_one_thread() -> None:
    assert load(TEAM).team(2) == 2
    assert load(TEAM, openmp=False).team(2) == 1


def test_the_number_of_threads_is_that_of_torch() -> None:
    before = torch.get_num_threads()
    try:
        for number in (1, 3):
            torch.set_num_threads(number)
            assert num_threads() == number
    finally:
        torch.set_num_threads(before)


FORK = """
import os, torch
from graphattn.kernels.cpp.build import load, num_threads
torch.set_num_threads(2)
BEFORE
child = os.fork()
if child == 0:
    os._exit(10 * num_threads() + load(TEAM).team(num_threads()))
print(num_threads(), os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.parametrize(
    "before",
    [
        "assert load(TEAM).team(num_threads()) == 2",
        "torch.ones(2_000_000).exp()",  # the child is the first to load anything
    ],
    ids=["after_a_kernel", "after_torch"],
)
def test_a_forked_child_does_not_hang(before: str) -> None:
    code = FORK.replace("BEFORE", before).replace("TEAM", repr(TEAM))
    assert run_python(code).split() == ["2", "11"]


# Small tensors, of which PyTorch's own operations need no second thread: with one, they hang.
ATTENTION_AND_FORK = """
import os, torch
from graphattn import EdgeAttention, Edges
torch.set_num_threads(2)
edges = Edges.from_edge_index(torch.randint(500, (2, 20_000)), 500)
attention = EdgeAttention(
    lambda query, key: (query * key).sum(-1), lambda value: value,
    target=["query"], source=["key", "value"], backend="cpp",
)
inputs = {name: torch.randn(500, 2, 4).requires_grad_() for name in ("query", "key", "value")}
def step():
    total = attention(edges, **inputs).square().sum()
    return torch.autograd.grad(total, list(inputs.values()))
expected = step()
child = os.fork()
if child == 0:
    os._exit(7 if all(map(torch.equal, step(), expected)) else 8)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_a_child_forked_after_an_attention_gives_the_same_bits() -> None:
    assert run_python(ATTENTION_AND_FORK).split() == ["7"]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells")
def test_a_child_that_imports_the_library_after_the_fork_knows_that_it_is_one() -> None:
    code = (
        "import os, torch\n"
        "torch.set_num_threads(2)\n"
        "torch.ones(2_000_000).exp()\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    from graphattn.kernels.cpp.build import num_threads\n"
        "    os._exit(num_threads())\n"
        "print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))\n"
    )
    assert run_python(code).split() == ["1"]


def test_loading_a_library_leaves_denormals_alive() -> None:
    code = (
        "import torch, ctypes\n"
        "from graphattn.kernels.cpp.build import load\n"
        f"print(load({TEAM!r}).team(2))\n"
        "print((torch.tensor([1e-40]) * 0.5).item() > 0)\n"
        "print((torch.full((100_000,), 5e-324, dtype=torch.float64) * 1.0).min().item() > 0)\n"
        "print(float('5e-324') * 1.0 > 0)\n"
    )
    assert run_python(code).split() == ["2", "True", "True", "True"]


def test_two_threads_compile_the_same_text_once(monkeypatch: pytest.MonkeyPatch) -> None:
    compiler.supported_flags(compiler.find_compiler(), True)
    calls, run = [], compiler.run_compiler

    def count(*arguments: object) -> str | None:
        calls.append(arguments)
        return run(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(compiler, "run_compiler", count)
    start, found = threading.Barrier(2), []

    def work() -> None:
        start.wait()
        found.append(load(add(1)))

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(calls) == 1
    assert found[0] is found[1]
