"""The C++ of the gradients of lattice sums: one more walk over the images that count."""

# Of an image n, with share p, squared distance d and the gradients a, b of alpha and beta:
#   of the logit = p (a + v(n) - mean of v), v(n) the pull of b on the radial functions at n;
#   of d = -logit / (2 sigma^2) + p v'(n) / (2 sqrt(d)).
# Those of the logits sum to a. So their pull at sigma is that of d less the least of all, and the
# least times a: where sigma is narrow, nothing large cancels.
BACKWARD = """
struct Gradients {
  const value_t *of_alpha, *of_beta, *beta;
  value_t *of_pairs, *of_sigma, *of_weights;  // of_weights: a slot for each chunk
  double* of_queries;                         // gradients of the cell from each query
};

// What the gradient of beta asks of each radial function, and the logits' gradient but for v(n).
static void start_pair(const Crystals& all, Work& work, const Gradients& given, int64_t pair,
                       value_t* arriving) {
  const int64_t heads = all.padded_heads, channels = all.num_channels;
  const value_t *of_beta = given.of_beta + pair * all.num_heads * channels,
                *beta = given.beta + pair * all.num_heads * channels;
  for (int64_t h = 0; h < all.num_heads; ++h) {
    work.centred[h] = given.of_alpha[pair * all.num_heads + h];
    work.of_precision[h] += work.images.least * work.centred[h];
    for (int64_t channel = 0; channel < channels; ++channel) {
      arriving[channel * heads + h] = of_beta[h * channels + channel];
      work.centred[h] -= of_beta[h * channels + channel] * beta[h * channels + channel];
    }
  }
  const int64_t row = all.padded_channels * heads;
  for (int64_t h = 0; h < heads; h += LANES)
    for (int64_t k = 0; k < all.num_basis; k += BLOCK) {
      const int64_t count = std::min<int64_t>(BLOCK, all.num_basis - k);
      Lanes sums[BLOCK] = {};
      const value_t* weight = all.weight + k * row + h;
      for (int64_t channel = 0; channel < channels; ++channel) {
        const Lanes own = lanes_at(arriving + channel * heads + h);
        if (count == BLOCK)
          for (int i = 0; i < BLOCK; ++i)
            sums[i] += own * lanes_at(weight + i * row + channel * heads);
        else
          for (int i = 0; i < count; ++i)
            sums[i] += own * lanes_at(weight + i * row + channel * heads);
      }
      for (int i = 0; i < count; ++i) put(work.pull.data() + (k + i) * heads + h, sums[i]);
    }
}

// The gradient of the weights from several pairs, whose means of the radial functions are known.
static void add_weights(const Crystals& all, const Work& work, value_t* of_weight) {
  const int64_t heads = all.padded_heads, row = all.padded_channels * heads;
  const int64_t means = all.num_basis * heads;
  for (int64_t k = 0; k < all.num_basis; ++k)
    for (int64_t h = 0; h < heads; h += LANES) {
      Lanes mean[PAIRS];
      for (int i = 0; i < PAIRS; ++i)
        mean[i] = lanes_at(work.mean.data() + i * means + k * heads + h);
      for (int64_t channel = 0; channel < all.num_channels; ++channel) {
        value_t* at = of_weight + k * row + channel * heads + h;
        const value_t* arriving = work.arriving.data() + channel * heads + h;
        Lanes sum = lanes_at(at);
        for (int i = 0; i < PAIRS; ++i) sum += mean[i] * lanes_at(arriving + i * row);
        put(at, sum);
      }
    }
}

// Gaussians of all images, and the inverse of their sum: alpha, which grows with the distance over
// sigma, has too few digits left for it.
static void find_shares(const Crystals& all, Work& work) {
  const int64_t heads = all.padded_heads;
  const Images& images = work.images;
  value_t* total = work.total.data();
  const value_t* precision = work.precision.data();
  work.shares.resize(images.count * heads);
  std::fill(work.total.begin(), work.total.end(), value_t(0));
  for (int64_t kept = 0; kept < images.count; ++kept) {
    const value_t above = images.squared[images.kept[kept]] - images.least;
    value_t* own = work.shares.data() + kept * heads;
#pragma omp simd
    for (int64_t h = 0; h < heads; ++h) {
      own[h] = exponential(value_t(-0.5) * precision[h] * above);
      total[h] += own[h];
    }
  }
  for (int64_t h = 0; h < heads; ++h) total[h] = 1 / total[h];
}

template <bool GEOMETRY, bool WEIGHT>
static void walk_images(const Crystals& all, Work& work, value_t* mean) {
  const int64_t heads = all.padded_heads;
  const Images& images = work.images;
  Basis& basis = work.basis;
  value_t* of_precision = work.of_precision.data();
  const value_t *pull = work.pull.data(), *precision = work.precision.data();
  if (WEIGHT) std::fill_n(mean, all.num_basis * heads, value_t(0));
  if (GEOMETRY) work.slopes.resize(images.count);
  find_shares(all, work);
  for (int64_t kept = 0; kept < images.count; ++kept) {
    const value_t squared = images.squared[images.kept[kept]], distance = std::sqrt(squared);
    const value_t above = squared - images.least, *shares = work.shares.data() + kept * heads;
    basis.template at<GEOMETRY>(distance);
    const value_t *values = basis.value.data(), *slopes = basis.slope.data();
    value_t by_distance = 0, by_square = 0;
    for (int64_t h = 0; h < heads; h += LANES) {
      const Lanes share = lanes_at(shares + h) * lanes_at(work.total.data() + h);
      Lanes value = {}, slope = {};
      for (int64_t k = basis.first; k < basis.last; ++k) {
        const Lanes pulled = lanes_at(pull + k * heads + h);
        value += pulled * values[k - basis.first];
        if (GEOMETRY) slope += pulled * slopes[k - basis.first];
        if (WEIGHT) {
          value_t* at = mean + k * heads + h;
          put(at, lanes_at(at) + values[k - basis.first] * share);
        }
      }
      const Lanes of_logit = share * (lanes_at(work.centred.data() + h) + value);
      put(of_precision + h, lanes_at(of_precision + h) + of_logit * above);
      if (GEOMETRY) {
        const Lanes of_square = of_logit * lanes_at(precision + h), of_root = share * slope;
        for (int lane = 0; lane < LANES && h + lane < all.num_heads; ++lane)
          by_square += of_square[lane], by_distance += of_root[lane];
      }
    }
    // At distance zero there is no direction.
    if (GEOMETRY) work.slopes[kept] = (squared > 0 ? by_distance / distance : 0) - by_square;
  }
}

// Sums what the images pull at the pair and, times their numbers of cells, at the lattice.
static void pull_geometry(const Work& work, Vector apart, value_t* of_pair, double* of_cell) {
  const Images& images = work.images;
  const value_t *slopes = work.slopes.data(), start[3] = {apart.x, apart.y, apart.z};
  for (int axis = 0; axis < 3; ++axis) {
    const value_t* shift = images.shift[axis].data();
    const value_t *a = images.number[0].data(), *b = images.number[1].data(),
                  *c = images.number[2].data();
    double sum = 0, of_a = 0, of_b = 0, of_c = 0;
#pragma omp simd reduction(+ : sum, of_a, of_b, of_c)
    for (int64_t kept = 0; kept < images.count; ++kept) {
      const int32_t image = images.kept[kept];
      const double own = double(slopes[kept] * (start[axis] + shift[image]));
      sum += own, of_a += own * a[image], of_b += own * b[image], of_c += own * c[image];
    }
    of_pair[axis] = sum;
    of_cell[axis] += of_a, of_cell[3 + axis] += of_b, of_cell[6 + axis] += of_c;
  }
}

template <bool GEOMETRY, bool WEIGHT>
static void backward_query(const Crystals& all, Work& work, const Gradients& given,
                           int64_t crystal, int64_t query, value_t* of_weight) {
  const int64_t first = all.ptr[crystal], size = all.ptr[crystal + 1] - first;
  const value_t widest = work.start_query(all, query);
  std::fill(work.of_precision.begin(), work.of_precision.end(), value_t(0));
  if (GEOMETRY) std::fill_n(given.of_queries + query * 9, 9, 0.0);
  for (int64_t key = 0; key < size; ++key) {
    const int64_t pair = all.pairs[crystal] + (query - first) * size + key;
    const Vector apart = between(all.position + query * 3, all.position + (first + key) * 3);
    work.images.see(apart, all.exclude_self && first + key == query, widest);
    const int64_t place = WEIGHT ? key % PAIRS : 0;
    value_t* arriving = work.arriving.data() + place * all.padded_channels * all.padded_heads;
    value_t* mean = work.mean.data() + place * all.num_basis * all.padded_heads;
    start_pair(all, work, given, pair, arriving);
    walk_images<GEOMETRY, WEIGHT>(all, work, mean);
    if (WEIGHT && (place == PAIRS - 1 || key == size - 1)) {
      const int64_t used = (place + 1) * all.num_basis * all.padded_heads;
      std::fill(work.mean.begin() + used, work.mean.end(), value_t(0));
      add_weights(all, work, of_weight);
    }
    if (GEOMETRY)
      pull_geometry(work, apart, given.of_pairs + pair * 3, given.of_queries + query * 9);
  }
  for (int64_t h = 0; h < all.num_heads; ++h) {
    const value_t sigma = all.sigma[query * all.num_heads + h];
    given.of_sigma[query * all.num_heads + h] = work.of_precision[h] * work.precision[h] / sigma;
  }
}

template <bool GEOMETRY, bool WEIGHT>
static void backward(const Crystals& all, const Gradients& given, value_t* of_weight,
                     value_t* of_position, value_t* of_cell) {
  const int64_t slot = all.num_basis * all.padded_channels * all.padded_heads;
#pragma omp parallel num_threads(all.num_threads)
  {
    Work work(all);
#pragma omp for schedule(dynamic)
    for (int64_t chunk = 0; chunk < all.num_chunks; ++chunk) {
      value_t* own = given.of_weights + chunk * slot;
      if (WEIGHT) std::fill_n(own, slot, value_t(0));
      for_queries(
          all, chunk, [&](int64_t crystal) { work.images.enter(all, crystal); },
          [&](int64_t crystal, int64_t query) {
            backward_query<GEOMETRY, WEIGHT>(all, work, given, crystal, query, own);
          });
    }
  }
  if (WEIGHT)
#pragma omp parallel for num_threads(all.num_threads)
    for (int64_t entry = 0; entry < slot; ++entry) {
      of_weight[entry] = 0;
      for (int64_t chunk = 0; chunk < all.num_chunks; ++chunk)
        of_weight[entry] += given.of_weights[chunk * slot + entry];
    }
  if (GEOMETRY) {
    gather_positions(all, given.of_pairs, of_position);
    gather_cells(all, given.of_queries, of_cell);
  }
}

#define BACKWARD(name, geometry, weight)                                                         \\
  extern "C" void backward_##name(                                                               \\
      const Crystals* all, const value_t* of_alpha, const value_t* of_beta, const value_t* beta, \\
      value_t* of_pairs, double* of_queries, value_t* of_weights, value_t* of_sigma,             \\
      value_t* of_weight, value_t* of_position, value_t* of_cell) {                              \\
    const Gradients given = {of_alpha, of_beta,  beta,       of_pairs,                           \\
                             of_sigma, of_weights, of_queries};                                  \\
    backward<geometry, weight>(*all, given, of_weight, of_position, of_cell);                    \\
  }
BACKWARD(sigma, false, false)
BACKWARD(weight, false, true)
BACKWARD(geometry, true, false)
BACKWARD(all, true, true)
"""
