"""The bytes that a kernel moves for each edge, read off its tensor code."""

import math
import re
from dataclasses import dataclass

from graphattn.kernels.triton.inspect.dataflow import Fact, facts
from graphattn.kernels.triton.inspect.tensor_code import Code, Operation, Value

# Every edge reads one element of its own of these; the first that a kernel reads tells its walks.
INDICES = ("neighbor", "order", "twin")
Loops = tuple[Operation, ...]  # around an operation, outermost first
_LOADS = ("tt.load", "amdg.buffer_load", "ttg.async_copy_global_to_local")
_STORES = ("tt.store", "amdg.buffer_store")
_ATOMICS = ("tt.atomic_rmw", "tt.atomic_cas", "amdg.buffer_atomic_rmw", "amdg.buffer_atomic_cas")
# Other ways to memory, of which this says nothing.
_UNKNOWN = re.compile(r"descriptor|tma|gather4|scatter4|async_copy_local_to_global|tt\.call")


@dataclass(frozen=True)
class Access:
    """A load, store or atomic of a kernel.

    Attributes:
        kind: ``"load"``, ``"store"`` or ``"atomic"``.
        parameter: Name of the pointer that it goes through; names joined by ``|`` if it may be one
            of several, empty if none is known.
        loops: The loops in which it stands, outermost first.
        element_bytes: Size of an element.
        distinct: Elements at different addresses, of all that a block accesses at once.
        by_warps: The same for each warp, added up: a row that two warps read counts twice.
        per_thread: Elements that a thread accesses; 0 if that is not known.
    """

    kind: str
    parameter: str
    loops: Loops
    element_bytes: int
    distinct: int
    by_warps: int
    per_thread: int


@dataclass(frozen=True)
class Walk:
    """A place in a kernel that takes a few edges at a time, and in the end all of them.

    Attributes:
        loops: The loops it is inside of, its own last; none if an instance takes one tile alone.
        edges: How many edges it takes at a time.
    """

    loops: Loops
    edges: int


class Traffic:
    """What a kernel reads and writes.

    Bytes at one address are counted once for all threads of a block that access them at once: what
    a second thread reads comes from the first level of the cache. Both branches of a condition
    count.

    Args:
        code: Of the kernel.
        names: Of its parameters as they stand in ``code``, without those of kind constexpr.
        num_warps: Warps of a block.

    Attributes:
        accesses: In the order of the code.
        walks: Where edges are taken. A kernel that walks over its edges twice has two.

    Raises:
        ValueError: If the kernel gets at memory by other ways than pointers.
    """

    def __init__(self, code: Code, names: list[str], num_warps: int) -> None:
        self.code, self._names, self._num_warps = code, names, num_warps
        self._facts = facts(code)
        self.accesses = [
            access for one in code.operations for access in self._accesses(one) if access.distinct
        ]
        self.walks = self._walks()

    def per_edge(self, *, by_warps: bool = False) -> dict[str, float]:
        """Bytes that each edge moves, by parameter; what a tile reads once is shared by its edges.

        Args:
            by_warps: Counts what several warps read as often as they do.

        Raises:
            ValueError: If a loop inside of that over edges has no fixed number of turns.
        """
        moved: dict[str, float] = {}
        for walk in self.walks:
            for access in self.inside(walk):
                count = access.by_warps if by_warps else access.distinct
                turns = math.prod(map(self._turns, access.loops[len(walk.loops) :]))
                size = count * access.element_bytes * turns / walk.edges
                moved[access.parameter] = moved.get(access.parameter, 0) + size
        return moved

    def inside(self, walk: Walk) -> list[Access]:
        """The accesses of a walk over edges."""
        depth = len(walk.loops)
        return [access for access in self.accesses if access.loops[:depth] == walk.loops]

    def at(self, loops: Loops) -> list[Access]:
        """The accesses of one place, but for those of loops inside."""
        return [access for access in self.accesses if access.loops == loops]

    @property
    def innermost(self) -> list[Loops]:
        """The places of accesses that have none in a loop inside, in the order of the code."""
        places = list(dict.fromkeys(access.loops for access in self.accesses))
        return [one for one in places if not any(one == p[: len(one)] for p in places if p != one)]

    @property
    def edges(self) -> int:
        """The least number of edges that are taken at a time; 0 if there is no walk."""
        return min((walk.edges for walk in self.walks), default=0)

    def _walks(self) -> list[Walk]:
        loads = [access for access in self.accesses if access.kind == "load"]
        for name in INDICES:
            edges: dict[Loops, int] = {}
            for access in loads:
                if access.parameter == name:
                    edges[access.loops] = max(edges.get(access.loops, 0), access.distinct)
            if edges:
                # What is read ahead of a loop belongs to the walk that the loop is.
                return [
                    Walk(loops, count)
                    for loops, count in edges.items()
                    if not any(loops == other[: len(loops)] for other in edges if other != loops)
                ]
        return []

    def _turns(self, loop: Operation) -> int:
        bounds = [self.code.constants.get(value.number) for value in loop.operands[:3]]
        if loop.name != "scf.for" or None in bounds:
            raise ValueError(
                "a loop inside of that over edges must have a fixed number of turns, got bounds"
                f" {bounds}"
            )
        first, last, step = (int(bound or 0) for bound in bounds)
        return len(range(first, last, step))

    def _accesses(self, operation: Operation) -> list[Access]:
        name = operation.name
        kinds = (("load", _LOADS), ("store", _STORES), ("atomic", _ATOMICS))
        for kind, names in kinds:
            if name in names:
                pointer, tile = _address(operation)
                return [self._access(operation, kind, pointer, tile)]
        if _UNKNOWN.search(name):
            raise ValueError(f"a kernel must get at memory by pointers alone, got {name}")
        return []

    def _access(self, operation: Operation, kind: str, pointer: Value, tile: Value) -> Access:
        address = self._facts.get(tile.number, Fact())
        roots = self._facts.get(pointer.number, Fact()).parameters
        layout, axes = tile.layout, address.axes
        distinct = of_warp = math.prod(tile.shape[axis] for axis in axes)
        if layout is not None:
            of_warp = layout.num_elements(axes, of_warp=True)
        # One thread stores what several hold.
        by_warps = of_warp * self._num_warps if kind == "load" else distinct
        return Access(
            kind=kind,
            parameter="|".join(self._names[i] for i in sorted(roots)),
            loops=self.code.loops(operation),
            element_bytes=_bytes(pointer.type),
            distinct=distinct,
            by_warps=by_warps,
            per_thread=_per_thread(tile),
        )


def _per_thread(tile: Value) -> int:
    if tile.layout is None:
        return 0 if tile.shape else 1
    return tile.layout.per_thread


def _address(operation: Operation) -> tuple[Value, Value]:
    """The operand that holds the pointer, and that along whose axes the address differs."""
    operands = operation.operands
    if operation.name == "amdg.buffer_store":
        return operands[1], operands[2]
    if operation.name.startswith("amdg.buffer_atomic"):
        return operands[1], operands[2]
    if operation.name == "amdg.buffer_load":
        return operands[0], operands[1]
    return operands[0], operands[0]


def _bytes(pointer: str) -> int:
    """Size of the elements that a type of pointers, or of tensors of them, points to."""
    found = re.search(r"ptr<([a-z!]+)(\d*)", pointer)
    if found is None:
        raise ValueError(f"a pointer must say what it points to, got {pointer}")
    kind, bits = found.groups()
    if kind == "!tt":  # to a pointer
        return 8
    return max(1, int(bits or 8) // 8)
