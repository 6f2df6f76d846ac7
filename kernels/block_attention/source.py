"""The C++ of dot-product attention inside sets: some queries of one head and set at a time."""

from graphattn.kernels.block_attention.tiles import DROPOUT, PRODUCTS
from graphattn.kernels.cpp.exponential import EXPONENTIAL

# Keys stand in the lanes of vectors, so that no sum goes across them: keys, and values in the
# backward pass, are transposed once for each head of a set. One thread has all of a head of a set:
# the bits do not depend on how many there are.
_PASSES = """
struct Call {
  int64_t num_sets, heads, width, value_width;
  const int64_t *target_ptr, *source_ptr;
  const int64_t* pairs;  // the first pair of each set
  const value_t *query, *key, *value;
  int64_t query_stride, key_stride, value_stride;
  double scale, factor;
  int64_t seed, threshold;  // 0: nothing is dropped
  int64_t num_threads, sets_at_once;
};

struct Memory {
  std::vector<value_t> keys, values, key_rows, value_rows, query_rows, pull_rows, grad_rows;
  std::vector<value_t> weights, pulls, factors, out, grad_key, grad_value;
};

// One head of one set.
struct Head {
  const Call& call;
  int64_t set, head, first, queries, first_key, keys;
  Head(const Call& call, int64_t unit)
      : call(call), set(unit / call.heads), head(unit % call.heads) {
    first = call.target_ptr[set], queries = call.target_ptr[set + 1] - first;
    first_key = call.source_ptr[set], keys = call.source_ptr[set + 1] - first_key;
  }
  Read read(const value_t* rows, int64_t stride, int64_t from, int64_t width) const {
    return {rows + from * stride + head * width, stride};
  }
  Read query() const { return read(call.query, call.query_stride, first, call.width); }
  Read key() const { return read(call.key, call.key_stride, first_key, call.width); }
  Read value() const { return read(call.value, call.value_stride, first_key, call.value_width); }
  // Of a contiguous tensor (rows, heads, width).
  template <class T>
  Rows<T> of(T* rows, int64_t from, int64_t width) const {
    return {rows + (from * call.heads + head) * width, call.heads * width};
  }
  const value_t* drawn(int64_t query, Memory& memory) const {
    if (call.threshold > 0) {
      const std::uint64_t counter = (call.pairs[set] + query * keys) * call.heads + head;
      draw(call.seed, call.threshold, call.factor, counter, call.heads, keys,
           memory.factors.data());
    }
    return memory.factors.data();
  }
};

// Calls visit(first query, number of them) for four at a time, and one at a time for the rest.
template <class Visit>
static inline void by_queries(int64_t count, Visit visit) {
  int64_t query = 0;
  for (; query + TALL <= count; query += TALL) visit(query, std::integral_constant<int, TALL>());
  for (; query < count; ++query) visit(query, std::integral_constant<int, 1>());
}

template <class T>
static inline Rows<T> from(Rows<T> rows, int64_t number) {
  return {rows.row(number), rows.stride};
}

// What each weight is multiplied by: one, until something is drawn.
static inline void prepare_factors(Memory& memory, int64_t count) {
  if (int64_t(memory.factors.size()) < count + 8) memory.factors.assign(count + 8, 1);
}

static void forward_head(const Head& own, Memory& memory, value_t* out, value_t* norm) {
  const Call& call = own.call;
  const int64_t keys = own.keys, row = padded(keys), wide = padded(call.value_width);
  const value_t infinity = std::numeric_limits<value_t>::infinity(), scale = call.scale;
  const Read columns = transposed(own.key(), keys, call.width, memory.keys);
  const Read values = readable(own.value(), keys, call.value_width, memory.value_rows);
  const Written results = own.of(out, own.first, call.value_width);
  memory.weights.resize(TALL * row), memory.out.resize(TALL * wide);
  prepare_factors(memory, row);
  const Written weights{memory.weights.data(), row}, sums{memory.out.data(), wide};
  by_queries(own.queries, [&](int64_t query, auto many) {
    constexpr int R = decltype(many)::value;
    product<R>(from(own.query(), query), columns, call.width, row, weights);
    value_t inverse[R];
    for (int r = 0; r < R; ++r) {
      value_t *logits = weights.row(r), largest = -infinity, total = 0;
      std::fill(logits + keys, logits + row, -infinity);
#pragma omp simd reduction(max : largest)
      for (int64_t j = 0; j < row; ++j) largest = logits[j] > largest ? logits[j] : largest;
      largest *= scale;
      const value_t shift = largest == -infinity ? 0 : largest;
#pragma omp simd reduction(+ : total)
      for (int64_t j = 0; j < row; ++j) {
        logits[j] = exponential(logits[j] * scale - shift);
        total += logits[j];
      }
      if (call.threshold > 0) {
        const value_t* factors = own.drawn(query + r, memory);
#pragma omp simd
        for (int64_t j = 0; j < row; ++j) logits[j] *= factors[j];
      }
      value_t* kept = norm + ((own.first + query + r) * call.heads + own.head) * 2;
      kept[0] = shift, kept[1] = total;
      inverse[r] = total == 0 ? 0 : 1 / total;
    }
    product<R>({weights.at, row}, values, keys, wide, sums);
    for (int r = 0; r < R; ++r) {
      value_t* to = results.row(query + r);
#pragma omp simd
      for (int64_t c = 0; c < call.value_width; ++c) to[c] = sums.row(r)[c] * inverse[r];
    }
  });
}

struct Gradients {
  const value_t *out, *norm, *arriving;
  value_t *query, *key, *value;
};

static void backward_head(const Head& own, Memory& memory, const Gradients& given) {
  const Call& call = own.call;
  const int64_t keys = own.keys, row = padded(keys), width = call.width;
  const int64_t wide = padded(width), value_width = call.value_width;
  const value_t infinity = std::numeric_limits<value_t>::infinity(), scale = call.scale;
  const Read columns = transposed(own.key(), keys, width, memory.keys);
  const Read value_columns = transposed(own.value(), keys, value_width, memory.values);
  const Read arriving = own.of(given.arriving, own.first, value_width);
  const Read outputs = own.of(given.out, own.first, value_width);
  // What is read in whole vectors.
  const Read key_rows = readable(own.key(), keys, width, memory.key_rows);
  const Read query_rows = readable(own.query(), own.queries, width, memory.query_rows);
  const Read pull_rows = readable(arriving, own.queries, value_width, memory.pull_rows);
  const Written all_query = own.of(given.query, own.first, width);
  const Written all_key = own.of(given.key, own.first_key, width);
  const Written all_value = own.of(given.value, own.first_key, value_width);
  const Written grad_key = zeros(all_key, keys, width, memory.grad_key);
  const Written grad_value = zeros(all_value, keys, value_width, memory.grad_value);
  memory.weights.resize(TALL * row), memory.pulls.resize(TALL * row);
  memory.grad_rows.resize(TALL * wide), prepare_factors(memory, row);
  const Written weights{memory.weights.data(), row}, pulls{memory.pulls.data(), row};
  const Written grad_rows{memory.grad_rows.data(), wide};
  by_queries(own.queries, [&](int64_t query, auto many) {
    constexpr int R = decltype(many)::value;
    product<R>(from(own.query(), query), columns, width, row, weights);
    product<R>(from(arriving, query), value_columns, value_width, row, pulls);
    for (int r = 0; r < R; ++r) {
      const value_t *arrived = arriving.row(query + r), *output = outputs.row(query + r);
      const value_t* kept = given.norm + ((own.first + query + r) * call.heads + own.head) * 2;
      const value_t shift = kept[0], inverse = kept[1] == 0 ? 0 : 1 / kept[1];
      const value_t* factors = own.drawn(query + r, memory);
      value_t *own_weights = weights.row(r), *pulled = pulls.row(r), mean = 0;
#pragma omp simd reduction(+ : mean)
      for (int64_t c = 0; c < value_width; ++c) mean += arrived[c] * output[c];
      std::fill(own_weights + keys, own_weights + row, -infinity);
      // A weight of zero has a gradient of zero whatever it is multiplied by.
#pragma omp simd
      for (int64_t j = 0; j < row; ++j) {
        const value_t weight = exponential(own_weights[j] * scale - shift) * inverse;
        const value_t gradient = weight * (pulled[j] * factors[j] - mean) * scale;
        own_weights[j] = weight * factors[j];
        pulled[j] = weight == 0 ? 0 : gradient;
      }
    }
    const Read made{weights.at, row}, of_logits{pulls.at, row};
    add_transposed<R>(made, from(pull_rows, query), keys, padded(value_width), grad_value);
    add_transposed<R>(of_logits, from(query_rows, query), keys, wide, grad_key);
    product<R>(of_logits, key_rows, keys, wide, grad_rows);
    for (int r = 0; r < R; ++r) std::copy_n(grad_rows.row(r), width, all_query.row(query + r));
  });
  finish(grad_key, all_key, keys, width);
  finish(grad_value, all_value, keys, value_width);
}

template <class Visit>
static void each_head(const Call& call, Visit visit) {
  const int64_t count = call.num_sets * call.heads;
#pragma omp parallel num_threads(call.num_threads) if (call.num_threads > 1)
  {
    Memory memory;
#pragma omp for schedule(dynamic, call.sets_at_once)
    for (int64_t unit = 0; unit < count; ++unit) visit(Head(call, unit), memory);
  }
}

extern "C" void forward(const Call* call, value_t* out, value_t* norm) {
  each_head(*call, [&](const Head& own, Memory& memory) { forward_head(own, memory, out, norm); });
}

extern "C" void backward(const Call* call, const value_t* out, const value_t* norm,
                         const value_t* arriving, value_t* query, value_t* key, value_t* value) {
  const Gradients given{out, norm, arriving, query, key, value};
  each_head(*call, [&](const Head& own, Memory& memory) { backward_head(own, memory, given); });
}
"""

SOURCE = EXPONENTIAL + PRODUCTS + DROPOUT + _PASSES
