"""The C++ by which a backward pass sums and stores gradients."""

from collections.abc import Mapping

from graphattn.kernels.cpp.printer import c_name, c_type
from graphattn.kernels.program import Program


def gradients_of(program: Program) -> dict[str, str]:
    """The values of a derivative that are gradients, by ``"grad.INPUT"``."""
    return {name: value for name, value in program.outputs.items() if name.startswith("grad.")}


def parameters(program: Program, gradients: Mapping[str, str]) -> list[str]:
    """Of the kernel: inputs, what arrives, gradients, partial sums of shared gradients."""
    given = []
    for name, spec in program.inputs.items():
        if spec.role != "cotangent":
            given.append(f"const {c_type(spec.dtype)}* {spec.role}_{c_name(name)}")
    given += [
        "const sum_t* grad_output",
        "const sum_t* log_sum_exp",
        "const sum_t* delta",
        "const uint8_t* keep",
        "const logits_t* grad_weights",
        "const logits_t* grad_logits",
        "const edge_output_t* grad_edge_output",
    ]
    shared = []
    for gradient in gradients:
        name = gradient.removeprefix("grad.")
        spec = program.inputs[name]
        given.append(f"{c_type(spec.dtype)}* {_gradient_name(name)}")
        if spec.role == "shared":
            shared.append(f"sum_t* partial_{c_name(name)}")
    return given + shared


def _gradient_name(name: str) -> str:
    return f"gradient_{c_name(name)}"


def _of_roles(program: Program, gradients: Mapping[str, str], *roles: str) -> list[tuple[str, int]]:
    names = [gradient.removeprefix("grad.") for gradient in gradients]
    return [(n, program.size(n)) for n in names if program.inputs[n].role in roles]


def clear(
    program: Program, gradients: Mapping[str, str], roles: tuple[str, ...], sum_type: str
) -> str:
    """Sums of zero: of a row's inputs, or of a chunk's part of the shared ones."""
    lines = []
    for name, size in _of_roles(program, gradients, *roles):
        if program.inputs[name].role == "shared":
            at = f"partial_{c_name(name)} + chunk * {size}"
            lines.append(f"sum_t* sum_{c_name(name)} = {at};")
        else:
            lines.append(f"{sum_type} sum_{c_name(name)}[{size}];")
        lines.append(f"for (int i = 0; i < {size}; ++i) sum_{c_name(name)}[i] = 0;")
    return "\n".join(lines)


def add(program: Program, gradients: Mapping[str, str], end: str) -> str:
    """Adds what an edge gives to the sums, and writes what is the edge's own."""
    lines = []
    for name, size in _of_roles(program, gradients, end, "shared"):
        value = c_name(gradients[f"grad.{name}"])
        lines.append(f"for (int i = 0; i < {size}; ++i) sum_{c_name(name)}[i] += {value}[i];")
    for name, size in _of_roles(program, gradients, "edge"):
        value = c_name(gradients[f"grad.{name}"])
        at = f"{_gradient_name(name)}[edge * {size} + i]"
        lines.append(f"for (int i = 0; i < {size}; ++i) {at} = {value}[i];")
    return "\n".join(lines)


def store_row(program: Program, gradients: Mapping[str, str], end: str) -> str:
    """Writes the sums of a finished row."""
    lines = []
    for name, size in _of_roles(program, gradients, end):
        at = f"{_gradient_name(name)}[{end} * {size} + i]"
        lines.append(f"for (int i = 0; i < {size}; ++i) {at} = sum_{c_name(name)}[i];")
    return "\n".join(lines)


def merge(program: Program, gradients: Mapping[str, str]) -> str:
    """Adds the chunks' parts of the shared gradients, in order."""
    lines = []
    for name, size in _of_roles(program, gradients, "shared"):
        partial = f"partial_{c_name(name)}"
        lines += [
            f"for (int i = 0; i < {size}; ++i) {{",
            "  sum_t sum = 0;",
            "  for (int64_t chunk = 0; chunk < num_chunks; ++chunk)",
            f"    sum += {partial}[chunk * {size} + i];",
            f"  {_gradient_name(name)}[i] = sum;",
            "}",
        ]
    return "\n".join(lines)
