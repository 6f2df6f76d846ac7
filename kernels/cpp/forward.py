"""The forward pass of an edge program in C++: one walk over the edges into each target."""

import ctypes
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from graphattn.kernels.cpp.build import load, num_threads
from graphattn.kernels.cpp.exponential import EXPONENTIAL
from graphattn.kernels.cpp.printer import c_name, c_type, print_steps
from graphattn.kernels.program import Program

_INDEX_TYPES = {torch.int32: "int32_t", torch.int64: "int64_t"}


@dataclass(frozen=True)
class ForwardResult:
    """What the forward pass of softmax attention leaves.

    Attributes:
        output: ``(N, H, C)``; zero for a target without edges or with logits of −inf alone.
        log_sum_exp: Of the logits of each target, ``(N, H)``; −inf for such a target.
        logits: ``(E, H)``, in the order of the structure.
        edge_output: ``(E, ...)``, in the order of the structure, if the program has one.
    """

    output: Tensor
    log_sum_exp: Tensor
    logits: Tensor
    edge_output: Tensor | None


def forward(
    program: Program,
    ptr: Tensor,
    neighbor: Tensor,
    order: Tensor,
    inputs: Mapping[str, Tensor],
) -> ForwardResult:
    """Softmax attention, compiled for this processor.

    Args:
        program: What every edge computes, in float32 or float64.
        ptr: Edges of target ``i`` stand at ``ptr[i]:ptr[i + 1]``, ``(N + 1,)``, int64.
        neighbor: Source of each edge, ``(E,)``, int32 or int64; checked to be in range.
        order: Position of each edge in the structure, ``(E,)``, of the type of ``neighbor``.
        inputs: By name, on the CPU: rows for targets, sources and edges of the structure, or whole.

    Raises:
        TypeError: If the program has an element type that this backend does not know.
        CompilerNotFoundError: If there is no C++ compiler.
        CompilationError: If the compiler fails.
    """
    library = load(source(program, _INDEX_TYPES[neighbor.dtype]))
    num_targets, num_edges = ptr.shape[0] - 1, order.shape[0]
    heads, channels = program.num_heads, program.channels
    logits_dtype = program.dtype(program.outputs["logits"])
    sum_dtype = _sum_dtype(program)
    output = torch.empty(num_targets, heads, channels, dtype=sum_dtype)
    log_sum_exp = torch.empty(num_targets, heads, dtype=sum_dtype)
    logits = torch.empty(num_edges, heads, dtype=logits_dtype)
    edge_output = None
    if "edge_output" in program.outputs:
        name = program.outputs["edge_output"]
        edge_output = torch.empty(num_edges, *program.shape(name)[1:], dtype=program.dtype(name))
    # Held here so that no copy is freed while the kernel reads it.
    tensors = [ptr, neighbor, order, *(inputs[name].contiguous() for name in program.inputs)]
    tensors += [output, log_sum_exp, logits] + ([] if edge_output is None else [edge_output])
    library.forward(
        ctypes.c_int64(num_targets),
        ctypes.c_int(num_threads()),
        *(ctypes.c_void_p(tensor.data_ptr()) for tensor in tensors),
    )
    return ForwardResult(output, log_sum_exp, logits, edge_output)


def source(program: Program, index_type: str = "int32_t") -> str:
    """The C++ of the forward pass, as it is compiled."""
    sum_type = c_type(_sum_dtype(program))
    heads, channels = program.num_heads, program.channels
    logits, message = (c_name(program.outputs[name]) for name in ("logits", "message"))
    outputs = [
        f"{sum_type}* out",
        f"{sum_type}* log_sum_exp",
        f"{c_type(program.dtype(program.outputs['logits']))}* all_logits",
    ]
    store_edge_output = ""
    if "edge_output" in program.outputs:
        name = program.outputs["edge_output"]
        outputs.append(f"{c_type(program.dtype(name))}* all_edge_output")
        size = program.size(name)
        store_edge_output = (
            f"for (int i = 0; i < {size}; ++i)"
            f" all_edge_output[edge * {size} + i] = {c_name(name)}[i];"
        )
    parameters = [
        f"const {c_type(spec.dtype)}* {spec.role}_{c_name(name)}"
        for name, spec in program.inputs.items()
    ]
    return _TEMPLATE.format(
        exponential=EXPONENTIAL,
        sum_type=sum_type,
        index_type=index_type,
        parameters=",\n    ".join(parameters + outputs),
        shared_rows=_rows(program, ("shared",)),
        shared_steps=_indented(print_steps(program, per_edge=False), 2),
        target_rows=_indented(_rows(program, ("target",)), 4),
        edge_rows=_indented(_rows(program, ("source", "edge")), 6),
        edge_steps=_indented(print_steps(program, per_edge=True), 6),
        store_edge_output=store_edge_output,
        heads=heads,
        channels=channels,
        logits=logits,
        message=message,
    )


def _sum_dtype(program: Program) -> torch.dtype:
    dtypes = [program.dtype(program.outputs[name]) for name in ("logits", "message")]
    return torch.promote_types(*dtypes)


def _rows(program: Program, roles: tuple[str, ...]) -> str:
    """Pointers to the rows of the inputs that an edge sees."""
    row = {"shared": "", "target": "target", "source": "source", "edge": "edge"}
    lines = []
    for name, spec in program.inputs.items():
        if spec.role in roles:
            step = f" + {row[spec.role]} * {program.size(name)}" if row[spec.role] else ""
            pointer = f"const {c_type(spec.dtype)}* {c_name(name)}"
            lines.append(f"{pointer} = {spec.role}_{c_name(name)}{step};")
    return "\n".join(lines)


def _indented(text: str, spaces: int) -> str:
    return text.replace("\n", "\n" + " " * spaces)


# Double braces are braces of C++. A logit of -inf adds nothing, and is passed over so that
# -inf less -inf never arises; a NaN becomes the largest logit and with it the whole row and head.
_TEMPLATE = """\
#include <array>
#include <limits>
{exponential}
static inline float exponential(float x) {{ return exp_f32(x); }}
static inline double exponential(double x) {{ return exp_f64(x); }}

// Forward by target row: logits, softmax in one walk, weighted sum, log-sum-exp.
extern "C" void forward(
    int64_t num_targets, int num_threads,
    const int64_t* ptr, const {index_type}* neighbor, const {index_type}* order,
    {parameters}) {{
  using sum_t = {sum_type};
  const sum_t infinity = std::numeric_limits<sum_t>::infinity();
  {shared_rows}
  {shared_steps}
  #pragma omp parallel for schedule(static) num_threads(num_threads)
  for (int64_t target = 0; target < num_targets; ++target) {{
    sum_t largest[{heads}], total[{heads}], sum[{heads} * {channels}];
    for (int h = 0; h < {heads}; ++h) largest[h] = -infinity, total[h] = 0;
    for (int i = 0; i < {heads} * {channels}; ++i) sum[i] = 0;
    {target_rows}
    for (int64_t position = ptr[target]; position < ptr[target + 1]; ++position) {{
      const int64_t source = neighbor[position], edge = order[position];
      {edge_rows}
      {edge_steps}
      {store_edge_output}
      for (int h = 0; h < {heads}; ++h) {{
        const sum_t logit = {logits}[h];
        all_logits[edge * {heads} + h] = logit;
        if (logit == -infinity) continue;
        const bool is_larger = logit > largest[h] || logit != logit;
        const sum_t rescale = is_larger ? exponential(largest[h] - logit) : 1;
        if (is_larger) largest[h] = logit;
        const sum_t weight = exponential(logit - largest[h]);
        total[h] = total[h] * rescale + weight;
        for (int c = 0; c < {channels}; ++c) {{
          const int i = h * {channels} + c;
          sum[i] = sum[i] * rescale + weight * {message}[i];
        }}
      }}
    }}
    for (int h = 0; h < {heads}; ++h) {{
      const bool is_empty = total[h] == 0;
      for (int c = 0; c < {channels}; ++c) {{
        const int i = h * {channels} + c;
        out[target * {heads} * {channels} + i] = is_empty ? 0 : sum[i] / total[h];
      }}
      log_sum_exp[target * {heads} + h] = is_empty ? -infinity : largest[h] + std::log(total[h]);
    }}
  }}
}}
"""
