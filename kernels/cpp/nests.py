"""Which steps of a program share a loop nest, and which need no loop of their own."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from graphattn.kernels.program import Program, Step
from graphattn.kernels.program.operations import REDUCTIONS

# They only say where an element is found.
_MOVES = ("expand", "permute", "slice", "take")
_ELSEWHERE = ("permute", "slice", "take")  # where an element is found at another position
# To compute an element of them again costs less than to keep it: booleans are of another width
# than the numbers around them, which stops a loop from being vectorised.
_FREE = (*_MOVES, "fill", "eq", "ge", "gt", "le", "lt", "ne", "isnan", "isinf")
_ALONE = ("view", "constant", "cat", "matmul")
_IN_ANY_ORDER = ("sum", "prod")  # NaN must win in a maximum, which a vectorised loop may lose


@dataclass
class Nest:
    """Steps that run in one loop nest, or one step with loops of its own.

    Attributes:
        shape: What the loops run over, without axes of size one.
        steps: In an order in which they can run.
        is_alone: Whether the one step prints its own loops.
    """

    shape: tuple[int, ...]
    steps: list[Step] = field(default_factory=list)
    is_alone: bool = False


def squeezed(shape: Iterable[int]) -> tuple[int, ...]:
    """The shape without its axes of size one, which no loop runs over."""
    return tuple(size for size in shape if size != 1)


def is_renamed(program: Program, step: Step) -> bool:
    """Whether a step is a view that adds or drops axes of size one, and so moves no element."""
    if step.operation != "view":
        return False
    return squeezed(step.shape) == squeezed(program.shape(step.inputs[0]))


def steps_inlined(program: Program) -> set[str]:
    """Names of the steps whose formula stands wherever they are read, and that have no memory."""
    steps = {step.name: step for step in program.steps}
    inlined = {
        step.name for step in program.steps if step.operation in _FREE or is_renamed(program, step)
    }
    for step in program.steps:
        if step.operation == "view" and step.name not in inlined:
            # It is a pointer to what it views, which then must lie in memory.
            source = step.inputs[0]
            while source in steps and is_renamed(program, steps[source]):
                source = steps[source].inputs[0]
            inlined.discard(source)
        elif step.operation == "matmul":
            # What is the same for all edges is moved once, to be read in order.
            moved = [steps[value] for value in step.inputs if value in steps]
            inlined -= {s.name for s in moved if not s.per_edge and s.operation in _MOVES}
    return inlined


def schedule(program: Program, steps: Iterable[Step], inlined: set[str]) -> list[Nest]:
    """Puts each step into the first nest that runs over its elements after its operands are known.

    Args:
        program: Names, shapes and what is read.
        steps: A part of the program's steps, in order; what other parts made is known before.
        inlined: See ``steps_inlined``.
    """
    nests: list[Nest] = []
    place: dict[str, int] = {}
    by_name = {step.name: step for step in program.steps}
    for step in steps:
        if step.name in inlined:
            continue
        is_alone = step.operation in _ALONE or (
            step.operation in REDUCTIONS and not reduces_last_axes(program, step)
        )
        shape = squeezed(_runs_over(program, step))
        earliest = 0
        for operand, is_aligned in _reads(program, by_name, inlined, step, shape):
            if operand in place:
                nest = place[operand]
                is_reduced = by_name[operand].operation in REDUCTIONS
                together = is_aligned and not is_reduced and not nests[nest].is_alone
                together = together and not is_alone and nests[nest].shape == shape
                earliest = max(earliest, nest if together else nest + 1)
        place[step.name] = _place(nests, step, shape, earliest, is_alone)
    return nests


def reduces_last_axes(program: Program, step: Step) -> bool:
    """Whether a sum or product runs over the innermost loops of a nest over its input."""
    shape, axes = program.shape(step.inputs[0]), step.settings["axes"]
    kept = [axis for axis, size in enumerate(shape) if size != 1 and axis not in axes]
    gone = [axis for axis, size in enumerate(shape) if size != 1 and axis in axes]
    is_last = bool(gone) and (not kept or max(kept) < min(gone))
    return step.operation in _IN_ANY_ORDER and is_last


def _place(
    nests: list[Nest], step: Step, shape: tuple[int, ...], earliest: int, is_alone: bool
) -> int:
    for number in range(earliest, len(nests)):
        if not is_alone and not nests[number].is_alone and nests[number].shape == shape:
            nests[number].steps.append(step)
            return number
    nests.append(Nest(shape, [step], is_alone))
    return len(nests) - 1


def _runs_over(program: Program, step: Step) -> tuple[int, ...]:
    return program.shape(step.inputs[0]) if step.operation in REDUCTIONS else step.shape


def _reads(
    program: Program,
    steps: dict[str, Step],
    inlined: set[str],
    step: Step,
    shape: tuple[int, ...],
) -> Iterable[tuple[str, bool]]:
    """What a step reads through formulas, and whether at the position that its loops are at."""
    is_in_place = step.operation not in _ELSEWHERE
    waiting = [(value, is_in_place) for value in step.inputs if isinstance(value, str)]
    while waiting:
        name, is_aligned = waiting.pop()
        is_aligned = is_aligned and squeezed(program.shape(name)) == shape
        if name not in inlined:
            yield name, is_aligned
            continue
        moves = steps[name].operation in _ELSEWHERE
        operands = [value for value in steps[name].inputs if isinstance(value, str)]
        waiting += [(value, is_aligned and not moves) for value in operands]
