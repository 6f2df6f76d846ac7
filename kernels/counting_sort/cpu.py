"""Grouping edges in C++: a counting sort in two levels, each within reach of the caches."""

import ctypes
import functools
from typing import Any

import torch
from torch import Tensor

from graphattn.kernels.counting_sort.reference import Groups, Transposed, position_type
from graphattn.kernels.cpp.build import load, num_threads
from graphattn.kernels.cpp.structure import STRUCTURE

_BUCKET_BITS = 9  # at most 512 buckets: a cache line for each stays in the first-level cache
_MAX_EDGES_DIRECT = 1 << 16  # so few are sorted at once: all they touch is in the caches
_EDGES_PER_THREAD = 1 << 21  # 10 ms of work: on a busy machine a thread may wake as late

# First level: edges are dealt to buckets of neighbouring keys, each thread its slice of the edges,
# to places that a count made before has found. Second level: each bucket is sorted by key on its
# own. Both keep the order of edges, so that the result is the same for any number of threads.
_SOURCE = (
    STRUCTURE
    + r"""
namespace {

template <class Position>
struct Output {
  int64_t* ptr;
  Position *neighbor, *order, *twin;
};

// Edges in any order.
template <class Index, class Position>
struct Given {
  struct Edge {
    Position key, neighbor, order;
    void store(const Output<Position>& output, int64_t place) const {
      output.neighbor[place] = neighbor;
      output.order[place] = order;
    }
  };
  const Index *keys, *others;

  int64_t key(int64_t i) const { return keys[i]; }
  void start_at(int64_t) {}
  Edge edge(int64_t i) const { return {0, Position(others[i]), Position(i)}; }
};

// Edges grouped by the end that is now the neighbor.
template <class Position>
struct Grouped {
  struct Edge {
    Position key, neighbor, order, twin;
    void store(const Output<Position>& output, int64_t place) const {
      output.neighbor[place] = neighbor;
      output.order[place] = order;
      output.twin[place] = twin;
    }
  };
  const int64_t* ptr;
  int64_t num_rows;
  const Position *keys, *orders;
  int64_t row = 0;

  int64_t key(int64_t i) const { return keys[i]; }
  void start_at(int64_t i) { row = std::upper_bound(ptr, ptr + num_rows + 1, i) - ptr - 1; }
  Edge edge(int64_t i) {
    while (ptr[row + 1] <= i) ++row;
    return {0, Position(row), orders[i], Position(i)};
  }
};

// Edges of one bucket, as the first level left them.
template <class Edge>
struct Dealt {
  const Edge* edges;
  int64_t key(int64_t i) const { return edges[i].key; }
  void start_at(int64_t) {}
  const Edge& edge(int64_t i) const { return edges[i]; }
};

// Sorts the edges at begin:end, whose keys are below num_keys; ptr[k + 1] is where those of key k
// end. Until then it is where the next one goes.
template <class Edges, class Position>
void sort_at_once(Edges edges, int64_t begin, int64_t end, int64_t num_keys, int64_t* ptr,
                  const Output<Position>& output) {
  int64_t* next = ptr + 1;
  std::fill(next, next + num_keys, 0);
  for (int64_t i = begin; i < end; ++i) ++next[edges.key(i)];
  int64_t place = begin;
  for (int64_t key = 0; key < num_keys; ++key) {
    const int64_t count = next[key];
    next[key] = place;
    place += count;
  }
  edges.start_at(begin);
  for (int64_t i = begin; i < end; ++i) edges.edge(i).store(output, next[edges.key(i)]++);
}

// Edges whose keys never fall stay where they are.
template <class Edges, class Position>
void keep_order(Edges edges, int64_t begin, int64_t end, int64_t* ptr,
                const Output<Position>& output) {
  int64_t last = begin == 0 ? -1 : edges.key(begin - 1);
  edges.start_at(begin);
  for (int64_t i = begin; i < end; ++i) {
    for (const int64_t key = edges.key(i); last < key;) ptr[++last] = i;
    edges.edge(i).store(output, i);
  }
}

// counts: (threads, buckets); starts: (buckets + 1,); scratch: an Edge for each edge; none of them
// for a single bucket. Keys of a bucket agree in all bits from `shift` on. False if out of range.
template <class Edges, class Index, class Position>
bool sort_edges(Edges edges, const Index* keys, const Index* others, int64_t num_edges,
                int64_t num_keys, int64_t num_others, int shift, int64_t num_buckets,
                int num_threads, int64_t* counts, int64_t* starts, void* scratch,
                const Output<Position>& output) {
  using Edge = typename Edges::Edge;
  constexpr int64_t block = 1024;  // is counted while the first-level cache still holds it
  Edge* dealt = static_cast<Edge*>(scratch);
  Extent all;
  bool is_sorted = true;
#pragma omp parallel for num_threads(num_threads) schedule(static, 1) if (num_threads > 1)
  for (int thread = 0; thread < num_threads; ++thread) {
    const int64_t begin = num_edges * thread / num_threads;
    const int64_t end = num_edges * (thread + 1) / num_threads;
    int64_t* count = counts + thread * num_buckets;
    if (num_buckets > 1) std::fill(count, count + num_buckets, 0);
    Extent own;
    bool rises = true;
    for (int64_t first = begin; first < end; first += block) {
      const int64_t stop = std::min(first + block, end);
      own.widen(keys, others, first, stop);
      if (!own.within(num_keys, num_others)) continue;
      if (rises) rises = std::is_sorted(keys + std::max<int64_t>(first - 1, 0), keys + stop);
      if (num_buckets > 1)
        for (int64_t i = first; i < stop; ++i) ++count[keys[i] >> shift];
    }
#pragma omp critical(graphattn_extent)
    {
      all.widen(own);
      is_sorted = is_sorted && rises;
    }
  }
  if (!all.within(num_keys, num_others)) return false;
  for (void* column : {output.neighbor, output.order, output.twin})
    if (column != nullptr) prefer_large_pages(column, num_edges * sizeof(Position));
  output.ptr[0] = 0;
  if (is_sorted) {
#pragma omp parallel for num_threads(num_threads) schedule(static, 1) if (num_threads > 1)
    for (int thread = 0; thread < num_threads; ++thread)
      keep_order(edges, num_edges * thread / num_threads, num_edges * (thread + 1) / num_threads,
                 output.ptr, output);
    std::fill(output.ptr + all.high_first + 1, output.ptr + num_keys + 1, num_edges);
    return true;
  }
  if (num_buckets == 1) {
    sort_at_once(edges, 0, num_edges, num_keys, output.ptr, output);
    return true;
  }
  int64_t place = 0;
  for (int64_t bucket = 0; bucket < num_buckets; ++bucket) {
    starts[bucket] = place;
    for (int thread = 0; thread < num_threads; ++thread) {
      int64_t& count = counts[thread * num_buckets + bucket];
      const int64_t own = count;
      count = place;
      place += own;
    }
  }
  starts[num_buckets] = place;
  prefer_large_pages(dealt, num_edges * sizeof(Edge));
#pragma omp parallel for num_threads(num_threads) schedule(static, 1) if (num_threads > 1)
  for (int thread = 0; thread < num_threads; ++thread) {
    const int64_t begin = num_edges * thread / num_threads;
    const int64_t end = num_edges * (thread + 1) / num_threads;
    int64_t* next = counts + thread * num_buckets;
    Edges slice = edges;
    slice.start_at(begin);
    for (int64_t i = begin; i < end; ++i) {
      const int64_t key = slice.key(i), bucket = key >> shift;
      Edge edge = slice.edge(i);
      edge.key = Position(key - (bucket << shift));
      dealt[next[bucket]++] = edge;
    }
  }
#pragma omp parallel for num_threads(num_threads) schedule(dynamic, 1) if (num_threads > 1)
  for (int64_t bucket = 0; bucket < num_buckets; ++bucket) {
    const int64_t first = bucket << shift;
    const int64_t own = std::min(num_keys - first, int64_t(1) << shift);
    sort_at_once(Dealt<Edge>{dealt}, starts[bucket], starts[bucket + 1], own, output.ptr + first,
                 output);
  }
  return true;
}

}  // namespace

#define GROUP(name, Index, Position)                                                              \
  extern "C" int name(const Index* keys, const Index* others, int64_t num_edges,                  \
                      int64_t num_keys, int64_t num_others, int shift, int64_t num_buckets,       \
                      int num_threads, int64_t* counts, int64_t* starts, void* scratch,           \
                      int64_t* ptr, Position* neighbor, Position* order) {                        \
    return sort_edges(Given<Index, Position>{keys, others}, keys, others, num_edges, num_keys,    \
                      num_others, shift, num_buckets, num_threads, counts, starts, scratch,       \
                      Output<Position>{ptr, neighbor, order, nullptr});                           \
  }
GROUP(group_int32_int32, std::int32_t, std::int32_t)
GROUP(group_int64_int32, int64_t, std::int32_t)
GROUP(group_int32_int64, std::int32_t, int64_t)
GROUP(group_int64_int64, int64_t, int64_t)

#define TRANSPOSE(name, Position)                                                                 \
  extern "C" int name(const int64_t* groups, int64_t num_groups, const Position* neighbors,       \
                      const Position* orders, int64_t num_edges, int64_t num_keys, int shift,     \
                      int64_t num_buckets, int num_threads, int64_t* counts, int64_t* starts,     \
                      void* scratch, int64_t* ptr, Position* neighbor, Position* order,           \
                      Position* twin) {                                                           \
    if (!is_partition(groups, num_groups, num_edges)) return 0;                                   \
    return sort_edges(Grouped<Position>{groups, num_groups, neighbors, orders}, neighbors,        \
                      neighbors, num_edges, num_keys, num_keys, shift, num_buckets, num_threads,  \
                      counts, starts, scratch,                                                    \
                      Output<Position>{ptr, neighbor, order, twin});                              \
  }
TRANSPOSE(transpose_int32, std::int32_t)
TRANSPOSE(transpose_int64, int64_t)
"""
)


def group_edges(key: Tensor, other: Tensor, num_keys: int, num_others: int) -> Groups | None:
    """See the operation; ``None`` if an index is out of range."""
    num_edges = key.shape[0]
    narrow = position_type(num_others, num_edges)
    name = f"group_{_NAMES[key.dtype]}_{_NAMES[narrow]}"
    groups = Groups(_empty(num_keys + 1), *(torch.empty(num_edges, dtype=narrow) for _ in "no"))
    inputs = (key.data_ptr(), other.data_ptr(), num_edges, num_keys, num_others)
    is_done = _run(name, inputs, (num_edges, num_keys), 3 * narrow.itemsize, groups)
    return groups if is_done else None


def transpose(groups: Groups, num_others: int) -> Transposed | None:
    """See the operation; ``None`` if the groups are no groups."""
    ptr, neighbor, order = groups
    num_edges = neighbor.shape[0]
    found = Transposed(_empty(num_others + 1), *(torch.empty_like(neighbor) for _ in "not"))
    groups_at = (ptr.data_ptr(), ptr.shape[0] - 1, neighbor.data_ptr(), order.data_ptr())
    inputs = (*groups_at, num_edges, num_others)
    name = f"transpose_{_NAMES[neighbor.dtype]}"
    is_done = _run(name, inputs, (num_edges, num_others), 4 * neighbor.itemsize, found)
    return found if is_done else None


_NAMES = {torch.int32: "int32", torch.int64: "int64"}


def _run(
    name: str,
    inputs: tuple[int, ...],
    sizes: tuple[int, int],
    bytes_per_edge: int,
    outputs: tuple[Tensor, ...],
) -> bool:
    num_edges, num_keys = sizes
    shift, num_buckets = 0, 1
    if num_edges > _MAX_EDGES_DIRECT and num_keys > 1:
        shift = max(0, (num_keys - 1).bit_length() - _BUCKET_BITS)
        num_buckets = ((num_keys - 1) >> shift) + 1
    threads = max(1, min(num_threads(), num_edges // _EDGES_PER_THREAD))
    scratch: tuple[Tensor, ...] = ()
    if num_buckets > 1:
        dealt = torch.empty(num_edges * bytes_per_edge, dtype=torch.uint8)
        scratch = (_empty(threads * num_buckets), _empty(num_buckets + 1), dealt)
    scratch_at = [tensor.data_ptr() for tensor in scratch] or [0, 0, 0]
    outputs_at = [tensor.data_ptr() for tensor in outputs]
    kernel = getattr(_library(), name)
    return bool(kernel(*inputs, shift, num_buckets, threads, *scratch_at, *outputs_at))


def _empty(size: int) -> Tensor:
    return torch.empty(size, dtype=torch.int64)


@functools.cache
def _library() -> ctypes.CDLL:
    library = load(_SOURCE)
    address, count, number = ctypes.c_void_p, ctypes.c_int64, ctypes.c_int
    plan: list[Any] = [number, count, number, address, address, address]
    for given in _NAMES.values():
        for narrow in _NAMES.values():
            group = getattr(library, f"group_{given}_{narrow}")
            group.argtypes = [address, address, count, count, count, *plan, *[address] * 3]
        transposed = getattr(library, f"transpose_{given}")
        ends = [address, count, address, address, count, count]
        transposed.argtypes = [*ends, *plan, *[address] * 4]
    return library
