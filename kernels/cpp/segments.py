"""Walks over runs of consecutive rows, as C++ text: reductions of each run, then its rows."""

# Values are looked at in strips of 16. Where 16 is a multiple of the number of columns, a strip is
# a piece of several rows; else it lies in a row, and the columns are cut into panels. A long
# segment is cut into blocks, whose results are merged in order: the bits do not depend on how many
# threads there are.
SEGMENTS = r"""
using Value = VALUE_TYPE;
using Sum = std::conditional_t<std::is_same_v<Value, double>, double, float>;
constexpr int LANES = 16;
constexpr int COLUMNS = NUM_COLUMNS;  // 0 for a number that is known at the call
constexpr bool IS_FLAT = COLUMNS > 0;
constexpr int64_t PART = 256;  // rows; a sum of sums of so many rounds less than one long sum

struct Lanes {
  Sum of[LANES];
};

// What a walk over one panel of one segment, or of a part of it, holds.
struct State {
  Lanes reduced[2];
  Lanes given[2];
};

// Columns first:first + width of a segment of num_rows rows; a walk looks at begin:end of them.
struct Panel {
  int64_t segment, num_rows, begin, end, all_columns, first;
  int any_width;

  int64_t num_columns() const { return IS_FLAT ? COLUMNS : all_columns; }
  int width() const { return IS_FLAT ? COLUMNS : any_width; }

  // Calls visit(position of a strip's first value, number of its values).
  template <class Visit>
  void each_strip(Visit visit) const {
    if (IS_FLAT) {
      const int64_t stop = end * num_columns();
      int64_t position = begin * num_columns();
      for (; position + LANES <= stop; position += LANES)
        visit(position, std::integral_constant<int, LANES>());
      if (position < stop) visit(position, int(stop - position));
    } else if (width() == LANES) {
      for (int64_t row = begin; row < end; ++row)
        visit(row * num_columns() + first, std::integral_constant<int, LANES>());
    } else {
      for (int64_t row = begin; row < end; ++row) visit(row * num_columns() + first, width());
    }
  }

  // The segment's own values, repeated for all rows of a strip.
  Lanes own(const Value* values) const {
    Lanes lanes;
    const Value* from = values + segment * num_columns() + first;
    for (int i = 0; i < LANES; ++i)
      lanes.of[i] = IS_FLAT ? Sum(from[i % width()]) : i < width() ? Sum(from[i]) : Sum(0);
    return lanes;
  }

  void store_own(Value* values, const Lanes& lanes) const {
    Value* to = values + segment * num_columns() + first;
    for (int i = 0; i < width(); ++i) to[i] = Value(lanes.of[i]);
  }
};

// The condition within the loop makes it one masked instruction where the processor has it.
template <class Count>
static inline Lanes read(const Value* from, Count count, Sum rest) {
  Lanes lanes;
#pragma omp simd
  for (int i = 0; i < LANES; ++i) lanes.of[i] = i < count ? Sum(from[i]) : rest;
  return lanes;
}

template <class Count>
static inline void write(Value* to, const Lanes& lanes, Count count) {
#pragma omp simd
  for (int i = 0; i < LANES; ++i)
    if (i < count) to[i] = Value(lanes.of[i]);
}

// Combines the lanes of each column. Both lanes of a pair take the operands in the same order, so
// that they agree to the bit.
template <int K, int DISTANCE, class Job>
static inline void fold(const Job& job, Lanes& lanes) {
  if constexpr (DISTANCE >= COLUMNS && DISTANCE > 0) {
    const Lanes own = lanes;
    for (int i = 0; i < LANES; ++i)
      lanes.of[i] = job.template combine<K>(own.of[i & ~DISTANCE], own.of[i | DISTANCE]);
    fold<K, DISTANCE / 2>(job, lanes);
  }
}

// Reduction number K over a panel; every lane then holds the result of its column.
template <int K, class Job>
static inline void reduce(const Job& job, const Panel& panel, State& state) {
  Lanes& lanes = state.reduced[K];
  for (int i = 0; i < LANES; ++i) lanes.of[i] = job.template first<K>();
  for (int64_t begin = panel.begin; begin < panel.end; begin += PART) {
    const Lanes before = lanes;
    for (int i = 0; i < LANES; ++i) lanes.of[i] = job.template first<K>();
    Panel part = panel;
    part.begin = begin;
    part.end = std::min(begin + PART, panel.end);
    part.each_strip([&](int64_t position, auto count) {
      job.template reduce<K>(state, position, count);
    });
    for (int i = 0; i < LANES; ++i)
      lanes.of[i] = job.template combine<K>(before.of[i], lanes.of[i]);
  }
  if constexpr (IS_FLAT) fold<K, LANES / 2>(job, lanes);
}

struct Block {
  int64_t segment, begin, end, first;  // first: the segment's first block
};

template <class Job>
struct Walk {
  const Job& job;
  const int64_t* ptr;
  int64_t num_segments, num_rows, num_columns, block_rows;
  int num_threads;

  int64_t num_panels() const { return IS_FLAT ? 1 : (num_columns + LANES - 1) / LANES; }

  Panel panel(int64_t segment, int64_t begin, int64_t end, int64_t number) const {
    const int64_t first = number * LANES;
    const int width = int(std::min<int64_t>(LANES, num_columns - first));
    const int64_t count = ptr[segment + 1] - ptr[segment];
    return {segment, count, begin, end, num_columns, first, width};
  }

  void whole_segment(int64_t segment) const {
    for (int64_t number = 0; number < num_panels(); ++number) {
      const Panel own = panel(segment, ptr[segment], ptr[segment + 1], number);
      State state;
      job.start(state, own);
      if constexpr (Job::reductions > 0) reduce<0>(job, own, state);
      if constexpr (Job::reductions > 1) reduce<1>(job, own, state);
      job.finish(state, own);
      own.each_strip([&](int64_t position, auto count) { job.write(state, position, count); });
    }
  }

  // The first of the segments of chunk number `chunk`: chunks have about as many rows each.
  int64_t cut(int64_t chunk, int64_t num_chunks) const {
    const int64_t goal = (num_rows + num_segments) * chunk / num_chunks;
    int64_t low = 0, high = num_segments;
    while (low < high) {
      const int64_t middle = (low + high) / 2;
      if (ptr[middle] + middle < goal) low = middle + 1; else high = middle;
    }
    return low;
  }

  void short_segments() const {
    const int64_t num_chunks = num_threads == 1 ? 1 : 16 * num_threads;
#pragma omp parallel for num_threads(num_threads) schedule(dynamic, 1) if (num_threads > 1)
    for (int64_t chunk = 0; chunk < num_chunks; ++chunk) {
      const int64_t stop = chunk + 1 == num_chunks ? num_segments : cut(chunk + 1, num_chunks);
      for (int64_t segment = cut(chunk, num_chunks); segment < stop; ++segment)
        if (ptr[segment + 1] - ptr[segment] <= block_rows) whole_segment(segment);
    }
  }

  int64_t cut_long_segments(Block* blocks) const {
    int64_t count = 0;
    for (int64_t segment = 0; segment < num_segments; ++segment) {
      if (ptr[segment + 1] - ptr[segment] <= block_rows) continue;
      const int64_t first = count, stop = ptr[segment + 1];
      for (int64_t begin = ptr[segment]; begin < stop; begin += block_rows)
        blocks[count++] = {segment, begin, std::min(begin + block_rows, stop), first};
    }
    return count;
  }

  // Calls visit(panel, what is known of its segment, number of block and panel) for all blocks.
  template <int Known, class Visit>
  void each_block(const Block* blocks, int64_t num_blocks, const Lanes* slots,
                  Visit visit) const {
    const int64_t panels = num_panels(), size = num_blocks * panels;
#pragma omp parallel for num_threads(num_threads) schedule(dynamic, 1) if (num_threads > 1)
    for (int64_t i = 0; i < size; ++i) {
      const Block& block = blocks[i / panels];
      const Panel own = panel(block.segment, block.begin, block.end, i % panels);
      State state;
      job.start(state, own);
      const int64_t first = block.first * panels + i % panels;
      for (int k = 0; k < Known; ++k) state.reduced[k] = slots[k * size + first];
      visit(own, state, i);
    }
  }

  template <int K>
  void reduce_blocks(const Block* blocks, int64_t num_blocks, Lanes* slots) const {
    const int64_t panels = num_panels();
    Lanes* results = slots + K * num_blocks * panels;
    each_block<K>(blocks, num_blocks, slots, [&](const Panel& own, State& state, int64_t i) {
      reduce<K>(job, own, state);
      results[i] = state.reduced[K];
    });
    for (int64_t i = 0; i < num_blocks * panels; ++i) {
      const int64_t first = blocks[i / panels].first * panels + i % panels;
      if (first == i) continue;
      for (int j = 0; j < LANES; ++j)
        results[first].of[j] =
            job.template combine<K>(results[first].of[j], results[i].of[j]);
    }
  }

  void long_segments(Block* blocks, Lanes* slots) const {
    const int64_t num_blocks = cut_long_segments(blocks);
    if (num_blocks == 0) return;
    if constexpr (Job::reductions > 0) reduce_blocks<0>(blocks, num_blocks, slots);
    if constexpr (Job::reductions > 1) reduce_blocks<1>(blocks, num_blocks, slots);
    each_block<Job::reductions>(
        blocks, num_blocks, slots, [&](const Panel& own, State& state, int64_t i) {
          if (blocks[i / num_panels()].first == i / num_panels()) job.finish(state, own);
          own.each_strip([&](int64_t position, auto count) { job.write(state, position, count); });
        });
  }
};

struct Walked {
  const int64_t* ptr;
  int64_t num_segments, num_rows, num_columns, block_rows;
  int num_threads;
  void *blocks, *slots;  // for blocks of long segments; null if there are too few rows for one
};

// False if ptr does not cut the rows into segments.
template <class Job>
static bool walk(const Job& job, const Walked& rows) {
  if (!is_partition(rows.ptr, rows.num_segments, rows.num_rows)) return false;
  if (rows.num_columns == 0) return true;
  const Walk<Job> own{job, rows.ptr, rows.num_segments, rows.num_rows, rows.num_columns,
                      rows.block_rows, rows.num_threads};
  own.short_segments();
  if (rows.blocks != nullptr)
    own.long_segments(static_cast<Block*>(rows.blocks), static_cast<Lanes*>(rows.slots));
  return true;
}
"""
