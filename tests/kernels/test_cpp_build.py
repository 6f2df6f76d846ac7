"""Generated C++ becomes a library by whatever compiler the user has, or a clear error."""

import ctypes
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cpp_building import TEAM, add, forbid_compiling, forget, shell_script, use_empty_cache

from graphattn.kernels.cpp import compiler
from graphattn.kernels.cpp.build import load
from graphattn.kernels.cpp.compiler import CompilationError, CompilerNotFoundError


@pytest.fixture(autouse=True)
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    return use_empty_cache(monkeypatch, tmp_path)


@pytest.fixture
def other_compiler(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Lets a test name the compiler; the one of the other tests is looked up again afterwards."""

    def choose(command: str) -> None:
        monkeypatch.setenv("CXX", command)
        compiler._search.cache_clear()

    yield choose
    compiler._search.cache_clear()


def test_a_text_becomes_a_library_that_is_remembered(folder: Path) -> None:
    library = load(add(1))
    assert library.sum(ctypes.c_long(41)) == 42
    assert load(add(1)) is library
    assert load(add(2)).sum(ctypes.c_long(41)) == 43


def test_source_must_be_text() -> None:
    with pytest.raises(TypeError, match=r"source must be C\+\+ text as str, got bytes"):
        load(b"int x;")  # type: ignore[arg-type]


def test_without_a_compiler_the_error_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, other_compiler: Callable[[str], None], tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    other_compiler("no-such-compiler")
    with pytest.raises(CompilerNotFoundError, match=r"apt-get install g\+\+.*'reference' works"):
        load(add(1))


def test_the_compiler_named_by_the_user_comes_first_if_it_runs(
    other_compiler: Callable[[str], None], tmp_path: Path
) -> None:
    mine = shell_script(tmp_path / "my c++", 'exec c++ "$@"')
    other_compiler(f"'{mine}' -g0")
    assert compiler.find_compiler().command == (mine, "-g0")
    assert load(add(1)).sum(ctypes.c_long(1)) == 2
    other_compiler("false")
    assert compiler.find_compiler().command == ("c++",)


@pytest.mark.parametrize("flag", ["-fopenmp", "-march=native"])
def test_a_compiler_that_refuses_a_flag_builds_without_it(
    flag: str,
    other_compiler: Callable[[str], None],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    refuse = f'for word in "$@"; do [ "$word" = {flag} ] && exit 1; done; exec c++ "$@"'
    other_compiler(shell_script(tmp_path / "modest", refuse))
    assert load(TEAM).team(2) == (1 if flag == "-fopenmp" else 2)
    supported = compiler.supported_flags(compiler.find_compiler(), True)
    assert set(compiler.preferred_flags(True)) - set(supported) == {flag}
    forget(monkeypatch)
    forbid_compiling(monkeypatch)
    load(TEAM)


def test_a_compiler_that_builds_nothing_is_named(
    other_compiler: Callable[[str], None], tmp_path: Path
) -> None:
    broken = shell_script(
        tmp_path / "broken", '[ "$1" = --version ] || { echo no crt1.o; exit 1; }'
    )
    other_compiler(broken)
    with pytest.raises(CompilationError, match=r"broken cannot build(.|\n)*no crt1\.o"):
        load(add(1))


def test_a_refused_text_is_kept_and_the_first_lines_of_the_message_shown(folder: Path) -> None:
    text = "\n".join(f"error_{number} x{number};" for number in range(100))
    with pytest.raises(CompilationError) as caught:
        load(text)
    (kept,) = folder.iterdir()
    assert kept.read_text() == text
    assert str(kept) in str(caught.value)
    assert "error_0" in str(caught.value)
    assert len(str(caught.value).splitlines()) < 20


def test_no_flag_allows_unsafe_arithmetic() -> None:
    flags = {*compiler.preferred_flags(True), *compiler.preferred_flags(False)}
    assert not flags & {"-ffast-math", "-Ofast", "-funsafe-math-optimizations"}
