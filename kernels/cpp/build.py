"""From C++ text to a loaded library, compiled at most once, and the threads it may use."""

import ctypes
import functools
import os
import shlex
import threading
from pathlib import Path

import torch

from graphattn.kernels.cpp import cache, compiler
from graphattn.kernels.cpp.compiler import CompilationError, Compiler

_loaded: dict[tuple[str, bool], ctypes.CDLL] = {}
_locks: dict[tuple[int, str, bool], threading.Lock] = {}

_FORKED_WITHOUT_EXEC = 0x40  # PF_FORKNOEXEC of Linux, in the flags of /proc/self/stat
_FIRST_PROCESS = os.getpid()


def load(source: str, *, openmp: bool = True) -> ctypes.CDLL:
    """The shared library compiled from a C++ text.

    It is compiled once, by the user's own compiler, then remembered in the process and kept in a
    private folder on disk, the text beside it. Threads and processes may ask for the same text at
    the same time. ``<omp.h>`` may be missing: texts that include it ask for ``_OPENMP`` first.

    Args:
        source: C++17 text; functions to be called are ``extern "C"``.
        openmp: Whether ``#pragma omp parallel`` makes threads; ``#pragma omp simd`` always works.
            A compiler without OpenMP builds for one thread.

    Returns:
        The library. Its functions release Python's lock while they run.

    Raises:
        TypeError: If ``source`` is not a string.
        CompilerNotFoundError: If there is no C++ compiler.
        CompilationError: If the compiler refuses the text; says where the text is kept.
        PermissionError: If the folder on disk is not the user's alone.
    """
    if not isinstance(source, str):
        raise TypeError(f"source must be C++ text as str, got {type(source).__name__}")
    found = _loaded.get((source, openmp))
    if found is not None:
        return found
    # Locks are kept by process: one held by another thread during a fork is never released in the
    # child. They are kept by text, so that different texts compile side by side.
    with _locks.setdefault((os.getpid(), source, openmp), threading.Lock()):
        if (source, openmp) not in _loaded:
            _loaded[source, openmp] = _load_or_build(source, openmp)
    return _loaded[source, openmp]


def num_threads() -> int:
    """How many threads a compiled kernel may use now: torch's number, or one in a forked child.

    After a parallel region, the threads of OpenMP are lost in a forked child, and waiting for them
    never ends. Kernels share torch's OpenMP, so any parallel operation of torch counts.
    """
    return 1 if _is_forked(os.getpid()) else torch.get_num_threads()


@functools.cache
def _is_forked(process: int) -> bool:
    # A child may import graphattn for the first time after the fork: then only the system knows.
    if process != _FIRST_PROCESS:
        return True
    try:
        with open("/proc/self/stat", encoding="utf-8", errors="replace") as file:
            # The program's name, in parentheses, may hold anything; flags are the 7th after it.
            flags = int(file.read().rpartition(")")[2].split()[6])
    except OSError:
        return False  # not Linux
    return bool(flags & _FORKED_WITHOUT_EXEC)


def _load_or_build(source: str, openmp: bool) -> ctypes.CDLL:
    found = compiler.find_compiler()
    folder = cache.cache_folder()
    preferred = compiler.preferred_flags(openmp)
    library = cache.read_library(folder / f"{cache.entry_key(source, found, preferred)}.so")
    if library is not None:
        return library
    flags = compiler.supported_flags(found, openmp)
    path = folder / f"{cache.entry_key(source, found, flags)}.so"
    if flags != preferred:
        library = cache.read_library(path)
    return library if library is not None else _build(source, found, flags, path)


def _build(source: str, found: Compiler, flags: tuple[str, ...], path: Path) -> ctypes.CDLL:
    text = path.with_suffix(".cpp")
    cache.write_source(source, text)
    built = cache.temporary_file(path)
    try:
        refusal = compiler.run_compiler(found, flags, text, built)
        if refusal is not None:
            raise CompilationError(
                f"the C++ compiler {shlex.join(found.command)} refused the source kept in {text}; "
                f"it says:\n{refusal}"
            )
        cache.write_library(built, path)
    finally:
        built.unlink(missing_ok=True)
    try:
        return ctypes.CDLL(str(path))
    except OSError as error:
        raise CompilationError(
            f"the library built from {text} cannot be loaded: {error}. If its file system lets "
            "nothing run (noexec), set GRAPHATTN_CACHE to a folder elsewhere."
        ) from error
