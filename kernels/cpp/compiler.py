"""The user's C++ compiler: which one, with which flags, and what it says when it fails."""

import functools
import itertools
import os
import shlex
import subprocess
import tempfile
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

# No -ffast-math and none of its kin: loading a library linked with it switches denormals off in the
# whole process. What is here and explicit `omp simd` loops are as fast.
_FLAGS = (
    "-O3",
    "-fno-math-errno",
    "-fno-trapping-math",
    "-ffp-contract=fast",
    "-std=c++17",
    "-shared",
    "-fPIC",
)
_MESSAGE_LINES = 12

_PROBE = """\
#ifdef _OPENMP
#include <omp.h>
#endif
#include <cmath>
extern "C" int count_threads(int num_threads) {
  int count = 0;
#pragma omp parallel num_threads(num_threads) reduction(+ : count)
  count += 1;
  return count;
}
"""


class CompilerNotFoundError(RuntimeError):
    """No C++ compiler could be run."""


class CompilationError(RuntimeError):
    """The C++ compiler refused a source, or what it made cannot be loaded."""


@dataclass(frozen=True)
class Compiler:
    """A C++ compiler that runs.

    Attributes:
        command: Program and leading arguments, such as ``("ccache", "g++")``.
        version: What it answers to ``--version``.
    """

    command: tuple[str, ...]
    version: str


def find_compiler() -> Compiler:
    """The first of ``$CXX``, c++, g++ and clang++ that runs, looked up once per process.

    Raises:
        CompilerNotFoundError: If none of them runs.
    """
    found = _search()
    if found is None:
        raise CompilerNotFoundError(
            "no C++ compiler found: tried $CXX, c++, g++ and clang++. Install one (Debian and "
            "Ubuntu: `apt-get install g++`; Fedora: `dnf install gcc-c++`; macOS: `xcode-select "
            "--install`) or name one in the environment variable CXX. The backend 'reference' "
            "works without."
        )
    return found


@functools.cache
def is_available() -> bool:
    """Whether there is a compiler; warns once if there is none, since all then is slower."""
    try:
        find_compiler()
    except CompilerNotFoundError as error:
        warnings.warn(
            f"attention runs in plain PyTorch, several times slower: {error}", stacklevel=2
        )
        return False
    return True


def preferred_flags(openmp: bool) -> tuple[str, ...]:
    """The flags every compiler is tried with first.

    Args:
        openmp: Whether ``#pragma omp parallel`` makes threads. Without, ``omp simd`` still counts.
    """
    return (*_FLAGS, "-march=native", "-fopenmp" if openmp else "-fopenmp-simd")


@functools.cache
def supported_flags(compiler: Compiler, openmp: bool) -> tuple[str, ...]:
    """The preferred flags less those that the compiler refuses: native code, OpenMP.

    Raises:
        CompilationError: If the compiler cannot build a five-line library with any of them.
    """
    threading = ("-fopenmp", "-fopenmp-simd", "") if openmp else ("-fopenmp-simd", "")
    with tempfile.TemporaryDirectory(prefix="graphattn-") as folder:
        source = Path(folder, "probe.cpp")
        source.write_text(_PROBE)
        for candidate in itertools.product(threading, ("-march=native", "")):
            flags = (*_FLAGS, *(flag for flag in reversed(candidate) if flag))
            refusal = run_compiler(compiler, flags, source, source.with_suffix(".so"))
            if refusal is None:
                return flags
    raise CompilationError(
        f"the C++ compiler {shlex.join(compiler.command)} cannot build the smallest library; it "
        f"says:\n{refusal}\nReinstall it or name another one in the environment variable CXX. The "
        "backend 'reference' works without."
    )


def run_compiler(
    compiler: Compiler, flags: Sequence[str], source: Path, library: Path
) -> str | None:
    """Compiles one file into a shared library.

    Args:
        compiler: The compiler.
        flags: All of its flags.
        source: The C++ file.
        library: Where the shared library is written.

    Returns:
        ``None`` on success, else the first lines of what the compiler said.
    """
    answer = _run([*compiler.command, *flags, str(source), "-o", str(library)])
    if answer.returncode == 0 and library.is_file() and library.stat().st_size > 0:
        return None
    lines = answer.stdout.strip().splitlines()
    if not lines:
        return f"(nothing; exit status {answer.returncode})"
    left_out = (
        [f"({len(lines) - _MESSAGE_LINES} more lines)"] if len(lines) > _MESSAGE_LINES else []
    )
    return "\n".join(lines[:_MESSAGE_LINES] + left_out)


@functools.cache
def _search() -> Compiler | None:
    for command in (shlex.split(os.environ.get("CXX", "")), ["c++"], ["g++"], ["clang++"]):
        if not command:
            continue
        try:
            answer = _run([*command, "--version"])
        except OSError:
            continue  # not installed, or not a program: the next may be
        if answer.returncode == 0:
            return Compiler(tuple(command), answer.stdout)
    return None


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, "LC_ALL": "C"},  # versions are compared, messages are searched for
        encoding="utf-8",
        errors="replace",
        check=False,
    )
