"""Sums, means, least and largest values of segments in C++, with their derivatives."""

import torch
from torch import Tensor

from graphattn.kernels.cpp.segment_walk import walk

_JOBS = r"""
enum Reduction { SUM, MEAN, MIN, MAX };

template <Reduction R>
struct Reduce {
  static constexpr int reductions = 1;
  const Value* rows;
  Value* results;

  void start(State&, const Panel&) const {}

  template <class Count>
  void write(const State&, int64_t, Count) const {}

  template <int K>
  Sum first() const {
    const Sum infinity = std::numeric_limits<Sum>::infinity();
    return R == MIN ? infinity : R == MAX ? -infinity : Sum(0);
  }

  template <int K>
  Sum combine(Sum a, Sum b) const {
    if (R == SUM || R == MEAN) return a + b;
    // NaN wins; in two choices, since compilers do each for all lanes at once.
    const Sum extreme = R == MIN ? (a < b ? a : b) : (a > b ? a : b);
    return a != a ? a : extreme;
  }

  template <int K, class Count>
  void reduce(State& state, int64_t position, Count count) const {
    const Lanes own = read(rows + position, count, first<0>());
#pragma omp simd
    for (int i = 0; i < LANES; ++i)
      state.reduced[0].of[i] = combine<0>(state.reduced[0].of[i], own.of[i]);
  }

  void finish(const State& state, const Panel& panel) const {
    Lanes lanes = state.reduced[0];
    if (panel.num_rows == 0) lanes = Lanes();
    else if (R == MEAN)
      for (int i = 0; i < LANES; ++i) lanes.of[i] /= Sum(panel.num_rows);
    panel.store_own(results, lanes);
  }
};

// Every row gets what its segment has, shared equally for a mean.
template <Reduction R>
struct Expand {
  static constexpr int reductions = 0;
  const Value* values;
  Value* results;

  void finish(State&, const Panel&) const {}

  void start(State& state, const Panel& panel) const {
    if (panel.num_rows == 0) return;
    state.given[0] = panel.own(values);
    if (R == MEAN)
      for (int i = 0; i < LANES; ++i) state.given[0].of[i] /= Sum(panel.num_rows);
  }

  template <class Count>
  void write(const State& state, int64_t position, Count count) const {
    ::write(results + position, state.given[0], count);
  }
};

// The rows that hold the extreme value share its gradient equally.
struct ExtremeBackward {
  static constexpr int reductions = 1;
  const Value *gradients, *rows, *extremes;
  Value* results;

  void finish(State&, const Panel&) const {}

  void start(State& state, const Panel& panel) const {
    if (panel.num_rows == 0) return;
    state.given[0] = panel.own(extremes);
    state.given[1] = panel.own(gradients);
  }

  template <int K>
  Sum first() const {
    return 0;
  }

  template <int K>
  Sum combine(Sum a, Sum b) const {
    return a + b;
  }

  template <int K, class Count>
  void reduce(State& state, int64_t position, Count count) const {
    const Lanes own = read(rows + position, count, std::numeric_limits<Sum>::quiet_NaN());
#pragma omp simd
    for (int i = 0; i < LANES; ++i)
      state.reduced[0].of[i] += own.of[i] == state.given[0].of[i] ? Sum(1) : Sum(0);
  }

  template <class Count>
  void write(const State& state, int64_t position, Count count) const {
    Lanes own = read(rows + position, count, Sum(0));
#pragma omp simd
    for (int i = 0; i < LANES; ++i) {
      // Without any such row, which needs a NaN, this is NaN.
      const Sum share = state.given[1].of[i] / state.reduced[0].of[i];
      own.of[i] = (own.of[i] == state.given[0].of[i] ? Sum(1) : Sum(0)) * share;
    }
    ::write(results + position, own, count);
  }
};

#define REDUCE(name, reduction)                                                            \
  extern "C" int reduce_##name(const Walked* walked, const Value* rows, Value* results) {  \
    return walk(Reduce<reduction>{rows, results}, *walked);                                \
  }
REDUCE(sum, SUM)
REDUCE(mean, MEAN)
REDUCE(min, MIN)
REDUCE(max, MAX)

extern "C" int expand_sum(const Walked* walked, Value* results, const Value* values) {
  return walk(Expand<SUM>{values, results}, *walked);
}

extern "C" int expand_mean(const Walked* walked, Value* results, const Value* values) {
  return walk(Expand<MEAN>{values, results}, *walked);
}

extern "C" int extreme_backward(const Walked* walked, const Value* rows, Value* results,
                                const Value* gradients, const Value* extremes) {
  return walk(ExtremeBackward{gradients, rows, extremes, results}, *walked);
}
"""


def segment_reduce(x: Tensor, ptr: Tensor, reduce: str) -> Tensor:
    """See the operation."""
    x, ptr = x.contiguous(), ptr.contiguous()
    result = x.new_empty(ptr.shape[0] - 1, *x.shape[1:])
    walk(_JOBS, f"reduce_{reduce}", ptr, (x,), (result,))
    return result


def segment_expand(x: Tensor, ptr: Tensor, num_rows: int, reduce: str) -> Tensor:
    """See the operation."""
    x, ptr = x.contiguous(), ptr.contiguous()
    result = x.new_empty(num_rows, *x.shape[1:])
    walk(_JOBS, f"expand_{reduce}", ptr, (result,), (x,))
    return result


def segment_extreme_backward(grad: Tensor, x: Tensor, extreme: Tensor, ptr: Tensor) -> Tensor:
    """See the operation."""
    grad, x, extreme, ptr = (t.contiguous() for t in (grad, x, extreme, ptr))
    result = torch.empty_like(x)
    walk(_JOBS, "extreme_backward", ptr, (x, result), (grad, extreme))
    return result
