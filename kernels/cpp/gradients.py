"""How a backward pass sums gradients: over a row's edges, over all edges, or for one edge."""

from dataclasses import dataclass

from graphattn.kernels.cpp.expressions import stored_type
from graphattn.kernels.cpp.stages import effect
from graphattn.kernels.program import Program, Step
from graphattn.kernels.program.names import identifier


@dataclass(frozen=True)
class Gradients:
    """The gradients that a pass forms.

    Attributes:
        program: A derivative; its outputs ``"grad.INPUT"`` are what an edge adds to them.
        end: The end of the edges that the pass has rows of.
    """

    program: Program
    end: str

    def of(self, *roles: str) -> list[tuple[str, int]]:
        """Inputs of some roles that have a gradient here, and their sizes."""
        outputs, specs = self.program.outputs, self.program.inputs
        names = [name.removeprefix("grad.") for name in outputs if name.startswith("grad.")]
        return [(name, self.program.size(name)) for name in names if specs[name].role in roles]

    def fields(self) -> list[tuple[str, int]]:
        """What is gathered over a row's edges."""
        return [(identifier(name), size) for name, size in self.of(self.end)]

    def parameters(self) -> list[tuple[str, str]]:
        """Of the kernel: the gradients, and the parts of shared ones that chunks have found."""
        specs = self.program.inputs
        whole = [
            (f"{stored_type(specs[name].dtype)}*", f"gradient_{identifier(name)}")
            for name, _ in self.of("target", "source", "edge", "shared")
        ]
        return whole + [("sum_t*", f"partial_{identifier(name)}") for name, _ in self.of("shared")]

    def effects(self) -> list[Step]:
        """What is done with the values of an edge."""
        made = []
        for name, _ in self.of(self.end):
            value = self.program.outputs[f"grad.{name}"]
            made.append(effect("add_to", value, f"row.{identifier(name)}", self.program))
        for name, _ in self.of("shared"):
            value = self.program.outputs[f"grad.{name}"]
            made.append(effect("add_to", value, f"sum_{identifier(name)}", self.program))
        for name, size in self.of("edge"):
            value = self.program.outputs[f"grad.{name}"]
            into = f"(gradient_{identifier(name)} + edge * {size})"
            made.append(effect("write", value, into, self.program))
        return made

    def merge(self) -> str:
        """Joins what two chunks found for one row."""
        return "\n".join(
            f"for (int i = 0; i < {size}; ++i) row.{name}[i] += other.{name}[i];"
            for name, size in self.fields()
        )

    def chunk(self) -> str:
        """A chunk's own part of the gradients of shared inputs, zero to begin with."""
        return "\n".join(
            f"sum_t* sum_{identifier(name)} = partial_{identifier(name)} + chunk * {size};\n"
            f"for (int i = 0; i < {size}; ++i) sum_{identifier(name)}[i] = 0;"
            for name, size in self.of("shared")
        )

    def finish(self) -> str:
        """Writes the sums of a finished row."""
        return "\n".join(
            f"for (int i = 0; i < {size}; ++i)\n"
            f"  gradient_{name}[{self.end} * {size} + i] = row.{name}[i];"
            for name, size in self.fields()
        )

    def finale(self) -> str:
        """Adds the chunks' parts of the shared gradients, in order."""
        return "\n".join(
            f"for (int i = 0; i < {size}; ++i) {{\n"
            "  sum_t sum = 0;\n"
            "  for (int64_t chunk = 0; chunk < num_chunks; ++chunk)\n"
            f"    sum += partial_{identifier(name)}[chunk * {size} + i];\n"
            f"  gradient_{identifier(name)}[i] = sum;\n"
            "}"
            for name, size in self.of("shared")
        )
