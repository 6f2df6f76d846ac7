"""The passes of an edge program as Triton prints and launches them."""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from graphattn.kernels.edge_attention.rows import End, Kind, Layout
from graphattn.kernels.program import Program
from graphattn.kernels.triton.backward import backward_pass
from graphattn.kernels.triton.forward import forward_pass
from graphattn.kernels.triton.frame import Source
from graphattn.kernels.triton.launch import Kernel


def printed(
    program: Program, derivatives: Mapping[End, Program], layout: Layout = "edges"
) -> list[Source]:
    """The source of the forward pass, and of the backward passes of some derivatives.

    Args:
        program: What runs forward.
        derivatives: Of the program, by the end whose rows a pass walks.
        layout: How edges are found.

    Raises:
        TypeError: If the program has an element type that this backend does not know.
    """
    with _room_for(program, *derivatives.values()):
        backward = [backward_pass(end, slope, layout) for end, slope in derivatives.items()]
        return [forward_pass(program, layout), *backward]


@contextmanager
def _room_for(*programs: Program) -> Iterator[None]:
    """Lets Python call as deep as the longest chain of steps: each is printed where it is read."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(max(before, 1000 + 8 * max(len(one.steps) for one in programs)))
    try:
        yield
    finally:
        sys.setrecursionlimit(before)


def kernels(program: Program, derivatives: Mapping[End, Program], kind: Kind) -> dict[str, Kernel]:
    """The passes as kernels by name; Triton compiles each when it first runs.

    Args:
        program: See ``printed``.
        derivatives: See ``printed``.
        kind: Of the rows that are walked; the type of positions Triton finds out by itself.

    Raises:
        TypeError: See ``printed``.
    """
    return {source.name: Kernel(source) for source in printed(program, derivatives, kind.layout)}
