"""The C++ of lattice sums: images of a pair that count, then one walk over them for all heads."""

FORWARD = """
// Less than the rounding of a sum: parts of it, and values of a radial function.
constexpr bool IS_SINGLE = sizeof(value_t) == 4;
constexpr int BLOCK = 8;  // channels, or radial functions, that are summed side by side
static_assert(LANES % BLOCK == 0, "channels are padded to a multiple of LANES");
constexpr int PAIRS = 4;  // whose gradients of the weights are added at once
constexpr double LEAST_LOG = IS_SINGLE ? 22 : 44, MOST_WIDTHS = IS_SINGLE ? 6.5 : 9.2;

// The images of one pair: the vectors of all, and those of them that count.
struct Images {
  std::vector<value_t> number[3], shift[3], squared;
  std::vector<int32_t> kept;
  value_t least;
  int64_t count;

  void enter(const Crystals& all, int64_t crystal) {
    const int64_t* limit = all.limits + crystal * 3;
    const value_t* cell = all.cell + crystal * 9;
    const size_t total = (2 * limit[0] + 1) * (2 * limit[1] + 1) * (2 * limit[2] + 1);
    for (int axis = 0; axis < 3; ++axis) number[axis].resize(total), shift[axis].resize(total);
    squared.resize(total), kept.resize(total);
    size_t image = 0;
    for (int64_t a = -limit[0]; a <= limit[0]; ++a)
      for (int64_t b = -limit[1]; b <= limit[1]; ++b)
        for (int64_t c = -limit[2]; c <= limit[2]; ++c, ++image) {
          const value_t cells[3] = {value_t(a), value_t(b), value_t(c)};
          for (int axis = 0; axis < 3; ++axis) {
            number[axis][image] = cells[axis];
            shift[axis][image] =
                cells[0] * cell[axis] + cells[1] * cell[3 + axis] + cells[2] * cell[6 + axis];
          }
        }
  }

  // Those whose part in the widest head's sum can be seen; NaN is kept.
  void see(Vector apart, bool leave_out, value_t widest) {
    const int64_t total = squared.size();
    const value_t *x = shift[0].data(), *y = shift[1].data(), *z = shift[2].data();
    value_t* own = squared.data();
#pragma omp simd
    for (int64_t image = 0; image < total; ++image) {
      const value_t dx = apart.x + x[image], dy = apart.y + y[image], dz = apart.z + z[image];
      own[image] = dx * dx + dy * dy + dz * dz;
    }
    if (leave_out) own[total / 2] = std::numeric_limits<value_t>::infinity();
    value_t nearest = std::numeric_limits<value_t>::infinity();
#pragma omp simd reduction(min : nearest)
    for (int64_t image = 0; image < total; ++image)
      nearest = own[image] < nearest ? own[image] : nearest;
    const value_t beyond = value_t(2 * LEAST_LOG) * widest * widest;
    least = nearest, count = 0;
    for (int64_t image = 0; image < total; ++image) {
      kept[count] = image;
      count += !(own[image] - nearest > beyond);
    }
  }
};

// The radial functions that are not zero at a distance, and their slopes by it.
struct Basis {
  std::vector<value_t> value, slope;
  value_t spacing, width;
  int64_t size, first, last;

  explicit Basis(const Crystals& all)
      : value(all.num_basis + LANES), slope(all.num_basis + LANES), spacing(all.spacing),
        width(all.width), size(all.num_basis) {}

  // The first function whose centre lies beyond; NaN gives the first of all.
  int64_t beyond(value_t distance) const {
    const value_t number = std::floor(distance / spacing);
    return number > 0 ? (number < value_t(size) ? int64_t(number) : size) : 0;
  }

  template <bool SLOPES>
  void at(value_t distance) {
    const value_t reach = value_t(MOST_WIDTHS) * width, inverse = 1 / width;
    first = beyond(distance - reach), last = beyond(distance + reach);
    for (int64_t start = 0; start < last - first; start += LANES)
#pragma omp simd
      for (int lane = 0; lane < LANES; ++lane) {
        const value_t center = value_t(int32_t(first + start) + lane + 1) * spacing;
        const value_t away = (center - distance) * inverse;
        const value_t own = exponential(value_t(-0.5) * away * away);
        value[start + lane] = own;
        if (SLOPES) slope[start + lane] = own * away * inverse;
      }
  }
};

// What one thread works with. Of the means and the gradients of beta, those of several pairs.
struct Work {
  Images images;
  Basis basis;
  std::vector<value_t> precision, mean, total, shares, pull, arriving, centred;
  std::vector<value_t> of_precision, slopes;

  explicit Work(const Crystals& all) : basis(all) {
    const size_t heads = all.padded_heads;
    for (auto* each : {&precision, &total, &centred, &of_precision}) each->assign(heads, 0);
    arriving.assign(PAIRS * all.padded_channels * heads, 0);
    mean.assign(PAIRS * all.num_basis * heads, 0), pull.resize(all.num_basis * heads);
  }

  value_t start_query(const Crystals& all, int64_t query) {
    value_t widest = 0;
    for (int64_t h = 0; h < all.num_heads; ++h) {
      const value_t sigma = all.sigma[query * all.num_heads + h];
      precision[h] = 1 / (sigma * sigma);
      widest = sigma > widest ? sigma : widest;
    }
    return widest;
  }
};

// Sums of the radial functions, (K, H), times the weights: (C, H). A block of channels at once, so
// that no addition waits for the one before.
static void weigh(const Crystals& all, const value_t* mean, value_t* channels) {
  const int64_t heads = all.padded_heads, row = all.padded_channels * heads;
  for (int64_t h = 0; h < heads; h += LANES)
    for (int64_t channel = 0; channel < all.padded_channels; channel += BLOCK) {
      Lanes sums[BLOCK] = {};
      const value_t* weight = all.weight + channel * heads + h;
      for (int64_t k = 0; k < all.num_basis; ++k) {
        const Lanes own = lanes_at(mean + k * heads + h);
        for (int i = 0; i < BLOCK; ++i) sums[i] += own * lanes_at(weight + k * row + i * heads);
      }
      for (int i = 0; i < BLOCK; ++i) put(channels + (channel + i) * heads + h, sums[i]);
    }
}

static void forward_pair(const Crystals& all, Work& work, value_t* alpha, value_t* beta) {
  const int64_t heads = all.padded_heads;
  const Images& images = work.images;
  Basis& basis = work.basis;
  value_t *mean = work.mean.data(), *total = work.total.data();
  const value_t* precision = work.precision.data();
  std::fill_n(mean, all.num_basis * heads, value_t(0));
  std::fill(work.total.begin(), work.total.end(), value_t(0));
  for (int64_t kept = 0; kept < images.count; ++kept) {
    const value_t squared = images.squared[images.kept[kept]], above = squared - images.least;
    basis.at<false>(std::sqrt(squared));
    const value_t* values = basis.value.data();
    for (int64_t h = 0; h < heads; h += LANES) {
      value_t own[LANES];
#pragma omp simd
      for (int lane = 0; lane < LANES; ++lane) {
        own[lane] = exponential(value_t(-0.5) * precision[h + lane] * above);
        total[h + lane] += own[lane];
      }
      const Lanes share = lanes_at(own);
      for (int64_t k = basis.first; k < basis.last; ++k) {
        value_t* at = mean + k * heads + h;
        put(at, lanes_at(at) + values[k - basis.first] * share);
      }
    }
  }
  for (int64_t h = 0; h < all.num_heads; ++h)
    alpha[h] = value_t(-0.5) * precision[h] * images.least + std::log(total[h]);
  weigh(all, mean, work.arriving.data());
  for (int64_t h = 0; h < all.num_heads; ++h)
    for (int64_t channel = 0; channel < all.num_channels; ++channel)
      beta[h * all.num_channels + channel] = work.arriving[channel * heads + h] / total[h];
}

extern "C" void forward(const Crystals* given, value_t* alpha, value_t* beta) {
  const Crystals& all = *given;
#pragma omp parallel num_threads(all.num_threads)
  {
    Work work(all);
#pragma omp for schedule(dynamic)
    for (int64_t chunk = 0; chunk < all.num_chunks; ++chunk)
      for_queries(
          all, chunk, [&](int64_t crystal) { work.images.enter(all, crystal); },
          [&](int64_t crystal, int64_t query) {
            const value_t widest = work.start_query(all, query);
            const int64_t first = all.ptr[crystal], size = all.ptr[crystal + 1] - first;
            for (int64_t key = 0; key < size; ++key) {
              const int64_t pair = all.pairs[crystal] + (query - first) * size + key;
              const value_t* from = all.position + query * 3;
              const bool leave_out = all.exclude_self && first + key == query;
              work.images.see(between(from, all.position + (first + key) * 3), leave_out, widest);
              forward_pair(all, work, alpha + pair * all.num_heads,
                           beta + pair * all.num_heads * all.num_channels);
            }
          });
  }
}
"""
