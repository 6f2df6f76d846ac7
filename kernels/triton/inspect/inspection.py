"""What the compiled code of one kernel says: resources, instructions, bytes for each edge."""

from dataclasses import dataclass

from graphattn.kernels.triton.inspect.architectures import LIMITS, Occupancy, occupancy
from graphattn.kernels.triton.inspect.compilation import Kernel, compiled
from graphattn.kernels.triton.inspect.instructions import (
    Instruction,
    Loop,
    innermost_loops,
    read_assembly,
    whole,
    widths,
)
from graphattn.kernels.triton.inspect.machine_code import Resources, disassembled, resources
from graphattn.kernels.triton.inspect.tensor_code import Code
from graphattn.kernels.triton.inspect.traffic import Loops, Traffic


@dataclass(frozen=True)
class Inspection:
    """What the compiled code of a kernel says.

    Attributes:
        kernel: What was compiled.
        architecture: For what.
        resources: Registers, stack and spills of a thread.
        shared: Bytes of shared memory of a block.
        occupancy: How much of a processor it fills; ``None`` if not one block fits.
        edges: How many edges are taken at a time; 0 if the kernel reads no edges.
        moved: Bytes for each edge, by parameter; what a block reads twice at once counts once.
        requested: The same, what several warps read counted as often.
        per_tile: Bytes that a block asks for at a time.
        widths: Bytes of each instruction in the walk over edges that loads from or stores to a
            parameter; empty if instructions and accesses cannot be told to belong together.
        widest: Bytes of the widest instruction that loads, anywhere.
        atomics: Number of atomic instructions.
        loops: The loops over edges in machine code, as long as one turn takes ``edges`` edges;
            empty if they cannot be told from others.
        rest: Instructions outside of these loops.
    """

    kernel: Kernel
    architecture: str
    resources: Resources
    shared: int
    occupancy: Occupancy | None
    edges: int
    moved: dict[str, float]
    requested: dict[str, float]
    per_tile: int
    widths: dict[str, list[int]]
    widest: int
    atomics: int
    loops: list[Loop]
    rest: int


def inspected(kernel: Kernel, architecture: str) -> Inspection:
    """Compiles a kernel and reads its code.

    Args:
        kernel: A Triton function and what it is compiled with.
        architecture: A name out of ``compilation.TARGETS``.

    Raises:
        ValueError: If the kernel cannot be compiled as it is said to be, or reaches memory in ways
            that are not counted.
        RuntimeError: If Triton runs as an interpreter in this process.
    """
    binary = compiled(kernel, architecture)
    names = [name for name, kind in kernel.signature.items() if kind != "constexpr"]
    traffic = Traffic(Code(binary), names, kernel.num_warps)
    listing = disassembled(binary)
    instructions = read_assembly(binary.assembly)
    found = _widths(traffic, instructions)
    used = resources(binary, listing)
    loops = _loops(traffic, found, listing)
    return Inspection(
        kernel=kernel,
        architecture=architecture,
        resources=used,
        shared=binary.shared,
        occupancy=_occupancy(architecture, used, binary.shared, kernel.num_warps),
        edges=traffic.edges,
        moved=traffic.per_edge(),
        requested=traffic.per_edge(by_warps=True),
        per_tile=_per_tile(traffic),
        widths=_by_parameter(traffic, found),
        widest=max((one.width for one in instructions if one.kind == "load"), default=0),
        atomics=_count(instructions, "atomic"),
        loops=loops,
        rest=whole(listing).instructions - sum(loop.instructions for loop in loops),
    )


def _occupancy(architecture: str, used: Resources, shared: int, num_warps: int) -> Occupancy | None:
    try:
        return occupancy(LIMITS[architecture], used.registers, shared, num_warps)
    except ValueError:
        return None


def _count(instructions: list[Instruction], kind: str) -> int:
    return sum(one.kind == kind for one in instructions)


def _per_tile(traffic: Traffic) -> int:
    return max(
        (
            sum(a.distinct * a.element_bytes for a in traffic.inside(walk) if a.kind == "load")
            for walk in traffic.walks
        ),
        default=0,
    )


def _widths(traffic: Traffic, instructions: list[Instruction]) -> dict[Loops, list[list[int]]]:
    """The widths of the instructions of each access, by innermost place.

    Nothing is said of a kernel whose loops are not those of its assembly.
    """
    places = traffic.innermost
    labels = list(dict.fromkeys(one.loop for one in instructions))
    if places != [()]:
        labels = [label for label in labels if label]
    if len(labels) != len(places):
        return {}
    made = {}
    for place, label in zip(places, labels, strict=True):
        found = widths(traffic.at(place), [one for one in instructions if one.loop == label])
        if found:
            made[place] = found
    return made


def _by_parameter(traffic: Traffic, found: dict[Loops, list[list[int]]]) -> dict[str, list[int]]:
    made: dict[str, list[int]] = {}
    for walk in traffic.walks:
        for access, own in zip(traffic.at(walk.loops), found.get(walk.loops, []), strict=False):
            made.setdefault(access.parameter, []).extend(own)
    return made


def _loops(traffic: Traffic, found: dict[Loops, list[list[int]]], listing: str) -> list[Loop]:
    """The loops of machine code that are those over edges, scaled to one turn each.

    The assembler keeps the order of loops, but may write several turns as one; how many follows
    from the loads, of which it drops some that another one repeats.
    """
    places = traffic.innermost
    loops = [whole(listing)] if places == [()] else innermost_loops(listing)
    if len(loops) != len(places):
        return []
    scaled = []
    for place, loop in zip(places, loops, strict=True):
        if not any(walk.loops == place for walk in traffic.walks):
            continue
        accesses = zip(traffic.at(place), found.get(place, []), strict=False)
        loads = sum(len(own) for access, own in accesses if access.kind == "load")
        if not loads:
            return []
        turns = max(1, round(loop.loads / loads))
        scaled.append(Loop(loop.instructions // turns, loop.loads // turns, loop.barriers // turns))
    return scaled
