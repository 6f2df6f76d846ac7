// GATv2 attention for 8 heads of 16 channels in float32, written by hand: what a person with a day
// to spare for one score, one width and one kind of processor would write.

using row_t = float __attribute__((vector_size(64)));  // the 16 channels of one head
constexpr int H = 8, C = 16, W = H * C, AHEAD = 4;
constexpr float SLOPE = 0.2f;

static inline row_t load(const float* from) {
  row_t row;
  std::memcpy(&row, from, sizeof row);
  return row;
}

static inline void store(float* to, row_t row) { std::memcpy(to, &row, sizeof row); }

static inline float sum(row_t row) {
  float total = 0;
  #pragma omp simd reduction(+ : total)
  for (int c = 0; c < C; ++c) total += row[c];
  return total;
}

static inline row_t leaky(row_t x) { return x > 0 ? x : x * SLOPE; }

// The slope of the leaky rectifier at x, times y.
static inline row_t leaky_slope(row_t x, row_t y) { return x > 0 ? y : y * SLOPE; }

static inline void prefetch(const float* row) {
  for (int i = 0; i < W; i += 16) __builtin_prefetch(row + i);
}

// By target: online softmax and weighted sum in one walk over the edges.
extern "C" void forward(
    int64_t num_chunks, int num_threads, const int64_t* chunks, const int64_t* ptr,
    const int32_t* sources, const float* source_rows, const float* target_rows,
    const float* attention, float* out, float* log_sum_exp) {
  #pragma omp parallel for schedule(dynamic) num_threads(num_threads)
  for (int64_t chunk = 0; chunk < num_chunks; ++chunk) {
    const int64_t last = ptr[chunks[chunk + 1]] - 1;
    for (int64_t target = chunks[chunk]; target < chunks[chunk + 1]; ++target) {
      row_t total[H] = {}, own[H], vector[H];
      float largest[H], norm[H] = {};
      for (int h = 0; h < H; ++h) {
        largest[h] = -INFINITY;
        own[h] = load(target_rows + target * W + h * C);
        vector[h] = load(attention + h * C);
      }
      for (int64_t at = ptr[target]; at < ptr[target + 1]; ++at) {
        prefetch(source_rows + int64_t(sources[at + AHEAD < last ? at + AHEAD : last]) * W);
        const float* row = source_rows + int64_t(sources[at]) * W;
        float logits[H], weights[H], rescale[H];
        for (int h = 0; h < H; ++h)
          logits[h] = sum(leaky(own[h] + load(row + h * C)) * vector[h]);
        int is_larger = 0;
        for (int h = 0; h < H; ++h) is_larger |= logits[h] > largest[h];
        if (is_larger) {
          #pragma omp simd
          for (int h = 0; h < H; ++h) {
            const float shift = logits[h] > largest[h] ? logits[h] : largest[h];
            rescale[h] = exp_f32(largest[h] - shift);
            largest[h] = shift;
            norm[h] *= rescale[h];
          }
          for (int h = 0; h < H; ++h) total[h] *= rescale[h];
        }
        #pragma omp simd
        for (int h = 0; h < H; ++h) {
          weights[h] = exp_f32(logits[h] - largest[h]);
          norm[h] += weights[h];
        }
        for (int h = 0; h < H; ++h) total[h] += weights[h] * load(row + h * C);
      }
      for (int h = 0; h < H; ++h) {
        const bool is_empty = norm[h] == 0;
        store(out + target * W + h * C, is_empty ? row_t{} : total[h] / norm[h]);
        log_sum_exp[target * H + h] = is_empty ? -INFINITY : largest[h] + std::log(norm[h]);
      }
    }
  }
}

// By target: gradients of the target's rows and of the attention vector; leaves the weights and
// the gradients of the logits, edge by edge as they are walked here, for the other pass.
extern "C" void backward_by_target(
    int64_t num_chunks, int num_threads, const int64_t* chunks, const int64_t* ptr,
    const int32_t* sources, const float* source_rows, const float* target_rows,
    const float* attention, const float* out, const float* log_sum_exp, const float* grad_out,
    float* all_weights, float* all_grad_logits, float* grad_target, float* partial_attention) {
  #pragma omp parallel for schedule(dynamic) num_threads(num_threads)
  for (int64_t chunk = 0; chunk < num_chunks; ++chunk) {
    const int64_t last = ptr[chunks[chunk + 1]] - 1;
    row_t of_vector[H] = {};
    for (int64_t target = chunks[chunk]; target < chunks[chunk + 1]; ++target) {
      row_t of_own[H] = {};
      float delta[H], shift[H];
      for (int h = 0; h < H; ++h) {
        const int64_t at = target * W + h * C;
        delta[h] = sum(load(out + at) * load(grad_out + at));
        shift[h] = log_sum_exp[target * H + h];
      }
      for (int64_t at = ptr[target]; at < ptr[target + 1]; ++at) {
        prefetch(source_rows + int64_t(sources[at + AHEAD < last ? at + AHEAD : last]) * W);
        const float* row = source_rows + int64_t(sources[at]) * W;
        float logits[H], pulls[H], weights[H], of_logits[H];
        row_t features[H];
        for (int h = 0; h < H; ++h) {
          const row_t source = load(row + h * C);
          features[h] = load(target_rows + target * W + h * C) + source;
          logits[h] = sum(leaky(features[h]) * load(attention + h * C));
          pulls[h] = sum(load(grad_out + target * W + h * C) * source);
        }
        #pragma omp simd
        for (int h = 0; h < H; ++h) {
          weights[h] = exp_f32(logits[h] - shift[h]);
          of_logits[h] = weights[h] * (pulls[h] - delta[h]);
        }
        std::memcpy(all_weights + at * H, weights, sizeof weights);
        std::memcpy(all_grad_logits + at * H, of_logits, sizeof of_logits);
        for (int h = 0; h < H; ++h) {
          of_own[h] += of_logits[h] * leaky_slope(features[h], load(attention + h * C));
          of_vector[h] += of_logits[h] * leaky(features[h]);
        }
      }
      for (int h = 0; h < H; ++h) store(grad_target + target * W + h * C, of_own[h]);
    }
    for (int h = 0; h < H; ++h) store(partial_attention + chunk * W + h * C, of_vector[h]);
  }
}

// By source: gradients of the source's rows. `places` says where each edge stood in the pass above.
extern "C" void backward_by_source(
    int64_t num_chunks, int num_threads, const int64_t* chunks, const int64_t* ptr,
    const int32_t* targets, const int32_t* places, const float* source_rows,
    const float* target_rows, const float* attention, const float* grad_out,
    const float* all_weights, const float* all_grad_logits, float* grad_source) {
  #pragma omp parallel for schedule(dynamic) num_threads(num_threads)
  for (int64_t chunk = 0; chunk < num_chunks; ++chunk) {
    const int64_t last = ptr[chunks[chunk + 1]] - 1;
    for (int64_t source = chunks[chunk]; source < chunks[chunk + 1]; ++source) {
      row_t of_own[H] = {}, own[H];
      for (int h = 0; h < H; ++h) own[h] = load(source_rows + source * W + h * C);
      for (int64_t at = ptr[source]; at < ptr[source + 1]; ++at) {
        const int64_t next = at + AHEAD < last ? at + AHEAD : last;
        prefetch(target_rows + int64_t(targets[next]) * W);
        prefetch(grad_out + int64_t(targets[next]) * W);
        __builtin_prefetch(all_weights + int64_t(places[next]) * H);
        __builtin_prefetch(all_grad_logits + int64_t(places[next]) * H);
        const int64_t target = int64_t(targets[at]) * W, place = int64_t(places[at]) * H;
        for (int h = 0; h < H; ++h) {
          const row_t features = own[h] + load(target_rows + target + h * C);
          of_own[h] += all_weights[place + h] * load(grad_out + target + h * C);
          of_own[h] += all_grad_logits[place + h] *
                       leaky_slope(features, load(attention + h * C));
        }
      }
      for (int h = 0; h < H; ++h) store(grad_source + source * W + h * C, of_own[h]);
    }
  }
}
