"""The backward passes of an edge program in C++: one by target row, one by source row."""

import ctypes
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from graphattn.kernels.cpp.exponential import EXPONENTIAL
from graphattn.kernels.cpp.gradients import (
    add,
    clear,
    gradients_of,
    merge,
    parameters,
    store_row,
)
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
from graphattn.kernels.program import Program, Step

# Inputs whose gradients a pass can form: each row's edges are walked by one thread, in order.
ROLES = {"target": ("target", "edge", "shared"), "source": ("source",)}
End = Literal["target", "source"]


@dataclass(frozen=True)
class Cotangents:
    """What arrives from the layers above, and what the forward pass left for here.

    Attributes:
        output: Gradient of the output, ``(N, H, C)``, of the type that sums have.
        log_sum_exp: ``(N, H)``, from the forward pass.
        delta: Sum over each target's edges of weight times the weight's gradient, ``(N, H)``.
        keep: 1 where dropout kept the weight, ``(E, H)``, uint8; ``None`` without dropout.
        scale: What a kept weight is multiplied by.
        weights: Gradient of the weights before dropout, ``(E, H)``, if they were returned.
        logits: Gradient of the logits, ``(E, H)``, if they were returned.
        edge_output: Gradient of the edge output, ``(E, ...)``, if there is one.
    """

    output: Tensor
    log_sum_exp: Tensor
    delta: Tensor
    keep: Tensor | None
    scale: float
    weights: Tensor | None
    logits: Tensor | None
    edge_output: Tensor | None

    def tensors(self) -> list[Tensor | None]:
        """In the order in which the kernel takes them."""
        return [
            self.output,
            self.log_sum_exp,
            self.delta,
            self.keep,
            self.weights,
            self.logits,
            self.edge_output,
        ]


def backward(
    library: ctypes.CDLL,
    program: Program,
    rows: Rows,
    inputs: Mapping[str, Tensor],
    cotangents: Cotangents,
) -> dict[str, Tensor]:
    """Gradients of those inputs that ``program`` computes them for.

    Args:
        library: The compiled ``source(end, program, ...)`` for the type of ``rows.neighbor``.
        program: A derivative of the program that ran forward; see ``derivative``.
        rows: The edges, by target or by source.
        inputs: As in the forward pass.
        cotangents: What arrives.

    Returns:
        Gradients by input, of the inputs' shapes; zeros where no edge adds anything.
    """
    names = [name.removeprefix("grad.") for name in gradients_of(program)]
    gradients, partial = {}, {}
    for name in names:
        spec = program.inputs[name]
        gradients[name] = torch.empty_like(inputs[name], memory_format=torch.contiguous_format)
        if spec.role == "shared":
            shape = (rows.chunks.shape[0] - 1, inputs[name].numel())
            partial[name] = torch.empty(shape, dtype=program.sum_dtype)
    given = [inputs[name].contiguous() for name in program.inputs if name in inputs]
    arriving = [None if t is None else t.contiguous() for t in cotangents.tensors()]
    made = [*gradients.values(), *partial.values()]
    launch(library.backward, rows, cotangents.scale, [*given, *arriving, *made])
    return gradients


def source(end: End, program: Program, index_type: str = "int32_t") -> str:
    """The C++ of a backward pass, as it is compiled.

    Args:
        end: The end of the edges that a row is; ``ROLES`` says whose gradients that allows.
        program: A derivative.
        index_type: C++ type of positions.
    """
    other = "source" if end == "target" else "target"
    sum_type = c_type(program.sum_dtype)
    before, after = _split(program)
    edge_output = program.outputs.get("edge_output")
    gradients = gradients_of(program)
    logits_type = c_type(program.dtype(program.outputs["logits"]))
    return _TEMPLATE.format(
        exponential=EXPONENTIAL,
        end=end,
        other=other,
        sum_type=sum_type,
        logits_type=logits_type,
        message_type=c_type(program.dtype(program.outputs["message"])),
        edge_output_type=c_type(program.dtype(edge_output)) if edge_output else "float",
        index_type=index_type,
        heads=program.num_heads,
        channels=program.channels,
        edge_output_size=program.size(edge_output) if edge_output else 0,
        parameters=",\n    ".join(parameters(program, gradients)),
        shared_rows=row_pointers(program, ("shared",)),
        shared_steps=indented(print_steps(program, _shared(program)), 2),
        row_rows=indented(row_pointers(program, (end,)), 6),
        prefetch=indented(prefetch(program, other, f"ptr[{end} + 1]"), 8),
        edge_rows=indented(row_pointers(program, (other, "edge")), 8),
        before=indented(print_steps(program, before), 8),
        after=indented(print_steps(program, after), 8),
        clear_chunk=indented(clear(program, gradients, ("shared",), sum_type), 4),
        clear_row=indented(clear(program, gradients, (end,), sum_type), 6),
        add=indented(add(program, gradients, end), 8),
        store_row=indented(store_row(program, gradients, end), 6),
        merge=indented(merge(program, gradients), 2),
        logits=c_name(program.outputs["logits"]),
        message=c_name(program.outputs["message"]),
    )


def _shared(program: Program) -> list[Step]:
    return [step for step in program.steps if not step.per_edge]


def _split(program: Program) -> tuple[list[Step], list[Step]]:
    """Steps that run before the gradients of logits and message are known, and those after."""
    waiting = {name for name, spec in program.inputs.items() if spec.role == "cotangent"}
    before: list[Step] = []
    after: list[Step] = []
    for step in program.steps:
        if step.per_edge:
            waits = any(value in waiting for value in step.inputs if isinstance(value, str))
            waiting.update({step.name} if waits else ())
            (after if waits else before).append(step)
    return before, after


# Double braces are braces of C++. Chunks are cut by the structure alone and each has sums of its
# own for shared inputs, merged in order: the bits do not depend on the number of threads.
_TEMPLATE = """\
#include <array>
#include <limits>
{exponential}
using sum_t = {sum_type};
using logits_t = {logits_type};
using message_t = {message_type};
using edge_output_t = {edge_output_type};

// Backward by {end} row: the logits and messages again, their gradients, those of the inputs.
extern "C" void backward(
    int64_t num_chunks, int num_threads, double scale,
    const int64_t* chunks, const int64_t* ptr, const {index_type}* neighbor,
    const {index_type}* order,
    {parameters}) {{
  const sum_t infinity = std::numeric_limits<sum_t>::infinity();
  {shared_rows}
  {shared_steps}
  #pragma omp parallel for schedule(dynamic) num_threads(num_threads)
  for (int64_t chunk = 0; chunk < num_chunks; ++chunk) {{
    {clear_chunk}
    for (int64_t {end} = chunks[chunk]; {end} < chunks[chunk + 1]; ++{end}) {{
      {row_rows}
      {clear_row}
      for (int64_t position = ptr[{end}]; position < ptr[{end} + 1]; ++position) {{
        const int64_t {other} = neighbor[position], edge = order[position];
        {prefetch}
        {edge_rows}
        {before}
        logits_t in_grad_2e_logits[{heads}];
        message_t in_grad_2e_message[{heads} * {channels}];
        sum_t weights[{heads}];
        #pragma omp simd
        for (int h = 0; h < {heads}; ++h) {{
          const sum_t shift = log_sum_exp[target * {heads} + h];
          weights[h] = shift == -infinity ? 0 : exponential({logits}[h] - shift);
        }}
        for (int h = 0; h < {heads}; ++h) {{
          const sum_t weight = weights[h];
          const sum_t kept = keep == nullptr ? 1 : keep[edge * {heads} + h] * sum_t(scale);
          const sum_t* row = grad_output + (target * {heads} + h) * {channels};
          sum_t pull = 0;
          #pragma omp simd reduction(+:pull)
          for (int c = 0; c < {channels}; ++c) {{
            pull += row[c] * {message}[h * {channels} + c];
            in_grad_2e_message[h * {channels} + c] = weight * kept * row[c];
          }}
          pull *= kept;
          if (grad_weights != nullptr) pull += grad_weights[edge * {heads} + h];
          sum_t gradient = weight == 0 ? 0 : weight * (pull - delta[target * {heads} + h]);
          if (grad_logits != nullptr) gradient += grad_logits[edge * {heads} + h];
          in_grad_2e_logits[h] = gradient;
        }}
        const edge_output_t* in_grad_2e_edge_5f_output =
            grad_edge_output + edge * {edge_output_size};
        {after}
        {add}
      }}
      {store_row}
    }}
  }}
  {merge}
}}
"""
