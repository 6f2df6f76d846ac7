"""Registers, stack and spills of a kernel, read from its machine code."""

import re
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from triton import knobs

from graphattn.kernels.triton.inspect.compilation import Binary

_LOCAL = re.compile(r"\b(LDL|STL)([\w.]*)")


@dataclass(frozen=True)
class Resources:
    """What each thread of a kernel takes.

    Attributes:
        registers: Registers of 32 bits.
        stack: Bytes of stack, which lies in memory.
        local: Bytes of local memory besides, likewise.
        local_loads: Bytes that instructions load from there, each counted once: what was spilled.
        local_stores: Bytes that they store there.
    """

    registers: int
    stack: int
    local: int
    local_loads: int
    local_stores: int


def resources(binary: Binary, disassembly: str) -> Resources:
    """What each thread of a kernel takes.

    Args:
        binary: The kernel.
        disassembly: Of its machine code, from ``disassembled``.
    """
    return _of_cubin(binary, disassembly) if binary.is_nvidia else _of_gcn(binary.assembly)


def disassembled(binary: Binary) -> str:
    """The machine code as text; empty where no tool that comes with Triton can read it."""
    return _run(knobs.nvidia.nvdisasm.path, binary, "-c") if binary.is_nvidia else ""


def _of_cubin(binary: Binary, disassembly: str) -> Resources:
    usage = _run(knobs.nvidia.cuobjdump.path, binary, "-res-usage")
    registers, stack, local = (
        int(found[1]) if (found := re.search(rf"\b{key}:(\d+)", usage)) else 0
        for key in ("REG", "STACK", "LOCAL")
    )
    if not registers:
        raise RuntimeError(f"cuobjdump must say how many registers there are, got {usage!r}")
    moved = {"LDL": 0, "STL": 0}
    for name, suffix in _LOCAL.findall(disassembly):
        width = re.search(r"\.(8|16|64|128)\b|\.[US](8|16)\b", suffix)
        moved[name] += int(width[1] or width[2]) // 8 if width else 4
    return Resources(registers, stack, local, moved["LDL"], moved["STL"])


def _of_gcn(assembly: str) -> Resources:
    numbers = {
        key: int(number)
        for key, number in re.findall(r"^ +(?:- )?\.(\w+): +(\d+)$", assembly, re.MULTILINE)
    }
    moved = {"load": 0, "store": 0}
    for kind, count in re.findall(r"\bscratch_(load|store)_dword(?:x(\d))?", assembly):
        moved[kind] += 4 * int(count or 1)
    stack = numbers["private_segment_fixed_size"]
    # Of vector registers; scalar ones are spilled to these.
    return Resources(numbers["vgpr_count"], stack, 0, moved["load"], moved["store"])


def _run(tool: str, binary: Binary, option: str) -> str:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "kernel.cubin")
        path.write_bytes(binary.machine_code)
        done = subprocess.run([tool, option, str(path)], capture_output=True, text=True, check=True)
    return done.stdout
