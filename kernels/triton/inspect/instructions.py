"""Instructions that reach memory, and loops, in assembly and machine code."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from graphattn.kernels.triton.inspect.traffic import Access

_PTX = re.compile(
    r"\b(?P<kind>ld|st)\.global[\w.:]*?(?:\.v(?P<count>\d))?\.[bsuf](?P<bits>\d+)"
    r"|cp\.async\.c[ag]\.shared\.global[^;]*?,\s*0x(?P<copied>[0-9a-f]+)"
    r"|\b(?P<atomic>atom|red)\.global[\w.:]*?\.[bsuf](?P<width>\d+)"
)
_GCN = re.compile(
    r"(?:global|buffer|flat)_(?P<kind>load|store)_"
    r"(?:dword(?:x(?P<count>\d))?|(?P<narrow>[us]?byte|[us]?short)\w*)\b"
)
_BLOCK = re.compile(r"^(?:(?:\$L__|\.L)(BB\w+):|[/;]+ %bb\.\d+:)")
_LOOP = re.compile(
    r"in Loop: Header=(?P<header>\w+)|Parent Loop (?P<parent>\w+)|This (?:Inner )?Loop Header"
)
_WORD = 4


@dataclass(frozen=True)
class Instruction:
    """A load, store or atomic as a thread executes it.

    Attributes:
        kind: ``"load"``, ``"store"`` or ``"atomic"``.
        width: Bytes.
        loop: Label of the loop around it, if none inside of that reaches memory; else empty.
    """

    kind: str
    width: int
    loop: str


def read_assembly(assembly: str) -> list[Instruction]:
    """The instructions that reach global memory, of NVIDIA's PTX or AMD's assembly.

    Returns:
        Instructions; those of one loop are in the order in which they run.
    """
    found: list[Instruction] = []
    late: list[Instruction] = []
    around: dict[str, set[str]] = {}  # the loops around a loop
    begun: set[str] = set()
    loop = label = ""
    for line in assembly.splitlines():
        # Comments that the compiler writes behind a label say in which loop the block is.
        if block := _BLOCK.match(line):
            loop, label = "", block[1] or ""
        if comment := _LOOP.search(line):
            parent, header = comment["parent"], comment["header"]
            loop = header or label
            begun.update(set() if header else {label})
            around.setdefault(loop, set()).update({parent} if parent else set())
        # The last blocks of a loop may be written before its first one.
        place = late if loop and loop not in begun else found
        place += [Instruction(kind, width, loop) for kind, width in _accessed(line)]
    found += late
    outer = set().union(*(around[one.loop] for one in found if one.loop))
    return [replace(one, loop="") if one.loop in outer else one for one in found]


def _accessed(line: str) -> Iterable[tuple[str, int]]:
    for match in _PTX.finditer(line):
        if match["copied"]:
            yield "load", int(match["copied"], 16)
        elif match["atomic"]:
            yield "atomic", int(match["width"]) // 8
        else:
            width = int(match["bits"]) // 8 * int(match["count"] or 1)
            yield "load" if match["kind"] == "ld" else "store", width
    for match in _GCN.finditer(line):
        kind, narrow = match["kind"], match["narrow"]
        width = _WORD * int(match["count"] or 1)
        if narrow:
            width = 1 if narrow.endswith("byte") else 2
        yield kind, width


def widths(accesses: Sequence[Access], instructions: Sequence[Instruction]) -> list[list[int]]:
    """The widths in bytes of the instructions that each access has become.

    Triton writes a run of instructions for each access, in order, which together hold all that a
    thread accesses.

    Args:
        accesses: Of one place in a kernel.
        instructions: Of the same place.

    Returns:
        Widths for each access; nothing if the instructions are not those of the accesses.
    """
    left: dict[str, list[int]] = {}
    for instruction in instructions:
        left.setdefault(instruction.kind, []).append(instruction.width)
    found: list[list[int]] = []
    for access in accesses:
        wanted = access.per_thread * access.element_bytes
        own: list[int] = []
        while sum(own) < wanted and left.get(access.kind):
            own.append(left[access.kind].pop(0))
        if not wanted or sum(own) != wanted:
            return []
        found.append(own)
    return [] if any(left.values()) else found


@dataclass(frozen=True)
class Loop:
    """A loop of machine code that loads from global memory, as no loop inside of it does.

    Attributes:
        instructions: How many it has.
        loads: How many of them load from global memory.
        barriers: How many of them wait for the other warps of the block.
    """

    instructions: int
    loads: int
    barriers: int


def innermost_loops(machine_code: str) -> list[Loop]:
    """The loops of a kernel that load from global memory, without those around another one.

    Args:
        machine_code: As ``nvdisasm`` prints it.

    Returns:
        Loops in order.
    """
    lines = _lines(machine_code)
    labels = {line: place for place, line in enumerate(lines) if line.endswith(":")}
    loops: dict[tuple[int, int], Loop] = {}
    for place, line in enumerate(lines):
        target = re.search(r"\bBRA\S*.*`\((\S+)\)", line)
        start = labels.get(f"{target[1]}:", place) if target else place
        loop = _loop(lines[start : place + 1])
        if start < place and loop.loads:
            loops[start, place] = loop
    return [
        loop
        for (start, stop), loop in sorted(loops.items())
        if not any(start <= a and b <= stop for a, b in loops if (a, b) != (start, stop))
    ]


def whole(machine_code: str) -> Loop:
    """All of a kernel, as if it were a loop."""
    return _loop(_lines(machine_code))


def _lines(machine_code: str) -> list[str]:
    """Labels and instructions, but for those that only fill memory up."""
    pattern = r"^(\.L_\w+:)|^\s*/\*[0-9a-f]+\*/\s+(?!NOP)(\S.*?);"
    return [m[1] or m[2] for m in re.finditer(pattern, machine_code, re.MULTILINE)]


def _loop(lines: list[str]) -> Loop:
    instructions = [line for line in lines if not line.endswith(":")]
    loads = [line for line in instructions if re.search(r"\bLDG(STS)?\b", line)]
    barriers = [line for line in instructions if re.search(r"\bBAR\.SYNC", line)]
    return Loop(len(instructions), len(loads), len(barriers))
