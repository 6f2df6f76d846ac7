"""The passes of an edge program, compiled for this processor."""

from collections.abc import Mapping

from graphattn.kernels.cpp.backward import backward_pass
from graphattn.kernels.cpp.forward import forward_pass
from graphattn.kernels.cpp.launch import Kernel, compiled
from graphattn.kernels.edge_attention.rows import End, Kind
from graphattn.kernels.program import Program


def kernels(program: Program, derivatives: Mapping[End, Program], kind: Kind) -> dict[str, Kernel]:
    """The forward pass, and the backward passes of some derivatives, compiled together.

    Args:
        program: What runs forward.
        derivatives: Of the program, by the end whose rows a pass walks.
        kind: Of the rows that are walked.

    Returns:
        Kernels by name: ``"forward"``, ``"backward_by_target"``, ``"backward_by_source"``.

    Raises:
        TypeError: If the program has an element type that C++ does not know.
        CompilerNotFoundError: If there is no C++ compiler.
        CompilationError: If the compiler fails.
    """
    passes = [forward_pass(program, kind)]
    passes += [backward_pass(end, slope, kind) for end, slope in derivatives.items()]
    made = compiled(passes, program.sum_dtype)
    return {one.name: kernel for one, kernel in zip(passes, made, strict=True)}
