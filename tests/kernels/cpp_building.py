"""What the tests of building share: small C++ texts, fresh processes, compilers of their own."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from graphattn.kernels.cpp import build, compiler

TEAM = """\
extern "C" int team(int num_threads) {
  int count = 0;
#pragma omp parallel num_threads(num_threads) reduction(+ : count)
  count += 1;
  return count;
}
"""
PATIENCE = 60  # seconds until a process counts as hung


def add(number: int) -> str:
    return f'extern "C" long sum(long x) {{ return x + {number}; }}\n'


def use_empty_cache(monkeypatch: pytest.MonkeyPatch, parent: Path) -> Path:
    """Names a folder that does not exist yet to a process that has loaded nothing yet."""
    monkeypatch.setenv("GRAPHATTN_CACHE", str(parent / "cache"))
    forget(monkeypatch)
    return parent / "cache" / "kernels"


def forget(monkeypatch: pytest.MonkeyPatch) -> None:
    """Takes from the process what a new one would not know."""
    monkeypatch.setattr(build, "_loaded", {})


def forbid_compiling(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> None:
        raise AssertionError("the compiler was called")

    monkeypatch.setattr(compiler, "run_compiler", refuse)


def shell_script(path: Path, text: str) -> str:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o700)
    return str(path)


def run_python(code: str, **environment: str) -> str:
    """Runs code in a fresh process and returns what it prints; ends it and its children if late."""
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        printed, complaints = process.communicate(timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        pytest.fail(f"nothing after {PATIENCE} seconds: the process hangs")
    assert process.returncode == 0, complaints
    return printed
