"""Which elements of a tensor each register, thread and warp holds."""

import ast
import re
from dataclasses import dataclass

Basis = tuple[int, ...]
Bases = tuple[Basis, ...]


@dataclass(frozen=True)
class Layout:
    """A layout of a tensor in registers.

    The numbers of register, lane and warp are read as bits; each bit that is set moves the element
    by its basis, coordinates combined by exclusive or.

    Attributes:
        registers: Bases of the bits of a register's number within a thread.
        lanes: Of a thread's number within its warp.
        warps: Of a warp's number within its block.
    """

    registers: Bases
    lanes: Bases
    warps: Bases

    def num_elements(self, axes: frozenset[int], *, of_warp: bool) -> int:
        """How many different elements, by some axes alone, a block or one of its warps holds."""
        bases = self.registers + self.lanes + (() if of_warp else self.warps)
        return 1 << _rank([tuple(basis[axis] for axis in sorted(axes)) for basis in bases])

    @property
    def per_thread(self) -> int:
        """How many different elements a thread holds."""
        return 1 << sum(any(basis) for basis in self.registers)


def layout_of(tensor: str) -> Layout | None:
    """The layout in a type such as ``tensor<4x8xf32, #ttg.blocked<{...}>>``.

    Returns:
        The layout; ``None`` for kinds that loads and stores by pointers seldom have, such as those
        of matrix units.
    """
    shape, _, encoding = tensor.removeprefix("tensor<").partition(", ")
    return _layout(encoding, tuple(int(size) for size in re.findall(r"(\d+)x", shape)))


def _layout(encoding: str, shape: tuple[int, ...]) -> Layout | None:
    kind, _, inner = encoding.partition("<{")
    if kind == "#ttg.blocked":
        return _blocked(inner, shape)
    if kind == "#ttg.linear":
        return Layout(_bases(inner, "register"), _bases(inner, "lane"), _bases(inner, "warp"))
    if kind == "#ttg.slice":
        found = re.match(r"dim = (\d+), parent = (.*)", inner)
        if found is None:
            raise ValueError(f"a slice must say of what it is one, got {encoding}")
        axis = int(found[1])
        parent = _layout(found[2], (*shape[:axis], 1, *shape[axis:]))
        return None if parent is None else _without(parent, axis)
    return None


def _blocked(inner: str, shape: tuple[int, ...]) -> Layout:
    """Registers, then lanes, then warps, each along the axes in order; then more registers."""
    order = _numbers(inner, "order")
    covered = [1] * len(shape)

    def bases(counts: list[int]) -> list[Basis]:
        made: list[Basis] = []
        for axis in order:
            for _ in range(counts[axis].bit_length() - 1):
                # What goes beyond the tensor holds again what is there.
                step = covered[axis] if covered[axis] < shape[axis] else 0
                made.append(_unit(len(shape), axis, step))
                covered[axis] *= 2
        return made

    registers, lanes, warps = (
        bases(_numbers(inner, key)) for key in ("sizePerThread", "threadsPerWarp", "warpsPerCTA")
    )
    registers += bases([max(1, size // done) for size, done in zip(shape, covered, strict=True)])
    return Layout(tuple(registers), tuple(lanes), tuple(warps))


def _without(parent: Layout, axis: int) -> Layout:
    registers, lanes, warps = (
        tuple(basis[:axis] + basis[axis + 1 :] for basis in bases)
        for bases in (parent.registers, parent.lanes, parent.warps)
    )
    return Layout(registers, lanes, warps)


def _unit(ndim: int, axis: int, step: int) -> Basis:
    return tuple(step if one == axis else 0 for one in range(ndim))


def _numbers(text: str, key: str) -> list[int]:
    found = re.search(rf"{key} = (\[[\d, ]*\])", text)
    if found is None:
        raise ValueError(f"a blocked layout must have {key}, got {text}")
    return list(ast.literal_eval(found[1]))


def _bases(text: str, key: str) -> Bases:
    found = re.search(rf"{key} = (\[[\d, \[\]]*\])", text)
    if found is None:
        raise ValueError(f"a linear layout must have {key}, got {text}")
    return tuple(tuple(basis) for basis in ast.literal_eval(found[1]))


def _rank(vectors: list[Basis]) -> int:
    """Number of independent vectors, coordinates added by exclusive or."""
    numbers: list[int] = []
    for vector in vectors:
        number = 0
        for coordinate in vector:
            number = number << 32 | coordinate
        for known in numbers:
            number = min(number, number ^ known)
        if number:
            numbers.append(number)
    return len(numbers)
