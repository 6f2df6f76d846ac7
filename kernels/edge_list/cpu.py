"""Lists of edges in C++: one walk for the range of both ends, one to leave loops out."""

import ctypes
import functools
from typing import Any

from torch import Tensor

from graphattn.kernels.cpp.build import load, num_threads
from graphattn.kernels.cpp.structure import STRUCTURE

_EDGES_PER_THREAD = 1 << 21  # 10 ms of work: on a busy machine a thread may wake as late

_SOURCE = (
    STRUCTURE
    + r"""
// Copies what it looks at, unless the copies are null.
extern "C" void extent(const int64_t* first, const int64_t* second, int64_t num_edges,
                       int num_threads, int64_t* extent, int64_t* first_copy,
                       int64_t* second_copy) {
  if (first_copy != nullptr) {
    prefer_large_pages(first_copy, num_edges * sizeof(int64_t));
    prefer_large_pages(second_copy, num_edges * sizeof(int64_t));
  }
  constexpr int64_t block = 1024;  // is copied while the first-level cache still holds it
  Extent all;
#pragma omp parallel for num_threads(num_threads) schedule(static, 1) if (num_threads > 1)
  for (int thread = 0; thread < num_threads; ++thread) {
    const int64_t end = num_edges * (thread + 1) / num_threads;
    Extent own;
    for (int64_t begin = num_edges * thread / num_threads; begin < end; begin += block) {
      const int64_t stop = std::min(begin + block, end);
      own.widen(first, second, begin, stop);
      if (first_copy == nullptr) continue;
      std::copy(first + begin, first + stop, first_copy + begin);
      std::copy(second + begin, second + stop, second_copy + begin);
    }
#pragma omp critical(graphattn_extent)
    all.widen(own);
  }
  all.store(extent);
}

extern "C" int64_t count_loops(const int64_t* first, const int64_t* second, int64_t num_edges) {
  int64_t count = 0;
#pragma omp simd reduction(+ : count)
  for (int64_t i = 0; i < num_edges; ++i) count += first[i] == second[i];
  return count;
}

// Writes the edges that are no loops, and their positions; the caller has counted them.
extern "C" void drop_loops(const int64_t* first, const int64_t* second, int64_t num_edges,
                           int64_t* first_kept, int64_t* second_kept, int64_t* kept,
                           int64_t num_kept) {
  prefer_large_pages(first_kept, num_kept * sizeof(int64_t));
  prefer_large_pages(second_kept, num_kept * sizeof(int64_t));
  prefer_large_pages(kept, num_kept * sizeof(int64_t));
  int64_t place = 0;
  for (int64_t i = 0; i < num_edges; ++i) {
    if (first[i] == second[i]) continue;
    first_kept[place] = first[i];
    second_kept[place] = second[i];
    kept[place++] = i;
  }
}
"""
)


def extent(first: Tensor, second: Tensor) -> list[int]:
    """Smallest (0 at most) and largest (-1 at least) of the first ends, then of the second."""
    return _walk(first, second, (None, None))


def copy(first: Tensor, second: Tensor) -> tuple[Tensor, list[int]]:
    """A copy of both ends, ``(2, E)``, and what ``extent`` says of them, in one walk."""
    edges = first.new_empty(2, first.shape[0])
    return edges, _walk(first, second, (edges[0].data_ptr(), edges[1].data_ptr()))


def _walk(first: Tensor, second: Tensor, copies: tuple[int | None, int | None]) -> list[int]:
    found = (ctypes.c_int64 * 4)()
    num_edges = first.shape[0]
    threads = max(1, min(num_threads(), num_edges // _EDGES_PER_THREAD))
    _library().extent(first.data_ptr(), second.data_ptr(), num_edges, threads, found, *copies)
    return list(found)


def drop_loops(first: Tensor, second: Tensor, room: int) -> tuple[Tensor, Tensor]:
    """See the operation."""
    library, ends = _library(), (first.data_ptr(), second.data_ptr(), first.shape[0])
    num_kept = first.shape[0] - library.count_loops(*ends)
    edges = first.new_empty(2, num_kept + room)
    kept = first.new_empty(num_kept)
    library.drop_loops(*ends, edges[0].data_ptr(), edges[1].data_ptr(), kept.data_ptr(), num_kept)
    return edges, kept


@functools.cache
def _library() -> ctypes.CDLL:
    library = load(_SOURCE)
    ends: list[Any] = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64]
    library.extent.argtypes = [*ends, ctypes.c_int, *[ctypes.c_void_p] * 3]
    library.count_loops.argtypes, library.count_loops.restype = ends, ctypes.c_int64
    library.drop_loops.argtypes = [*ends, *[ctypes.c_void_p] * 3, ctypes.c_int64]
    return library
