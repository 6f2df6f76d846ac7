"""A program with what is compiled for it, and what one call of it asks for."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from torch import Tensor

from graphattn.kernels.cpp import passes as cpp
from graphattn.kernels.edge_attention.buffers import Kernel
from graphattn.kernels.edge_attention.rows import End, Kind, Layout, Rows
from graphattn.kernels.program import Program, derivative, narrowed

# What a call returns, in this order; ``None`` where it was not asked for.
OUTPUTS = ("output", "weights", "logits", "edge_output")
LEFT = ("output", "norm", "weights")  # of the forward pass, for the backward passes
SINK = "normalizer.sink"  # the one input that no program has: it belongs to the softmax
# Inputs whose gradients a pass can form: each row's edges are walked by one worker, in order.
ROLES = {"target": ("target", "edge", "shared"), "source": ("source",)}
Backend = Literal["cpp", "triton"]
Definition = Callable[[dict[str, Tensor], Tensor | None, float], dict[str, Tensor]]


@dataclass(frozen=True)
class Plan:
    """A program with what is compiled for it; made once, called many times.

    Attributes:
        program: What every edge computes.
        backend: What compiles it.
        derivatives: Derivatives of the program, by the inputs whose gradients they form.
        kernels: Compiled passes, by name, inputs whose gradients it forms, and type of positions.
    """

    program: Program
    backend: Backend = "cpp"
    derivatives: dict[tuple[str, ...], Program] = field(default_factory=dict)
    kernels: dict[tuple[str, tuple[str, ...], Kind], Kernel] = field(default_factory=dict)

    def forward(self, wanted: tuple[str, ...], kind: Kind) -> Kernel:
        """The forward pass; the backward passes for the gradients wanted are compiled with it.

        Raises:
            TypeError: If the program has an element type that the backend does not know.
            CompilerNotFoundError: If there is no C++ compiler.
            CompilationError: If the compiler fails.
            ModuleNotFoundError: If Triton is not installed.
        """
        return self._kernel(("forward", (), kind), wanted)

    def backward(self, end: End, wanted: tuple[str, ...], kind: Kind) -> Kernel:
        """The backward pass by rows of one end, for its share of the gradients wanted."""
        return self._kernel((f"backward_by_{end}", self.share(end, wanted), kind), wanted)

    def derivative(self, end: End, wanted: tuple[str, ...]) -> Program:
        """The derivative of which the pass by rows of one end is made.

        It is recorded once for both ends, since that takes most of the time of a first call.
        """
        share = self.share(end, wanted)
        if wanted not in self.derivatives:
            self.derivatives[wanted] = derivative(self.program, wanted)
        if share not in self.derivatives:
            self.derivatives[share] = narrowed(self.derivatives[wanted], share)
        return self.derivatives[share]

    def share(self, end: End, wanted: tuple[str, ...]) -> tuple[str, ...]:
        """The inputs, of those wanted, whose gradients the pass by rows of one end forms."""
        inputs = self.program.inputs
        return tuple(name for name in wanted if inputs[name].role in ROLES[end])

    def ends(self, wanted: tuple[str, ...], layout: Layout = "edges") -> list[End]:
        """The backward passes that the gradients wanted need, in order."""
        by_target = bool(self.share("target", wanted)) or self.leaves_state(wanted, layout)
        by_source = bool(self.share("source", wanted))
        needed: list[tuple[End, bool]] = [("target", by_target), ("source", by_source)]
        return [end for end, is_needed in needed if is_needed]

    def leaves_state(self, wanted: tuple[str, ...], layout: Layout) -> bool:
        """Whether the pass by target leaves numbers for each edge, for the pass by source to read.

        Between all pairs of blocks it leaves none: the other pass makes them again.
        """
        by_source = bool(self.share("source", wanted))
        return by_source and self.program.reduction != "edges" and layout == "edges"

    def _kernel(self, key: tuple[str, tuple[str, ...], Kind], wanted: tuple[str, ...]) -> Kernel:
        if key not in self.kernels:
            kind = key[2]
            derivatives = {
                end: self.derivative(end, wanted) for end in self.ends(wanted, kind.layout)
            }
            shares = {"forward": ()} | {
                f"backward_by_{end}": self.share(end, wanted) for end in derivatives
            }
            for name, kernel in self._compiled(derivatives, kind).items():
                self.kernels[name, shares[name], kind] = kernel
        return self.kernels[key]

    def _compiled(self, derivatives: Mapping[End, Program], kind: Kind) -> Mapping[str, Kernel]:
        if self.backend == "cpp":
            return cpp.kernels(self.program, derivatives, kind)
        from graphattn.kernels.triton.available import require_triton

        require_triton()
        from graphattn.kernels.triton import passes as triton  # optional dependency

        return triton.kernels(self.program, derivatives, kind)


@dataclass(frozen=True)
class Call:
    """One call: where the edges are, what dropout keeps, what is wanted.

    Attributes:
        target: Gives the target of each edge, ``(E,)``, int64.
        by_target: The edges into each target.
        by_source: Gives the edges out of each source; asked for in the backward pass only.
        keep: 1 where dropout keeps a weight, ``(E, H)``, uint8; ``None`` without dropout.
        scale: What a kept weight is multiplied by.
        want_weights: Whether the weights are returned.
        want_logits: Whether the logits are returned.
        definition: The same attention in plain PyTorch, from inputs, ``keep`` and ``scale`` to
            results by name; differentiated where a derivative is differentiated again.
    """

    target: Callable[[], Tensor]
    by_target: Rows
    by_source: Callable[[], Rows]
    keep: Tensor | None
    scale: float
    want_weights: bool
    want_logits: bool
    definition: Definition
