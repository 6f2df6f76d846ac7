"""The C++ of a backward pass by which an edge's weight gets its gradient."""

from graphattn.kernels.program import Program


def row_text(program: Program) -> str:
    """What belongs to a target: its gradient, and what its softmax takes off.

    That is the sum over its edges of weight times the gradient of the weight: the gradient of the
    output times the output, and what arrived at the weights themselves.
    """
    if program.reduction == "edges":
        return ""
    norm = _NORM[program.reduction].format(heads=program.num_heads)
    return _ROW.format(heads=program.num_heads, channels=program.channels, norm=norm)


def pull_text(program: Program, *, is_left: bool) -> str:
    """From the logits or weights of an edge, and ``pull``, to the gradient of each.

    Args:
        program: A derivative.
        is_left: Whether another pass left them, to be read.
    """
    logits = ""
    if program.reduction != "softmax" and "logits" in program.outputs:
        logits = _GRAD_LOGITS
    if program.reduction == "edges":
        return logits.format(heads=program.num_heads) if logits else ""
    name = "logits" if program.reduction == "softmax" else "weights"
    text = _LEFT if is_left else _PULL
    return f"{text}{logits}".format(
        heads=program.num_heads,
        channels=program.channels,
        name=name,
        weight=_WEIGHT[program.reduction],
        gradient=_GRADIENT[program.reduction],
        arriving=_ARRIVING.format(heads=program.num_heads)
        if program.reduction == "softmax"
        else "",
    ).rstrip()


# What the forward pass left, as it is read at the beginning of a row.
_NORM = {
    "softmax": """\
  const sum_t largest = norm[(2 * target) * {heads} + h];
  const sum_t total = norm[(2 * target + 1) * {heads} + h];
  shift_of[h] = largest == -std::numeric_limits<sum_t>::infinity() ? 0 : largest;
  factor_of[h] = total == 0 ? 0 : 1 / total;
""",
    "sum": """\
  const sum_t total = norm[target * {heads} + h];
  factor_of[h] = total == 0 ? 0 : 1 / total;
  is_empty[h] = total == 0;  // unlike an infinite total, whose gradients are NaN
""",
    "none": "",
}
_WEIGHT = {
    "softmax": "exponential(logits[h] - shift_of[h]) * factor_of[h]",
    "sum": "weights[h] * factor_of[h]",
    "none": "weights[h]",
}
_GRADIENT = {
    "softmax": "weight == 0 ? 0 : weight * (pulled - delta_of[h])",
    "sum": "is_empty[h] ? 0 : (pulled - delta_of[h]) * factor_of[h]",
    "none": "pulled",
}

_ROW = """\
const sum_t* grad_output = all_grad_output + target * {heads} * {channels};
const sum_t* output = all_output + target * {heads} * {channels};
sum_t delta_of[{heads}], shift_of[{heads}], factor_of[{heads}];
bool is_empty[{heads}];
for (int h = 0; h < {heads}; ++h) {{
  sum_t given = 0;
  if (all_output != nullptr) {{
    #pragma omp simd reduction(+:given)
    for (int c = 0; c < {channels}; ++c)
      given += grad_output[h * {channels} + c] * output[h * {channels} + c];
  }}
  delta_of[h] = given + (delta == nullptr ? 0 : delta[target * {heads} + h]);
{norm}}}"""

# A weight of zero has a gradient of zero whatever it is multiplied by: a row of -inf has NaN there.
_PULL = """\
sum_t made[{heads}], kept[{heads}], grad_of_{name}[{heads}];
#pragma omp simd
for (int h = 0; h < {heads}; ++h) made[h] = {weight};
sum_t factor_kept[{heads}];
for (int h = 0; h < {heads}; ++h) factor_kept[h] = 1;
if (keep != nullptr) {{
  #pragma omp simd
  for (int h = 0; h < {heads}; ++h)
    factor_kept[h] = is_kept(keep, edge * {heads} + h) * scale;
}}
for (int h = 0; h < {heads}; ++h) {{
  const sum_t weight = made[h], factor = factor_kept[h];
  sum_t pulled = pull[h] * factor;
  if (all_grad_weights != nullptr) pulled += all_grad_weights[edge * {heads} + h];
  kept[h] = weight * factor;
  grad_of_{name}[h] = {gradient};
{arriving}}}
if (state != nullptr)
  for (int h = 0; h < {heads}; ++h) {{
    state[(2 * position) * {heads} + h] = kept[h];
    state[(2 * position + 1) * {heads} + h] = grad_of_{name}[h];
  }}
"""
_ARRIVING = """\
  if (all_grad_logits != nullptr) grad_of_logits[h] += all_grad_logits[edge * {heads} + h];
"""

_LEFT = """\
const sum_t* grad_output = all_grad_output + target * {heads} * {channels};
const sum_t* kept = state + 2 * int64_t(twin[position]) * {heads};
const sum_t* grad_of_{name} = kept + {heads};
"""
_GRAD_LOGITS = """\
sum_t grad_of_logits[{heads}];
for (int h = 0; h < {heads}; ++h)
  grad_of_logits[h] = all_grad_logits == nullptr ? 0 : sum_t(all_grad_logits[edge * {heads} + h]);
"""
