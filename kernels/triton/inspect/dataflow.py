"""Along which axes of a tensor a value differs, and through which pointer an address goes."""

from collections.abc import Iterable
from dataclasses import dataclass

from graphattn.kernels.triton.inspect.tensor_code import Code, Operation, Value

# Operations that do the same to every element, besides those of "arith." and "math.".
_ELEMENTWISE = [
    "tt.addptr",
    "tt.bitcast",
    "tt.broadcast",
    "tt.clampf",
    "tt.elementwise_inline_asm",
    "tt.extern_elementwise",
    "tt.fp_to_fp",
    "tt.int_to_ptr",
    "tt.load",
    "tt.mulhiui",
    "tt.precise_divf",
    "tt.precise_sqrt",
    "tt.ptr_to_int",
    "ttg.convert_layout",
    "amdg.buffer_load",
]


@dataclass(frozen=True)
class Fact:
    """What is known of a value.

    Attributes:
        axes: Those along which it may differ from element to element; along all others it does not.
        parameters: Positions of the pointers among the kernel's parameters that it is made from.
    """

    axes: frozenset[int] = frozenset()
    parameters: frozenset[int] = frozenset()

    def __or__(self, other: "Fact") -> "Fact":
        return Fact(self.axes | other.axes, self.parameters | other.parameters)


def facts(code: Code) -> dict[int, Fact]:
    """What is known of every value of a kernel, by its number.

    Operations that are not known are taken to make every axis differ, so that no traffic is
    counted too low.
    """
    found = {
        value.number: Fact(parameters=frozenset({i}) if "ptr<" in value.type else frozenset())
        for i, value in enumerate(code.parameters)
    }
    before = None
    while before != found:  # values that loops hand on need more than one walk
        before = dict(found)
        for operation in code.operations:
            for value, fact in _handed_on(operation, code, found):
                found[value.number] = found.get(value.number, Fact()) | fact
    return found


def _handed_on(
    operation: Operation, code: Code, found: dict[int, Fact]
) -> Iterable[tuple[Value, Fact]]:
    given = [found.get(value.number, Fact()) for value in operation.operands]
    owner = code.owners.get(operation.region)
    if operation.name == "scf.yield" and owner is not None:
        yield from zip(owner.results, given, strict=False)
        if owner.name == "scf.for":
            yield from zip(code.arguments[operation.region][1:], given, strict=True)
        elif owner.name == "scf.while":
            yield from zip(code.arguments[owner.regions[0]], given, strict=True)
    elif operation.name == "scf.condition" and owner is not None:
        yield from zip(owner.results, given[1:], strict=True)
        yield from zip(code.arguments[owner.regions[1]], given[1:], strict=True)
    elif operation.name == "scf.for":
        yield from zip(code.arguments[operation.regions[0]][1:], given[3:], strict=True)
        yield from zip(operation.results, given[3:], strict=True)
    elif operation.name == "scf.while":
        yield from zip(code.arguments[operation.regions[0]], given, strict=True)
    elif operation.name != "scf.if":
        for result in operation.results:
            axes = _axes(operation, result, [fact.axes for fact in given])
            parameters = frozenset[int]().union(*(fact.parameters for fact in given))
            yield result, Fact(axes, parameters if "ptr<" in result.type else frozenset())


def _axes(operation: Operation, result: Value, given: list[frozenset[int]]) -> frozenset[int]:
    name, axis = operation.name, operation.axis
    together = frozenset[int]().union(*given)
    if name == "tt.make_range":
        return frozenset({0})
    if name in ("tt.splat", "arith.constant") or not result.shape:
        return frozenset()
    if name == "tt.expand_dims" and axis is not None:
        return frozenset(one + (one >= axis) for one in together)
    if name == "tt.reduce" and axis is not None:
        return frozenset(one - (one > axis) for one in together if one != axis)
    if name.startswith(("arith.", "math.")) or name in _ELEMENTWISE:
        return together
    return frozenset(range(len(result.shape))) if together else frozenset()
