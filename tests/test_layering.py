"""Imports point one way, and nothing optional is imported with the library."""

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
# From the ground up: each room may import from itself and from those above it in this list.
ROOMS = ("kernels", "core", "nn", "models", "training", "examples")
# What stands beside `training`: for those who use networks, not for those networks are made of.
OF_TRAINING = ("training", "plot", "testing")
OPTIONAL = (
    *("lightning", "torchmetrics", "rdkit", "matplotlib", "ogb", "triton", "tabulate"),
    *("ase", "vesin"),
)


def room_of(module: str) -> str | None:
    """The room of a module of ours; None for the modules of others and for data sets."""
    parts = module.split(".")
    if parts[0] == "examples":
        return "examples"
    if parts[0] != "graphattn" or parts[1:2] == ["datasets"]:
        return None
    if len(parts) > 1 and parts[1] in ("kernels", "nn", "models"):
        return parts[1]
    return "training" if len(parts) > 1 and parts[1] in OF_TRAINING else "core"


def modules() -> dict[str, Path]:
    found = {}
    for folder, prefix in (
        ("graphattn", "graphattn"),
        ("kernels", "graphattn.kernels"),
        ("datasets", "graphattn.datasets"),
        ("examples", "examples"),
    ):
        for path in sorted((ROOT / folder).rglob("*.py")):
            parts = path.relative_to(ROOT / folder).with_suffix("").parts
            if folder == "graphattn" and parts[0] in ("kernels", "datasets"):
                continue  # the links
            found[".".join((prefix, *parts)).removesuffix(".__init__")] = path
    return found


def imports(path: Path) -> set[str]:
    """Names of all modules that a file imports, anywhere in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: import by full name"
            names.add(node.module or "")
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return names


def test_the_rooms_are_there() -> None:
    rooms = {room_of(module) for module in modules()}
    assert {"kernels", "core", "nn", "examples"} <= rooms
    assert len(modules()) > 20


@pytest.mark.parametrize("module", modules())
def test_imports_point_one_way(module: str) -> None:
    own = room_of(module)
    if own is None:
        return
    for name in imports(modules()[module]):
        room = room_of(name)
        is_allowed = room is None or ROOMS.index(room) <= ROOMS.index(own)
        assert is_allowed, f"{module} must not import {name}"


@pytest.mark.parametrize("module", [name for name in modules() if room_of(name) == "kernels"])
def test_kernels_know_nothing_of_graphs(module: str) -> None:
    for name in imports(modules()[module]):
        assert not name.startswith("torch_geometric"), f"{module} must not import {name}"
        is_own = name == "graphattn" or name.startswith("graphattn.")
        assert not is_own or name.startswith("graphattn.kernels"), f"{module} imports {name}"


@pytest.mark.parametrize(
    "module", [name for name in modules() if name.startswith("graphattn.datasets")]
)
def test_data_sets_know_nothing_of_layers(module: str) -> None:
    for name in imports(modules()[module]):
        assert room_of(name) in (None, "core"), f"{module} must not import {name}"
        assert name.split(".")[:2] != ["graphattn", "attention"]


@pytest.mark.parametrize("module", [name for name in modules() if name.startswith("graphattn")])
def test_no_layer_and_no_kernel_imports_data_sets(module: str) -> None:
    if room_of(module) in ("kernels", "core", "nn", "models"):
        names = imports(modules()[module])
        assert not any(name.startswith("graphattn.datasets") for name in names)


def test_every_package_is_listed_for_building() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    listed = settings["tool"]["setuptools"]["packages"]
    packages = {
        name if path.stem == "__init__" else name.rpartition(".")[0]
        for name, path in modules().items()
        if not name.startswith("examples")
    }
    assert sorted(listed) == sorted(packages)


def test_files_are_within_three_hundred_lines_and_say_what_they_are() -> None:
    for module, path in modules().items():
        text = path.read_text()
        assert text.count("\n") <= 300, f"{module} has {text.count(chr(10))} lines"
        assert not text.strip() or text.startswith(('"""', 'r"""')), f"{module} says nothing"


def test_nothing_optional_is_imported_with_the_library() -> None:
    # What torch_geometric imports by itself is not ours to say.
    code = f"""
import sys, torch, torch_geometric.nn
before = set(sys.modules)
import graphattn, graphattn.nn, graphattn.attention, graphattn.kernels.program
print(*sorted(set({OPTIONAL!r}) & (set(sys.modules) - before)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
