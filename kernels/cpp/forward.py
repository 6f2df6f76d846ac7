"""The forward pass of an edge program in C++: one walk over the edges into each target."""

import ctypes
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from graphattn.kernels.cpp.exponential import EXPONENTIAL
from graphattn.kernels.cpp.launch import launch
from graphattn.kernels.cpp.printer import (
    c_name,
    c_type,
    indented,
    prefetch,
    print_steps,
    row_pointers,
)
from graphattn.kernels.edge_attention.rows import Rows
from graphattn.kernels.program import Program


@dataclass(frozen=True)
class ForwardResult:
    """What the forward pass of softmax attention leaves.

    Attributes:
        output: ``(N, H, C)``; zero for a target without edges or with logits of −inf alone.
        log_sum_exp: Of the logits of each target, ``(N, H)``; −inf for such a target.
        logits: ``(E, H)``, in the order of the structure, if they were asked for.
        edge_output: ``(E, ...)``, in the order of the structure, if the program has one.
    """

    output: Tensor
    log_sum_exp: Tensor
    logits: Tensor | None
    edge_output: Tensor | None


def forward(
    library: ctypes.CDLL,
    program: Program,
    rows: Rows,
    inputs: Mapping[str, Tensor],
    *,
    keep: Tensor | None = None,
    scale: float = 1.0,
    want_logits: bool = False,
) -> ForwardResult:
    """Softmax attention, compiled for this processor.

    Args:
        library: The compiled ``source(program, ...)`` for the type of ``rows.neighbor``.
        program: What every edge computes, in float32 or float64.
        rows: The edges into each target.
        inputs: By name, on the CPU: rows for targets, sources and edges of the structure, or whole.
        keep: 1 where dropout keeps a weight, ``(E, H)``, uint8, in the order of the structure.
        scale: What a kept weight is multiplied by.
        want_logits: Whether to return the logits.
    """
    num_targets, num_edges = rows.ptr.shape[0] - 1, rows.order.shape[0]
    heads, channels = program.num_heads, program.channels
    dtype = program.sum_dtype
    output = torch.empty(num_targets, heads, channels, dtype=dtype)
    log_sum_exp = torch.empty(num_targets, heads, dtype=dtype)
    logits = edge_output = None
    if want_logits:
        logits = torch.empty(num_edges, heads, dtype=program.dtype(program.outputs["logits"]))
    if "edge_output" in program.outputs:
        name = program.outputs["edge_output"]
        edge_output = torch.empty(num_edges, *program.shape(name)[1:], dtype=program.dtype(name))
    given = [inputs[name].contiguous() for name in program.inputs]
    launch(library.forward, rows, scale, [*given, keep, output, log_sum_exp, logits, edge_output])
    return ForwardResult(output, log_sum_exp, logits, edge_output)


def source(program: Program, index_type: str = "int32_t") -> str:
    """The C++ of the forward pass, as it is compiled.

    Args:
        program: What every edge computes.
        index_type: C++ type of positions.

    Raises:
        TypeError: If the program has an element type that this backend does not know.
    """
    logits, message = (program.outputs[name] for name in ("logits", "message"))
    edge_output = program.outputs.get("edge_output")
    store_edge_output = ""
    if edge_output is not None:
        size = program.size(edge_output)
        at = f"all_edge_output[edge * {size} + i]"
        store_edge_output = f"for (int i = 0; i < {size}; ++i) {at} = {c_name(edge_output)}[i];"
    parameters = [
        f"const {c_type(spec.dtype)}* {spec.role}_{c_name(name)}"
        for name, spec in program.inputs.items()
    ]
    return _TEMPLATE.format(
        exponential=EXPONENTIAL,
        sum_type=c_type(program.sum_dtype),
        logits_type=c_type(program.dtype(logits)),
        edge_output_type=c_type(program.dtype(edge_output)) if edge_output else "float",
        index_type=index_type,
        parameters="".join(f"{parameter},\n    " for parameter in parameters),
        shared_rows=row_pointers(program, ("shared",)),
        shared_steps=indented(
            print_steps(program, [step for step in program.steps if not step.per_edge]), 2
        ),
        target_rows=indented(row_pointers(program, ("target",)), 4),
        prefetch=indented(prefetch(program, "source", "ptr[target + 1]"), 6),
        edge_rows=indented(row_pointers(program, ("source", "edge")), 6),
        edge_steps=indented(
            print_steps(program, [step for step in program.steps if step.per_edge]), 6
        ),
        store_edge_output=store_edge_output,
        heads=program.num_heads,
        channels=program.channels,
        logits=c_name(logits),
        message=c_name(message),
    )


# Double braces are braces of C++. The shift is finite even where all logits are -inf, so that -inf
# less -inf never arises; a NaN becomes the largest logit and with it the whole row and head.
_TEMPLATE = """\
#include <array>
#include <limits>
{exponential}

// Forward by target row: logits, softmax in one walk, weighted sum, log-sum-exp.
extern "C" void forward(
    int64_t num_chunks, int num_threads, double scale,
    const int64_t* chunks, const int64_t* ptr, const {index_type}* neighbor,
    const {index_type}* order,
    {parameters}const uint8_t* keep,
    {sum_type}* out, {sum_type}* log_sum_exp, {logits_type}* all_logits,
    {edge_output_type}* all_edge_output) {{
  using sum_t = {sum_type};
  const sum_t infinity = std::numeric_limits<sum_t>::infinity();
  {shared_rows}
  {shared_steps}
  #pragma omp parallel for schedule(dynamic) num_threads(num_threads)
  for (int64_t chunk = 0; chunk < num_chunks; ++chunk)
  for (int64_t target = chunks[chunk]; target < chunks[chunk + 1]; ++target) {{
    sum_t largest[{heads}], total[{heads}], sum[{heads} * {channels}];
    for (int h = 0; h < {heads}; ++h) largest[h] = -infinity, total[h] = 0;
    for (int i = 0; i < {heads} * {channels}; ++i) sum[i] = 0;
    {target_rows}
    for (int64_t position = ptr[target]; position < ptr[target + 1]; ++position) {{
      const int64_t source = neighbor[position], edge = order[position];
      {prefetch}
      {edge_rows}
      {edge_steps}
      {store_edge_output}
      sum_t rescale[{heads}], weight[{heads}];
      bool is_rescaled = false;
      #pragma omp simd reduction(||:is_rescaled)
      for (int h = 0; h < {heads}; ++h) {{
        const sum_t logit = {logits}[h];
        const bool is_larger = logit > largest[h] || logit != logit;
        const sum_t shift = is_larger ? logit : largest[h];
        const sum_t finite = shift == -infinity ? 0 : shift;
        rescale[h] = exponential(largest[h] - finite);
        weight[h] = exponential(logit - finite);
        total[h] = total[h] * rescale[h] + weight[h];
        largest[h] = shift;
        is_rescaled = is_rescaled || is_larger;
      }}
      if (all_logits != nullptr)
        for (int h = 0; h < {heads}; ++h) all_logits[edge * {heads} + h] = {logits}[h];
      if (keep != nullptr)
        for (int h = 0; h < {heads}; ++h) weight[h] *= keep[edge * {heads} + h] * sum_t(scale);
      if (is_rescaled)
        for (int h = 0; h < {heads}; ++h)
          for (int c = 0; c < {channels}; ++c) sum[h * {channels} + c] *= rescale[h];
      for (int h = 0; h < {heads}; ++h)
        for (int c = 0; c < {channels}; ++c)
          sum[h * {channels} + c] += weight[h] * {message}[h * {channels} + c];
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
