"""Segment softmax and its derivative in C++."""

import torch
from torch import Tensor

from graphattn.kernels.cpp.segment_walk import walk

_JOBS = r"""
struct Softmax {
  static constexpr int reductions = 2;
  // Exponentials wait in the output where that takes them as they are.
  static constexpr bool keeps = std::is_same_v<Value, Sum>;
  const Value* logits;
  Value* weights;

  void start(State&, const Panel&) const {}
  void finish(State&, const Panel&) const {}

  template <int K>
  Sum first() const {
    return K == 0 ? -std::numeric_limits<Sum>::infinity() : Sum(0);
  }

  template <int K>
  Sum combine(Sum a, Sum b) const {
    if constexpr (K == 0) return a > b ? a : b;  // NaN shows in the sum
    return a + b;
  }

  Lanes exponentials(const State& state, const Lanes& logit) const {
    Lanes lanes;
#pragma omp simd
    for (int i = 0; i < LANES; ++i) lanes.of[i] = exponential(logit.of[i] - state.reduced[0].of[i]);
    return lanes;
  }

  template <int K, class Count>
  void reduce(State& state, int64_t position, Count count) const {
    const Lanes logit =
        read(logits + position, count, -std::numeric_limits<Sum>::infinity());
    if constexpr (K == 0) {
#pragma omp simd
      for (int i = 0; i < LANES; ++i)
        state.reduced[0].of[i] = combine<0>(logit.of[i], state.reduced[0].of[i]);
    } else {
      const Lanes own = exponentials(state, logit);
      if constexpr (keeps) write_to(position, own, count);
#pragma omp simd
      for (int i = 0; i < LANES; ++i) state.reduced[1].of[i] += own.of[i];
    }
  }

  template <class Count>
  void write_to(int64_t position, const Lanes& lanes, Count count) const {
    ::write(weights + position, lanes, count);
  }

  template <class Count>
  void write(const State& state, int64_t position, Count count) const {
    Lanes lanes = read((keeps ? weights : logits) + position, count, Sum(0));
    if constexpr (!keeps) lanes = exponentials(state, lanes);
#pragma omp simd
    for (int i = 0; i < LANES; ++i) lanes.of[i] /= state.reduced[1].of[i];
    write_to(position, lanes, count);
  }
};

struct SoftmaxBackward {
  static constexpr int reductions = 1;
  const Value *weights, *gradients;
  Value* results;

  void start(State&, const Panel&) const {}
  void finish(State&, const Panel&) const {}

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
    const Lanes weight = read(weights + position, count, Sum(0));
    const Lanes gradient = read(gradients + position, count, Sum(0));
#pragma omp simd
    for (int i = 0; i < LANES; ++i) state.reduced[0].of[i] += weight.of[i] * gradient.of[i];
  }

  template <class Count>
  void write(const State& state, int64_t position, Count count) const {
    Lanes weight = read(weights + position, count, Sum(0));
    const Lanes gradient = read(gradients + position, count, Sum(0));
#pragma omp simd
    for (int i = 0; i < LANES; ++i)
      weight.of[i] *= gradient.of[i] - state.reduced[0].of[i];
    ::write(results + position, weight, count);
  }
};

extern "C" int softmax(const Walked* rows, const Value* logits, Value* weights) {
  return walk(Softmax{logits, weights}, *rows);
}

extern "C" int softmax_backward(const Walked* rows, const Value* weights, const Value* gradients,
                                Value* results) {
  return walk(SoftmaxBackward{weights, gradients, results}, *rows);
}
"""


def segment_softmax(logits: Tensor, ptr: Tensor) -> Tensor:
    """See the operation."""
    logits, ptr = logits.contiguous(), ptr.contiguous()
    weights = torch.empty_like(logits)
    walk(_JOBS, "softmax", ptr, (logits, weights))
    return weights


def segment_softmax_backward(weights: Tensor, grad: Tensor, ptr: Tensor) -> Tensor:
    """See the operation."""
    weights, grad, ptr = weights.contiguous(), grad.contiguous(), ptr.contiguous()
    result = torch.empty_like(weights)
    walk(_JOBS, "softmax_backward", ptr, (weights, grad, result))
    return result
