"""Compiles Triton functions for GPUs that are not there."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import triton
from triton import knobs
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from graphattn.kernels.triton.module import module

TARGETS = {
    "sm_80": GPUTarget("cuda", 80, 32),
    "sm_90": GPUTarget("cuda", 90, 32),
    "sm_100": GPUTarget("cuda", 100, 32),
    "gfx942": GPUTarget("hip", "gfx942", 64),
}


@dataclass(frozen=True)
class Kernel:
    """A Triton function, and with what it is compiled.

    Attributes:
        name: Of the function.
        text: Python source in which it stands, with its imports.
        signature: Kinds of its parameters by name, in order: ``"*fp32"``, ``"i64"``,
            ``"constexpr"``.
        constants: Values of the parameters of kind ``"constexpr"``.
        num_warps: Warps of a block.
        num_stages: How many turns of a loop Triton may have under way; ``None`` for as many as it
            takes by itself.
    """

    name: str
    text: str
    signature: Mapping[str, str]
    constants: Mapping[str, Any] = field(default_factory=dict)
    num_warps: int = 4
    num_stages: int | None = None


@dataclass(frozen=True)
class Binary:
    """A kernel as it was compiled for one architecture.

    Attributes:
        kernel: What was compiled.
        architecture: A name out of ``TARGETS``.
        shared: Bytes of shared memory that a block asks for when it starts.
        tensor_code: Triton's own code after all decisions on layouts (TTGIR).
        assembly: PTX or GCN assembly.
        machine_code: The binary: a cubin or an hsaco.
    """

    kernel: Kernel
    architecture: str
    shared: int
    tensor_code: str
    assembly: str
    machine_code: bytes

    @property
    def is_nvidia(self) -> bool:
        """Whether NVIDIA's tools can read ``machine_code``."""
        return TARGETS[self.architecture].backend == "cuda"


def compiled(kernel: Kernel, architecture: str) -> Binary:
    """Compiles a kernel for an architecture; no GPU and no driver is needed.

    Args:
        kernel: The function and what it is compiled with.
        architecture: A name out of ``TARGETS``.

    Raises:
        ValueError: If the architecture is unknown, the text has no such function, or parameters
            and constants do not fit.
        RuntimeError: If Triton runs as an interpreter in this process.
    """
    _check(kernel, architecture)
    made = module(kernel.text)
    if not hasattr(made, kernel.name):
        raise ValueError(f"text must have a function {kernel.name} under triton.jit, got none")
    return compile_for(getattr(made, kernel.name), kernel, architecture)


def compile_for(function: Any, kernel: Kernel, architecture: str) -> Binary:
    """As ``compiled``, for a function that is there already."""
    _check(kernel, architecture)
    target = TARGETS[architecture]
    pointers = [i for i, kind in enumerate(kernel.signature.values()) if kind.startswith("*")]
    source = ASTSource(
        function,
        signature=dict(kernel.signature),
        constexprs=dict(kernel.constants),
        # As the just-in-time path finds of what PyTorch allocates.
        attrs={(i,): [["tt.divisibility", 16]] for i in pointers},
    )
    options: dict[str, Any] = {"num_warps": kernel.num_warps, "enable_fp_fusion": True}
    if kernel.num_stages is not None:
        options["num_stages"] = kernel.num_stages
    made = triton.compile(source, target=target, options=options)
    is_nvidia = target.backend == "cuda"
    return Binary(
        kernel=kernel,
        architecture=architecture,
        shared=made.metadata.shared,
        tensor_code=made.asm["ttgir"],
        assembly=made.asm["ptx" if is_nvidia else "amdgcn"],
        machine_code=made.asm["cubin" if is_nvidia else "hsaco"],
    )


def _check(kernel: Kernel, architecture: str) -> None:
    if architecture not in TARGETS:
        known = ", ".join(TARGETS)
        raise ValueError(f"architecture must be one of {known}, got {architecture!r}")
    constants = {name for name, kind in kernel.signature.items() if kind == "constexpr"}
    if constants != set(kernel.constants):
        raise ValueError(
            f"constants must be values for {sorted(constants)}, got {sorted(kernel.constants)}"
        )
    if knobs.runtime.interpret:
        raise RuntimeError(
            "Triton interprets in this process and compiles nothing: unset TRITON_INTERPRET"
        )
