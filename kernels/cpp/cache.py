"""Compiled libraries on disk: one private folder, one file per source, compiler, flags and CPU."""

import atexit
import ctypes
import functools
import hashlib
import os
import platform
import shutil
import stat
import tempfile
from collections.abc import Sequence
from pathlib import Path

from graphattn.kernels.cpp.compiler import Compiler

# A library carries the digest of itself behind its last byte, where loaders do not look: mapping
# one that was cut short kills the process, so it must be found out before.
_DIGEST_BYTES = hashlib.sha256().digest_size


def entry_key(source: str, compiler: Compiler, flags: Sequence[str]) -> str:
    """Names a library: equal keys promise that one may be loaded in place of the other.

    Args:
        source: C++ text.
        compiler: The compiler; its words and version count, since ``-march=native`` depends on it.
        flags: All flags.

    Returns:
        32 hexadecimal digits.
    """
    parts = (source, *compiler.command[1:], compiler.version, *flags, _processor())
    digest = hashlib.sha256()
    for part in parts:
        encoded = part.encode()
        digest.update(len(encoded).to_bytes(8, "little") + encoded)
    return digest.hexdigest()[:32]


def cache_folder() -> Path:
    """The private folder of compiled libraries, made if need be.

    It is ``$GRAPHATTN_CACHE/kernels`` or, without that variable, ``graphattn/kernels`` in the
    user's cache folder (``$XDG_CACHE_HOME``, else ``~/.cache``). If the latter cannot be written,
    a temporary folder takes its place until the process ends.

    Raises:
        PermissionError: If the folder belongs to someone else, others may write into it, or
            ``$GRAPHATTN_CACHE`` cannot be written.
    """
    chosen = os.environ.get("GRAPHATTN_CACHE")
    if chosen:
        folder = Path(chosen).expanduser().absolute() / "kernels"
        if not _make(folder):
            raise PermissionError(
                f"GRAPHATTN_CACHE must name a folder that can be written, got {chosen!r}"
            )
    else:
        folder = _user_cache() / "graphattn" / "kernels"
        if not _make(folder):
            folder = _temporary_folder(os.getpid())
    _check_private(folder)
    return folder


def read_library(path: Path) -> ctypes.CDLL | None:
    """Loads a library of the cache; ``None`` if there is none, or none that is whole and ours."""
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_uid != os.geteuid():
                return None
            content = file.read()
    except OSError:
        return None
    body, digest = content[:-_DIGEST_BYTES], content[-_DIGEST_BYTES:]
    if hashlib.sha256(body).digest() != digest:
        return None
    try:
        return ctypes.CDLL(str(path))
    except OSError:
        return None


def write_library(built: Path, path: Path) -> None:
    """Moves a finished library into the cache, in one step that no reader can see half done."""
    with built.open("r+b") as file:
        digest = hashlib.sha256(file.read()).digest()
        file.write(digest)
        file.flush()
        os.fsync(file.fileno())
    os.replace(built, path)


def write_source(source: str, path: Path) -> None:
    """Keeps the C++ text beside its library, for people and for the compiler."""
    temporary = temporary_file(path)
    try:
        temporary.write_text(source, encoding="utf-8")
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def temporary_file(path: Path) -> Path:
    """A new file beside ``path`` that only this call knows of."""
    handle, name = tempfile.mkstemp(prefix=f"{path.name}.", suffix=".tmp", dir=path.parent)
    os.close(handle)
    return Path(name)


def _user_cache() -> Path:
    configured = os.environ.get("XDG_CACHE_HOME", "")
    # The standard has relative paths ignored. An unknown "~" stays and is found not to be writable.
    return Path(configured if os.path.isabs(configured) else os.path.expanduser("~/.cache"))


def _make(folder: Path) -> bool:
    """Makes the folder, for the user alone; says whether it is there and can be written."""
    if not folder.is_absolute():
        return False
    try:
        os.makedirs(folder, mode=0o700, exist_ok=True)
    except OSError:
        return False
    # What belongs to others is refused by the next check, with a better word than "not writable".
    return folder.stat().st_uid != os.geteuid() or os.access(folder, os.W_OK | os.X_OK)


def _check_private(folder: Path) -> None:
    status = folder.stat()
    if status.st_uid != os.geteuid():
        raise PermissionError(
            f"the folder of compiled kernels must belong to the user who loads from it (id "
            f"{os.geteuid()}), but {folder} belongs to id {status.st_uid}. Give it back with "
            "`chown`, or set GRAPHATTN_CACHE to a folder of your own."
        )
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise PermissionError(
            f"the folder of compiled kernels must be writable by its owner alone, but {folder} has "
            f"mode {stat.S_IMODE(status.st_mode):04o}. If you trust what is in it, run `chmod 700 "
            f"'{folder}'`; else remove it, or set GRAPHATTN_CACHE to another folder."
        )


@functools.cache
def _temporary_folder(process: int) -> Path:
    """A private folder for one process: a forked child must not lose its parent's at exit."""
    folder = Path(tempfile.mkdtemp(prefix="graphattn-"))

    def remove() -> None:
        if os.getpid() == process:
            shutil.rmtree(folder, ignore_errors=True)

    atexit.register(remove)
    return folder


@functools.cache
def _processor() -> str:
    """What decides which machine code runs here: a home may be shared between machines."""
    names = {"model name", "flags", "CPU implementer", "CPU part", "Features"}  # x86, then ARM
    found = [platform.machine()]
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            for line in file:
                if not line.strip():
                    break  # the first core speaks for all: the whole file is slow on large machines
                if line.partition(":")[0].strip() in names:
                    found.append(line.strip())
    except OSError:
        found += [platform.system(), platform.processor()]
    return "\n".join(found)
