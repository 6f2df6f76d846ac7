"""The C++ of sums over the reciprocal lattice: a pair's waves from three, for all heads at once."""

# A wave and its opposite have the same cosine: half of them are summed, twice. The amplitudes are
# of a query, for all of its keys.
SOURCE = """
struct Waves {
  int64_t limit[3], total;
  std::vector<value_t> number[3], wave[3], squared, cosine, sine;
  std::vector<value_t> amplitude, of_amplitude;  // of the query, (waves, heads)
  std::vector<double> powers[3][2];              // cosine and sine of multiples of three phases
  std::vector<value_t> sums;

  void enter(const Crystals& all, int64_t crystal) {
    const value_t* cell = all.cell + crystal * 9;
    for (int axis = 0; axis < 3; ++axis) limit[axis] = all.limits[crystal * 3 + axis];
    total = (limit[0] + 1) * (2 * limit[1] + 1) * (2 * limit[2] + 1);
    for (int axis = 0; axis < 3; ++axis) {
      number[axis].resize(total), wave[axis].resize(total);
      for (auto& each : powers[axis]) each.resize(2 * limit[axis] + 1);
    }
    squared.resize(total), cosine.resize(total), sine.resize(total);
    amplitude.resize(total * all.padded_heads), sums.resize(all.padded_heads);
    int64_t at = 0;
    for (int64_t a = 0; a <= limit[0]; ++a)
      for (int64_t b = -limit[1]; b <= limit[1]; ++b)
        for (int64_t c = -limit[2]; c <= limit[2]; ++c, ++at) {
          const value_t cells[3] = {value_t(a), value_t(b), value_t(c)};
          squared[at] = 0;
          for (int axis = 0; axis < 3; ++axis) {
            number[axis][at] = cells[axis];
            const value_t own =
                cells[0] * cell[axis] + cells[1] * cell[3 + axis] + cells[2] * cell[6 + axis];
            wave[axis][at] = own;
            squared[at] += own * own;
          }
        }
  }

  void start_query(const Crystals& all, int64_t query) {
    const int64_t heads = all.padded_heads;
    for (int64_t h = 0; h < heads; ++h) {
      const value_t sigma = h < all.num_heads ? all.sigma[query * all.num_heads + h] : 0;
      sums[h] = value_t(-0.5) * sigma * sigma;
    }
    for (int64_t at = 0; at < total; ++at) {
      const value_t times = number[0][at] > 0 ? 2 : 1;
#pragma omp simd
      for (int64_t h = 0; h < heads; ++h)
        amplitude[at * heads + h] = times * exponential(sums[h] * squared[at]);
    }
  }

  // Cosines and sines of all phases: multiples of three, and products of these.
  void see(const value_t* cell, Vector apart) {
    for (int axis = 0; axis < 3; ++axis) {
      const double phase = double(cell[axis * 3]) * apart.x + double(cell[axis * 3 + 1]) * apart.y +
                           double(cell[axis * 3 + 2]) * apart.z;
      const double turn[2] = {std::cos(phase), std::sin(phase)};
      double *cosines = powers[axis][0].data() + limit[axis],
             *sines = powers[axis][1].data() + limit[axis];
      cosines[0] = 1, sines[0] = 0;
      for (int64_t n = 1; n <= limit[axis]; ++n) {
        cosines[n] = cosines[-n] = cosines[n - 1] * turn[0] - sines[n - 1] * turn[1];
        sines[n] = sines[n - 1] * turn[0] + cosines[n - 1] * turn[1];
        sines[-n] = -sines[n];
      }
    }
    const int64_t columns = 2 * limit[2] + 1;
    const double *cosines = powers[2][0].data(), *sines = powers[2][1].data();
    value_t *of_cosine = cosine.data(), *of_sine = sine.data();
    for (int64_t a = limit[0]; a <= 2 * limit[0]; ++a)
      for (int64_t b = 0; b <= 2 * limit[1]; ++b, of_cosine += columns, of_sine += columns) {
        const double real = powers[0][0][a] * powers[1][0][b] - powers[0][1][a] * powers[1][1][b];
        const double imaginary =
            powers[0][0][a] * powers[1][1][b] + powers[0][1][a] * powers[1][0][b];
#pragma omp simd
        for (int64_t c = 0; c < columns; ++c) {
          of_cosine[c] = real * cosines[c] - imaginary * sines[c];
          of_sine[c] = real * sines[c] + imaginary * cosines[c];
        }
      }
  }
};

extern "C" void forward(const Crystals* given, value_t* sums) {
  const Crystals& all = *given;
#pragma omp parallel num_threads(all.num_threads)
  {
    Waves waves;
#pragma omp for schedule(dynamic)
    for (int64_t chunk = 0; chunk < all.num_chunks; ++chunk)
      for_queries(
          all, chunk, [&](int64_t crystal) { waves.enter(all, crystal); },
          [&](int64_t crystal, int64_t query) {
            waves.start_query(all, query);
            const int64_t first = all.ptr[crystal], size = all.ptr[crystal + 1] - first;
            value_t* own = sums + (all.pairs[crystal] + (query - first) * size) * all.num_heads;
            for (int64_t key = first; key < first + size; ++key, own += all.num_heads) {
              waves.see(all.cell + crystal * 9,
                        between(all.position + query * 3, all.position + key * 3));
              for (int64_t h = 0; h < all.padded_heads; h += LANES) {
                value_t sum[LANES] = {};
                for (int64_t at = 0; at < waves.total; ++at) {
                  const value_t* amplitude = waves.amplitude.data() + at * all.padded_heads + h;
#pragma omp simd
                  for (int lane = 0; lane < LANES; ++lane)
                    sum[lane] += amplitude[lane] * waves.cosine[at];
                }
                for (int lane = 0; lane < LANES && h + lane < all.num_heads; ++lane)
                  own[h + lane] = sum[lane];
              }
            }
          });
  }
}

struct Gradients {
  const value_t* of_sums;
  value_t *of_pairs, *of_sigma;
  double* of_queries;  // gradients of the reciprocal lattice from each query
};

// By the phases of one pair: each is a sum of three, one for each vector of the lattice.
static void pull_phases(const Crystals& all, const Waves& waves, const value_t* arriving,
                        const value_t* cell, Vector apart, value_t* of_pair, double* of_cell) {
  double pulled[3] = {};
  for (int64_t at = 0; at < waves.total; ++at) {
    const value_t* amplitude = waves.amplitude.data() + at * all.padded_heads;
    value_t sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t h = 0; h < all.padded_heads; ++h) sum += arriving[h] * amplitude[h];
    const double own = -double(sum) * waves.sine[at];
    for (int axis = 0; axis < 3; ++axis) pulled[axis] += own * waves.number[axis][at];
  }
  const value_t ends[3] = {apart.x, apart.y, apart.z};
  for (int axis = 0; axis < 3; ++axis) {
    double sum = 0;
    for (int row = 0; row < 3; ++row) {
      sum += pulled[row] * cell[row * 3 + axis];
      of_cell[row * 3 + axis] += pulled[row] * ends[axis];
    }
    of_pair[axis] = sum;
  }
}

template <bool GEOMETRY>
static void backward_query(const Crystals& all, Waves& waves, const Gradients& given,
                           int64_t crystal, int64_t query) {
  const int64_t heads = all.padded_heads, first = all.ptr[crystal];
  const int64_t size = all.ptr[crystal + 1] - first;
  const value_t* cell = all.cell + crystal * 9;
  double* of_cell = given.of_queries + query * 9;
  if (GEOMETRY) std::fill_n(of_cell, 9, 0.0);
  waves.start_query(all, query);
  waves.of_amplitude.assign(waves.total * heads, value_t(0));
  std::vector<value_t>& arriving = waves.sums;
  std::fill(arriving.begin(), arriving.end(), value_t(0));
  for (int64_t key = 0; key < size; ++key) {
    const int64_t pair = all.pairs[crystal] + (query - first) * size + key;
    const Vector apart = between(all.position + query * 3, all.position + (first + key) * 3);
    waves.see(cell, apart);
    std::copy_n(given.of_sums + pair * all.num_heads, all.num_heads, arriving.begin());
    for (int64_t at = 0; at < waves.total; ++at) {
      value_t* own = waves.of_amplitude.data() + at * heads;
#pragma omp simd
      for (int64_t h = 0; h < heads; ++h) own[h] += waves.cosine[at] * arriving[h];
    }
    if (GEOMETRY)
      pull_phases(all, waves, arriving.data(), cell, apart, given.of_pairs + pair * 3, of_cell);
  }
  // By the amplitudes, exp(-sigma^2 k^2 / 2).
  for (int64_t h = 0; h < all.num_heads; ++h) {
    const double sigma = all.sigma[query * all.num_heads + h];
    double sum = 0;
    for (int64_t at = 0; at < waves.total; ++at) {
      const double own =
          double(waves.of_amplitude[at * heads + h]) * waves.amplitude[at * heads + h];
      sum += own * waves.squared[at];
      if (GEOMETRY)
        for (int row = 0; row < 3; ++row)
          for (int axis = 0; axis < 3; ++axis)
            of_cell[row * 3 + axis] -=
                sigma * sigma * own * waves.number[row][at] * waves.wave[axis][at];
    }
    given.of_sigma[query * all.num_heads + h] = -sigma * sum;
  }
}

template <bool GEOMETRY>
static void backward(const Crystals& all, const Gradients& given, value_t* of_position,
                     value_t* of_cell) {
#pragma omp parallel num_threads(all.num_threads)
  {
    Waves waves;
#pragma omp for schedule(dynamic)
    for (int64_t chunk = 0; chunk < all.num_chunks; ++chunk)
      for_queries(
          all, chunk, [&](int64_t crystal) { waves.enter(all, crystal); },
          [&](int64_t crystal, int64_t query) {
            backward_query<GEOMETRY>(all, waves, given, crystal, query);
          });
  }
  if (GEOMETRY) {
    gather_positions(all, given.of_pairs, of_position);
    gather_cells(all, given.of_queries, of_cell);
  }
}

#define BACKWARD(name, geometry)                                                              \\
  extern "C" void backward_##name(const Crystals* all, const value_t* of_sums, value_t* of_pairs, \\
                                  double* of_queries, value_t* of_sigma, value_t* of_position, \\
                                  value_t* of_cell) {                                         \\
    backward<geometry>(*all, {of_sums, of_pairs, of_sigma, of_queries}, of_position, of_cell); \\
  }
BACKWARD(sigma, false)
BACKWARD(geometry, true)
"""
