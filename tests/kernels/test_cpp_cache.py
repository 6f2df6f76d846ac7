"""Compiled libraries are kept safely on disk and survive what users do to them."""

import ctypes
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from cpp_building import (
    PATIENCE,
    TEAM,
    add,
    forbid_compiling,
    forget,
    run_python,
    shell_script,
    use_empty_cache,
)

from graphattn.kernels.cpp import cache, compiler
from graphattn.kernels.cpp.build import load


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    return use_empty_cache(monkeypatch, tmp_path)


def test_the_folder_is_private_and_keeps_the_text_beside_the_library(folder: Path) -> None:
    load(add(1))
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    (text,), (library,) = folder.glob("*.cpp"), folder.glob("*.so")
    assert text.read_text() == add(1)
    assert text.stem == library.stem
    assert len(list(folder.iterdir())) == 2


def test_text_flags_compiler_and_processor_tell_libraries_apart(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    known = compiler.Compiler(("c++",), "version 12")
    keys = {
        cache.entry_key("text", known, ["-O3"]),
        cache.entry_key("text ", known, ["-O3"]),
        cache.entry_key("text", known, ["-O3", "-fopenmp"]),
        cache.entry_key("text", compiler.Compiler(("c++",), "version 13"), ["-O3"]),
        cache.entry_key("text", compiler.Compiler(("c++", "-m32"), "version 12"), ["-O3"]),
    }
    monkeypatch.setattr(cache, "_processor", lambda: "another machine of the same home")
    keys.add(cache.entry_key("text", known, ["-O3"]))
    assert len(keys) == 6


def test_what_is_on_disk_is_not_compiled_again(monkeypatch: pytest.MonkeyPatch) -> None:
    load(add(1))
    forget(monkeypatch)
    forbid_compiling(monkeypatch)
    assert load(add(1)).sum(ctypes.c_long(1)) == 2


@pytest.mark.parametrize("mode", [0o770, 0o702])
def test_a_folder_that_others_may_write_into_is_refused(folder: Path, mode: int) -> None:
    folder.mkdir(parents=True)
    folder.chmod(mode)
    with pytest.raises(PermissionError, match=rf"mode {mode:04o}.*chmod 700"):
        load(add(1))


def test_a_folder_of_someone_else_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.mkdir(parents=True, mode=0o700)
    monkeypatch.setattr(os, "geteuid", lambda: folder.stat().st_uid + 1)
    with pytest.raises(PermissionError, match=r"belongs to id \d+.*GRAPHATTN_CACHE"):
        load(add(1))


def test_a_library_of_someone_else_is_not_loaded(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load(add(1))
    (library,) = folder.glob("*.so")
    assert cache.read_library(library) is not None
    monkeypatch.setattr(os, "geteuid", lambda: library.stat().st_uid + 1)
    assert cache.read_library(library) is None


def test_a_named_folder_that_cannot_be_written_is_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("GRAPHATTN_CACHE", "/dev/null/here")
    with pytest.raises(
        PermissionError, match=r"GRAPHATTN_CACHE must name a folder .*/dev/null/here"
    ):
        load(add(1))


def test_the_cache_of_the_user_is_the_default(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("GRAPHATTN_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache.cache_folder() == tmp_path / "home" / ".cache" / "graphattn" / "kernels"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache.cache_folder() == tmp_path / "xdg" / "graphattn" / "kernels"


def test_a_home_that_cannot_be_written_gets_a_private_folder_until_exit() -> None:
    code = (
        "import os, stat\n"
        "from graphattn.kernels.cpp import build, cache\n"
        f"build.load({TEAM!r})\n"
        "folder = cache.cache_folder()\n"
        "if os.fork() == 0:\n"
        "    raise SystemExit\n"  # a child that ends must not take the folder with it
        "os.wait()\n"
        "print(len(list(folder.glob('*.so'))), oct(stat.S_IMODE(folder.stat().st_mode)), folder)\n"
    )
    printed = run_python(code, GRAPHATTN_CACHE="", XDG_CACHE_HOME="", HOME="/dev/null/home")
    count, mode, folder = printed.split(maxsplit=2)
    assert (count, mode) == ("1", "0o700")
    assert not Path(folder.strip()).exists()


def empty(content: bytes) -> bytes:
    return b""


def cut_short(content: bytes) -> bytes:
    return content[: len(content) // 2]


def cut_by_a_byte(content: bytes) -> bytes:
    return content[:-1]


def changed(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


@pytest.mark.parametrize("damage", [empty, cut_short, cut_by_a_byte, changed])
def test_a_damaged_library_is_built_again(
    damage: Callable[[bytes], bytes], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load(add(1))
    (library,) = folder.glob("*.so")
    whole = library.read_bytes()
    library.unlink()  # this process has the old file mapped
    library.write_bytes(damage(whole))
    forget(monkeypatch)
    assert load(add(1)).sum(ctypes.c_long(1)) == 2
    assert library.read_bytes() != damage(whole)
    forget(monkeypatch)
    forbid_compiling(monkeypatch)
    assert load(add(1)).sum(ctypes.c_long(1)) == 2


def test_a_whole_file_that_does_not_load_is_built_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    load(add(1))
    (library,) = folder.glob("*.so")
    library.unlink()
    text = tmp_path / "text"
    text.write_text("made for a machine with another loader")
    cache.write_library(text, library)
    forget(monkeypatch)
    assert load(add(1)).sum(ctypes.c_long(1)) == 2


def test_a_killed_compile_leaves_no_broken_entry(folder: Path, tmp_path: Path) -> None:
    slow = shell_script(
        tmp_path / "slow",
        'case "$*" in *--version* | *probe.cpp*) exec c++ "$@" ;; esac\n'
        'for word in "$@"; do output=$word; done\n'
        f'echo half a library > "$output"; touch "{tmp_path}/started"; exec sleep {PATIENCE}',
    )
    code = f"from graphattn.kernels.cpp.build import load\nload({add(1)!r})"
    process = subprocess.Popen(
        [sys.executable, "-c", code], env={**os.environ, "CXX": slow}, start_new_session=True
    )
    try:
        deadline = time.monotonic() + PATIENCE
        while not (tmp_path / "started").exists():
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert not list(folder.glob("*.so"))
    assert load(add(1)).sum(ctypes.c_long(1)) == 2
    assert len(list(folder.glob("*.so"))) == 1


def test_ten_processes_at_once_all_load_the_same_text(folder: Path) -> None:
    code = (
        "import ctypes, os\n"
        "from graphattn.kernels.cpp.build import load\n"
        "reader, writer = os.pipe()\n"
        "children = []\n"
        "for number in range(10):\n"
        "    children.append(os.fork())\n"
        "    if children[-1] == 0:\n"
        "        os.close(writer)\n"
        "        os.read(reader, 1)\n"  # ends for all of them when the parent closes the pipe
        f"        os._exit(load({add(1)!r}).sum(ctypes.c_long(number)))\n"
        "os.close(writer)\n"
        "print(*(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children))\n"
    )
    assert [int(word) for word in run_python(code).split()] == list(range(1, 11))
    assert sorted(path.suffix for path in folder.iterdir()) == [".cpp", ".so"]
