"""The C++ of entmax: Newton's method for the threshold, one segment of one head at a time."""

# `cpu` fills in the two types. Everything is computed in double. Chunks of segments are cut by the
# structure alone, and each has a sum of its own for alpha, merged in order: the bits do not depend
# on the number of threads.
SOURCE = """\
#include <cmath>
#include <cstdint>
#include <limits>

using value_t = VALUE_TYPE;
using index_t = INDEX_TYPE;

// Whether ptr rises from 0 to num_edges and order is a permutation.
extern "C" int is_sound(int64_t num_segments, int64_t num_edges, const int64_t* ptr,
                        const index_t* order, uint8_t* seen) {
  if (ptr[0] != 0 || ptr[num_segments] != num_edges) return 0;
  for (int64_t s = 0; s < num_segments; ++s)
    if (ptr[s] > ptr[s + 1]) return 0;
  for (int64_t k = 0; k < num_edges; ++k) {
    if (order[k] < 0 || order[k] >= num_edges || seen[order[k]]) return 0;
    seen[order[k]] = 1;
  }
  return 1;
}

// The first segment of a chunk; a segment counts as an edge, so that empty ones are work too.
static int64_t begin(int64_t chunk, int64_t num_chunks, int64_t num_segments, const int64_t* ptr) {
  const int64_t goal = (ptr[num_segments] + num_segments) * chunk / num_chunks;
  int64_t low = 0, high = num_segments;
  while (low < high) {
    const int64_t middle = (low + high) / 2;
    if (ptr[middle] + middle < goal) low = middle + 1;
    else high = middle;
  }
  return low;
}

// u to the power 1 / (alpha - 1) is u times its slope.
struct Linear {  // alpha 2
  double slope(double) const { return 1; }
};
struct Square {  // alpha 1.5
  double slope(double u) const { return u; }
};
struct Power {
  double exponent;  // 1 / (alpha - 1) - 1
  double slope(double u) const { return std::pow(u, exponent); }
};

struct Threshold {
  double at, total;  // total: the sum of the weights there, one but for rounding
};

// Halves what lies between -1, where the sum is at least one, and 0, where it is none.
template <typename Weigh>
static Threshold by_bisection(const double* below, int64_t count, Weigh weigh) {
  Threshold low = {-1, 1};
  double high = 0;
  for (;;) {
    const double middle = (low.at + high) / 2;
    if (!(middle > low.at && middle < high)) return low;
    double total = 0;
    for (int64_t k = 0; k < count; ++k) {
      const double u = below[k] - middle;
      if (u > 0) total += u * weigh.slope(u);
    }
    if (total >= 1) low = {middle, total};
    else high = middle;
  }
}

// For alpha up to 2 the sum is a convex function of the threshold, so Newton's method rises to its
// root and never passes it; what has fallen below the threshold is out for good. For sparsemax it
// ends at the root itself.
template <typename Weigh>
static Threshold by_newton(double* below, int64_t count, double less, Weigh weigh) {
  double at = -1;
  for (;;) {
    double total = 0, slope = 0;
    int64_t kept = 0;
    for (int64_t k = 0; k < count; ++k) {
      const double u = below[k] - at;
      if (u > 0) {
        const double own = weigh.slope(u);
        total += u * own;
        slope += own;
        below[kept++] = below[k];
      }
    }
    count = kept;
    const double next = at + (total - 1) * less / slope;
    if (!(next > at)) return {at, total};
    at = next;
  }
}

// One segment of one head. Logits that are equal are so at infinity, too.
template <typename Weigh>
static void weigh_segment(const value_t* logits, value_t* weights, int64_t heads,
                          const index_t* order, int64_t count, double alpha, double* below,
                          Weigh weigh) {
  const double less = alpha - 1, infinity = std::numeric_limits<double>::infinity();
  double largest = -infinity;
  bool is_nan = !(alpha > 1 && alpha < infinity);
  for (int64_t k = 0; k < count; ++k) {
    const double logit = logits[order[k] * heads];
    is_nan |= logit != logit;
    largest = logit > largest ? logit : largest;
  }
  if (is_nan || largest == -infinity) {
    const value_t all = is_nan ? std::numeric_limits<value_t>::quiet_NaN() : 0;
    for (int64_t k = 0; k < count; ++k) weights[order[k] * heads] = all;
    return;
  }
  const auto shifted = [&](int64_t k) {
    const double logit = logits[order[k] * heads];
    return logit == largest ? 0 : (logit - largest) * less;
  };
  int64_t candidates = 0;
  for (int64_t k = 0; k < count; ++k) {
    const double own = shifted(k);
    if (own > -1) below[candidates++] = own;
  }
  const Threshold threshold = alpha <= 2
                                  ? by_newton(below, candidates, less, weigh)
                                  : by_bisection(below, candidates, weigh);
  for (int64_t k = 0; k < count; ++k) {
    const double u = shifted(k) - threshold.at;
    weights[order[k] * heads] = u > 0 ? value_t(u * weigh.slope(u) / threshold.total) : 0;
  }
}

extern "C" void forward(int64_t num_chunks, int num_threads, int64_t num_segments, int64_t heads,
                        const int64_t* ptr, const index_t* order, const double* alpha,
                        const value_t* logits, value_t* weights, double* scratch) {
  #pragma omp parallel for schedule(dynamic) num_threads(num_threads)
  for (int64_t chunk = 0; chunk < num_chunks; ++chunk) {
    const int64_t end = begin(chunk + 1, num_chunks, num_segments, ptr);
    for (int64_t s = begin(chunk, num_chunks, num_segments, ptr); s < end; ++s) {
      const int64_t first = ptr[s], count = ptr[s + 1] - first;
      for (int64_t h = 0; h < heads; ++h) {
        const auto run = [&](auto weigh) {
          weigh_segment(logits + h, weights + h, heads, order + first, count, alpha[h],
                        scratch + first, weigh);
        };
        if (alpha[h] == 2) run(Linear{});
        else if (alpha[h] == 1.5) run(Square{});
        else run(Power{1 / (alpha[h] - 1) - 1});
      }
    }
  }
}

// weight to the power 2 - alpha: the derivative of a weight by its own logit. NaN stays NaN.
static inline double slope_at(double weight, double alpha) {
  if (weight == 0 || weight != weight) return weight;
  return alpha == 2 ? 1 : alpha == 1.5 ? std::sqrt(weight) : std::pow(weight, 2 - alpha);
}

// One segment of one head: the gradient of the logits.
static void logits_backward(const value_t* grad, const value_t* weights, value_t* of_logits,
                            int64_t heads, const index_t* order, int64_t count, double alpha) {
  double size = 0, pull = 0;
  for (int64_t k = 0; k < count; ++k) {
    const int64_t at = order[k] * heads;
    const double slope = slope_at(weights[at], alpha);
    of_logits[at] = slope;
    size += slope;
    pull += slope * grad[at];
  }
  const double mean = size == 0 ? 0 : pull / size;
  for (int64_t k = 0; k < count; ++k) {
    const int64_t at = order[k] * heads;
    of_logits[at] = of_logits[at] * (grad[at] - mean);
  }
}

// One segment of one head: what it adds to the gradient of alpha. Written so that nothing cancels
// as alpha nears one.
static double alpha_backward(const value_t* grad, const value_t* weights, int64_t heads,
                             const index_t* order, int64_t count, double alpha) {
  const double less = alpha - 1;
  double size = 0, steep_pull = 0, excess = 0, pull = 0, excess_pull = 0, log_pull = 0, logs = 0;
  for (int64_t k = 0; k < count; ++k) {
    const double weight = weights[order[k] * heads], arriving = grad[order[k] * heads];
    if (weight == 0) continue;
    const double log = std::log(weight), own = weight * std::expm1(-less * log);
    size += weight + own;
    steep_pull += (weight + own) * arriving;
    excess += own;
    pull += weight * arriving;
    excess_pull += own * arriving;
    log_pull += weight * arriving * log;
    logs += weight * log;
  }
  if (size == 0) return 0;
  const double curved = (excess * pull - excess_pull) / size;
  const double entropic = log_pull - steep_pull / size * logs;
  return (curved / less - entropic) / less;
}

extern "C" void backward(int64_t num_chunks, int num_threads, int64_t num_segments, int64_t heads,
                         const int64_t* ptr, const index_t* order, const double* alpha,
                         const value_t* grad, const value_t* weights, value_t* of_logits,
                         double* by_chunk, double* of_alpha) {
  #pragma omp parallel for schedule(dynamic) num_threads(num_threads)
  for (int64_t chunk = 0; chunk < num_chunks; ++chunk) {
    if (by_chunk != nullptr)
      for (int64_t h = 0; h < heads; ++h) by_chunk[chunk * heads + h] = 0;
    const int64_t end = begin(chunk + 1, num_chunks, num_segments, ptr);
    for (int64_t s = begin(chunk, num_chunks, num_segments, ptr); s < end; ++s) {
      const index_t* rows = order + ptr[s];
      const int64_t count = ptr[s + 1] - ptr[s];
      for (int64_t h = 0; h < heads; ++h) {
        logits_backward(grad + h, weights + h, of_logits + h, heads, rows, count, alpha[h]);
        if (by_chunk != nullptr)
          by_chunk[chunk * heads + h] +=
              alpha_backward(grad + h, weights + h, heads, rows, count, alpha[h]);
      }
    }
  }
  if (by_chunk == nullptr) return;
  for (int64_t h = 0; h < heads; ++h) {
    of_alpha[h] = 0;
    for (int64_t chunk = 0; chunk < num_chunks; ++chunk)
      of_alpha[h] += by_chunk[chunk * heads + h];
  }
}
"""
