"""Products of a few rows, and what dropout draws for them, as C++ text."""

from graphattn.kernels.philox.reference import INCREMENTS, MULTIPLIERS, ROUNDS

# The sums of a tile of four rows stay in registers.
PRODUCTS = """\
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

using value_t = VALUE_TYPE;

// Tiles of 4 by 4, or 4 by 2, vectors leave registers for what they are made from.
#if defined(__AVX512F__)
constexpr int BYTES = 64, WIDE = 4;
#elif defined(__AVX__)
constexpr int BYTES = 32, WIDE = 2;
#else
constexpr int BYTES = 16, WIDE = 2;
#endif
constexpr int LANES = BYTES / sizeof(value_t), TALL = 4;
typedef value_t Lanes __attribute__((vector_size(BYTES), aligned(sizeof(value_t)), may_alias));

static inline Lanes lanes_at(const value_t* from) { return *reinterpret_cast<const Lanes*>(from); }
static inline void put(value_t* at, Lanes lanes) { *reinterpret_cast<Lanes*>(at) = lanes; }
static inline int64_t padded(int64_t count) { return (count + LANES - 1) / LANES * LANES; }

// Rows of one head, in the caller's tensor or packed.
template <class T>
struct Rows {
  T* at;
  int64_t stride;
  T* row(int64_t number) const { return at + number * stride; }
};
using Read = Rows<const value_t>;
using Written = Rows<value_t>;

// A tile of left (R, count) times right (count, width).
template <int R, int W>
static inline void product_tile(Read left, Read right, int64_t count, Written out) {
  Lanes sums[R][W];
  for (int r = 0; r < R; ++r)
    for (int w = 0; w < W; ++w) sums[r][w] = Lanes{};
  for (int64_t k = 0; k < count; ++k) {
    Lanes own[W];
    for (int w = 0; w < W; ++w) own[w] = lanes_at(right.row(k) + w * LANES);
    for (int r = 0; r < R; ++r) {
      const value_t factor = left.row(r)[k];
      for (int w = 0; w < W; ++w) sums[r][w] += factor * own[w];
    }
  }
  for (int r = 0; r < R; ++r)
    for (int w = 0; w < W; ++w) put(out.row(r) + w * LANES, sums[r][w]);
}

// Calls visit(first column, number of vectors) until all of a padded width are visited.
template <class Visit>
static inline void by_tiles(int64_t width, Visit visit) {
  int64_t column = 0;
  for (; column + WIDE * LANES <= width; column += WIDE * LANES)
    visit(column, std::integral_constant<int, WIDE>());
  if constexpr (WIDE > 2)
    for (; column + 2 * LANES <= width; column += 2 * LANES)
      visit(column, std::integral_constant<int, 2>());
  for (; column < width; column += LANES) visit(column, std::integral_constant<int, 1>());
}

// left (R, count) times right (count, width); width is padded.
template <int R>
static inline void product(Read left, Read right, int64_t count, int64_t width, Written out) {
  by_tiles(width, [&](int64_t column, auto vectors) {
    product_tile<R, decltype(vectors)::value>(left, {right.at + column, right.stride}, count,
                                              {out.at + column, out.stride});
  });
}

// Adds left (R, count), transposed, times right (R, width) to sums (count, width).
template <int R>
static inline void add_transposed(Read left, Read right, int64_t count, int64_t width,
                                  Written sums) {
  by_tiles(width, [&](int64_t column, auto vectors) {
    constexpr int W = decltype(vectors)::value;
    Lanes own[R][W];
    for (int r = 0; r < R; ++r)
      for (int w = 0; w < W; ++w) own[r][w] = lanes_at(right.row(r) + column + w * LANES);
    for (int64_t k = 0; k < count; ++k)
      for (int w = 0; w < W; ++w) {
        value_t* at = sums.row(k) + column + w * LANES;
        Lanes sum = lanes_at(at);
        for (int r = 0; r < R; ++r) sum += left.row(r)[k] * own[r][w];
        put(at, sum);
      }
  });
}

// Rows whose width may be read in whole vectors.
static Read readable(Read rows, int64_t count, int64_t width, std::vector<value_t>& memory) {
  if (width % LANES == 0) return rows;
  const int64_t stride = padded(width);
  memory.assign(count * stride, 0);
  for (int64_t i = 0; i < count; ++i) std::copy_n(rows.row(i), width, memory.data() + i * stride);
  return {memory.data(), stride};
}

// Zeros to add to; `finish` brings them where they belong if they are not there.
static Written zeros(Written rows, int64_t count, int64_t width, std::vector<value_t>& memory) {
  if (width % LANES == 0) {
    for (int64_t i = 0; i < count; ++i) std::fill_n(rows.row(i), width, value_t(0));
    return rows;
  }
  memory.assign(count * padded(width), 0);
  return {memory.data(), padded(width)};
}

static void finish(Written made, Written rows, int64_t count, int64_t width) {
  if (made.at == rows.at) return;
  for (int64_t i = 0; i < count; ++i) std::copy_n(made.row(i), width, rows.row(i));
}

// (width, padded count)
static Read transposed(Read rows, int64_t count, int64_t width, std::vector<value_t>& memory) {
  const int64_t stride = padded(count);
  memory.resize(width * stride);
  for (int64_t c = 0; c < width; ++c) {
    value_t* to = memory.data() + c * stride;
    for (int64_t i = 0; i < count; ++i) to[i] = rows.row(i)[c];
    std::fill(to + count, to + stride, value_t(0));
  }
  return {memory.data(), stride};
}
"""

DROPOUT = f"""
typedef std::uint64_t Words __attribute__((vector_size(64)));
typedef std::int64_t Answers __attribute__((vector_size(64)));
typedef value_t Factors
    __attribute__((vector_size(8 * sizeof(value_t)), aligned(sizeof(value_t)), may_alias));

// Of `count` weights, what each is multiplied by, eight at a time: zero where the first number of
// Philox-4x32-10 for this seed and counter lies below the threshold. Counters are `step` apart.
static inline void draw(std::uint64_t seed, std::uint64_t threshold, value_t factor,
                        std::uint64_t counter, std::uint64_t step, int64_t count,
                        value_t* factors) {{
  constexpr std::uint64_t low = 0xFFFFFFFF;
  Words counters;
  for (int lane = 0; lane < 8; ++lane) counters[lane] = counter + lane * step;
  for (int64_t first = 0; first < count; first += 8, counters += 8 * step) {{
    Words a = counters & low, b = counters >> 32, c = {{}}, d = {{}};
    std::uint32_t key = seed, other_key = seed >> 32;
#pragma GCC unroll {ROUNDS}
    for (int round = 0; round < {ROUNDS}; ++round) {{
      const Words product = a * UINT64_C({MULTIPLIERS[0]});
      const Words other = c * UINT64_C({MULTIPLIERS[1]});
      a = (other >> 32) ^ b ^ std::uint64_t(key);
      b = other & low;
      c = (product >> 32) ^ d ^ std::uint64_t(other_key);
      d = product & low;
      key += {INCREMENTS[0]}u;
      other_key += {INCREMENTS[1]}u;
    }}
    const Answers is_kept = (Answers)(a >= threshold);  // -1 or 0
    *reinterpret_cast<Factors*>(factors + first) =
        __builtin_convertvector(is_kept, Factors) * -factor;
  }}
}}
"""
