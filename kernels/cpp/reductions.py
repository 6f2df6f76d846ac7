"""The C++ by which the weights of a target's edges are made, summed and divided."""

from graphattn.kernels.program import Program

# A largest logit is replaced once another exceeds it by more than this: sums are then rescaled
# seldom, and stay within e^8 of their number of terms.
_MARGIN = 8


def fields(program: Program) -> list[tuple[str, int]]:
    """What is gathered over a target's edges: names and numbers of elements."""
    if program.reduction == "edges":
        return []
    heads, channels = program.num_heads, program.channels
    scalars = {
        "softmax": ("largest", "shift", "total"),
        "sum": ("total",),
        "none": (),
    }[program.reduction]
    return [*((name, heads) for name in scalars), ("sum", heads * channels)]


def clear_text(program: Program) -> str:
    """Before any edge: a sum of zero, a largest logit of −inf."""
    if program.reduction != "softmax":
        return ""
    return (
        f"for (int h = 0; h < {program.num_heads}; ++h)\n"
        "  row.largest[h] = -std::numeric_limits<sum_t>::infinity();"
    )


def merge_text(program: Program) -> str:
    """Joins what two chunks found for one row."""
    if program.reduction == "softmax":
        return _filled(_MERGE_SOFTMAX, program)
    return "\n".join(
        f"for (int i = 0; i < {size}; ++i) row.{name}[i] += other.{name}[i];"
        for name, size in fields(program)
    )


def weight_text(program: Program) -> str:
    """From the logits or weights of an edge to what its message is multiplied by."""
    made = {"softmax": _SOFTMAX_WEIGHT, "sum": _SUM_WEIGHT, "none": _WEIGHT, "edges": ""}
    stores = "".join(
        f"if (all_{name} != nullptr)\n"
        f"  for (int h = 0; h < {{heads}}; ++h) all_{name}[edge * {{heads}} + h] = {name}[h];\n"
        for name in ("logits", "weights")
        if name in program.outputs
    )
    keep = "" if program.reduction == "edges" else _KEEP
    return _filled(f"{made[program.reduction]}{stores}{keep}", program)


def finish_text(program: Program) -> str:
    """Writes a target's output and what its weights were divided by."""
    text = {"softmax": _FINISH_SOFTMAX, "sum": _FINISH_SUM, "none": _FINISH, "edges": ""}
    return _filled(text[program.reduction], program)


def _filled(text: str, program: Program) -> str:
    channels = program.channels if "message" in program.outputs else 0
    return text.format(
        heads=program.num_heads,
        channels=channels,
        margin=_MARGIN,
        epsilon=repr(float(program.epsilon)),
    ).rstrip()


# Double braces are braces of C++. The shift is finite even where all logits are -inf, so that -inf
# less -inf never arises. Each head is by itself, down to the bits. Nothing is chosen in the loops
# that call the exponential, nor is a bool summed: compilers would turn either into branches, and
# then vectorise nothing.
_SOFTMAX_WEIGHT = """\
int grows = 0;
#pragma omp simd reduction(|:grows)
for (int h = 0; h < {heads}; ++h) grows |= !(logits[h] <= row.largest[h] + {margin});
if (grows) {{
  sum_t rescale[{heads}];
  #pragma omp simd
  for (int h = 0; h < {heads}; ++h) {{
    // A NaN is not kept here, but in the sums, which it has spoilt.
    const sum_t logit = logits[h], before = row.largest[h];
    const sum_t now = logit <= before + {margin} ? before : logit;
    row.largest[h] = now;
    row.shift[h] = now == -std::numeric_limits<sum_t>::infinity() ? 0 : now;
    rescale[h] = before - row.shift[h];
  }}
  #pragma omp simd
  for (int h = 0; h < {heads}; ++h) {{
    rescale[h] = exponential(rescale[h]);
    row.total[h] *= rescale[h];
  }}
  for (int h = 0; h < {heads}; ++h) {{
    #pragma omp simd
    for (int c = 0; c < {channels}; ++c) row.sum[h * {channels} + c] *= rescale[h];
  }}
}}
sum_t weight[{heads}];
#pragma omp simd
for (int h = 0; h < {heads}; ++h) {{
  weight[h] = exponential(logits[h] - row.shift[h]);
  row.total[h] += weight[h];
}}
"""

_SUM_WEIGHT = """\
sum_t weight[{heads}];
for (int h = 0; h < {heads}; ++h) {{
  weight[h] = weights[h];
  row.total[h] += weight[h];
}}
"""

_WEIGHT = """\
sum_t weight[{heads}];
for (int h = 0; h < {heads}; ++h) weight[h] = weights[h];
"""

_KEEP = """\
if (keep != nullptr) {{
  #pragma omp simd
  for (int h = 0; h < {heads}; ++h) weight[h] *= is_kept(keep, edge * {heads} + h) * scale;
}}
"""

_MERGE_SOFTMAX = """\
const sum_t infinity = std::numeric_limits<sum_t>::infinity();
for (int h = 0; h < {heads}; ++h) {{
  const sum_t now = larger(row.largest[h], other.largest[h]);
  const sum_t shift = now == -infinity ? 0 : now;
  const sum_t own = exponential(row.largest[h] - shift);
  const sum_t others = exponential(other.largest[h] - shift);
  row.largest[h] = now;
  row.total[h] = row.total[h] * own + other.total[h] * others;
  for (int c = 0; c < {channels}; ++c) {{
    const int i = h * {channels} + c;
    row.sum[i] = row.sum[i] * own + other.sum[i] * others;
  }}
}}"""

_FINISH_SOFTMAX = """\
const sum_t infinity = std::numeric_limits<sum_t>::infinity();
for (int h = 0; h < {heads}; ++h) {{
  sum_t largest = row.largest[h], total = row.total[h], rescale = 1;
  if (sink != nullptr) {{
    const sum_t now = larger(largest, sink[h]);
    const sum_t shift = now == -infinity ? 0 : now;
    rescale = exponential(largest - shift);
    total = total * rescale + exponential(sink[h] - shift);
    largest = now;
  }}
  const bool is_empty = total == 0;
  const sum_t factor = is_empty ? 0 : rescale / total;
  for (int c = 0; c < {channels}; ++c) {{
    const int i = h * {channels} + c;
    out[target * {heads} * {channels} + i] = is_empty ? 0 : row.sum[i] * factor;
  }}
  norm[(2 * target) * {heads} + h] = largest;
  norm[(2 * target + 1) * {heads} + h] = total;
}}"""

_FINISH_SUM = """\
for (int h = 0; h < {heads}; ++h) {{
  const sum_t total = row.total[h] + sum_t({epsilon});
  for (int c = 0; c < {channels}; ++c) {{
    const int i = h * {channels} + c;
    out[target * {heads} * {channels} + i] = total == 0 ? 0 : row.sum[i] / total;
  }}
  norm[target * {heads} + h] = total;
}}"""

_FINISH = """\
for (int i = 0; i < {heads} * {channels}; ++i)
  out[target * {heads} * {channels} + i] = row.sum[i];"""
