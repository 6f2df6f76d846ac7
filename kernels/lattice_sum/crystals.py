"""What sums over crystals share in C++: how queries are cut into chunks, gradients gathered."""

import ctypes
from typing import Any

import torch
from torch import Tensor

from graphattn.kernels.cpp.build import load, num_threads
from graphattn.kernels.cpp.exponential import EXPONENTIAL

LANES = 8  # heads at once, and channels; their numbers are padded to multiples
_MAX_CHUNKS = 64  # many more than threads, so that all have work to the end
_TYPES = {torch.float32: "float", torch.float64: "double"}

# Queries are cut into chunks by the structure alone; what chunks share has a slot for each, merged
# in order: the bits do not depend on the number of threads.
_SHARED = """\
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

using value_t = VALUE_TYPE;
constexpr int LANES = NUM_LANES;

struct Crystals {
  int64_t num_chunks, num_crystals, num_heads, num_channels, num_basis;
  int64_t padded_heads, padded_channels;
  const int64_t *chunks;  // the first query of each chunk
  const int64_t *ptr;     // the first atom of each crystal
  const int64_t *pairs;   // the first pair of each crystal
  const int64_t *limits;  // images or waves of each crystal, in three directions
  const value_t *position, *cell, *sigma, *weight;
  double spacing, width;
  int32_t exclude_self, num_threads;
};

// Unaligned, and of any processor: compilers split what is too wide for it.
typedef value_t Lanes __attribute__((vector_size(LANES * sizeof(value_t)),
                                     aligned(sizeof(value_t)), may_alias));

static inline Lanes lanes_at(const value_t* from) { return *reinterpret_cast<const Lanes*>(from); }
static inline void put(value_t* at, Lanes lanes) { *reinterpret_cast<Lanes*>(at) = lanes; }

struct Vector {
  value_t x, y, z;
};

static inline Vector between(const value_t* from, const value_t* to) {
  return {to[0] - from[0], to[1] - from[1], to[2] - from[2]};
}

// Calls for each query of a chunk, with its crystal, and before the first of a crystal.
template <class Enter, class Visit>
static void for_queries(const Crystals& all, int64_t chunk, Enter enter, Visit visit) {
  int64_t query = all.chunks[chunk];
  const int64_t end = all.chunks[chunk + 1];
  int64_t crystal = std::upper_bound(all.ptr, all.ptr + all.num_crystals, query) - all.ptr - 1;
  for (; query < end; ++crystal) {
    const int64_t stop = std::min(end, all.ptr[crystal + 1]);
    if (query < stop) enter(crystal);
    for (; query < stop; ++query) visit(crystal, query);
  }
}

// The gradient of a pair pulls its key one way and its query the other.
static void gather_positions(const Crystals& all, const value_t* of_pairs, value_t* of_position) {
#pragma omp parallel for schedule(dynamic) num_threads(all.num_threads)
  for (int64_t crystal = 0; crystal < all.num_crystals; ++crystal) {
    const int64_t first = all.ptr[crystal], size = all.ptr[crystal + 1] - first;
    const value_t* pairs = of_pairs + all.pairs[crystal] * 3;
    for (int64_t atom = 0; atom < size; ++atom)
      for (int axis = 0; axis < 3; ++axis) {
        double sum = 0;
        for (int64_t other = 0; other < size; ++other)
          sum += double(pairs[(other * size + atom) * 3 + axis]) -
                 double(pairs[(atom * size + other) * 3 + axis]);
        of_position[(first + atom) * 3 + axis] = sum;
      }
  }
}

static void gather_cells(const Crystals& all, const double* of_queries, value_t* of_cell) {
  for (int64_t crystal = 0; crystal < all.num_crystals; ++crystal)
    for (int entry = 0; entry < 9; ++entry) {
      double sum = 0;
      for (int64_t query = all.ptr[crystal]; query < all.ptr[crystal + 1]; ++query)
        sum += of_queries[query * 9 + entry];
      of_cell[crystal * 9 + entry] = sum;
    }
}
"""


class Crystals(ctypes.Structure):
    """What the kernels go by, as C++ has it."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in ("num_chunks", "num_crystals", "num_heads")),
        *((name, ctypes.c_int64) for name in ("num_channels", "num_basis")),
        *((name, ctypes.c_int64) for name in ("padded_heads", "padded_channels")),
        *((name, ctypes.c_void_p) for name in ("chunks", "ptr", "pairs", "limits")),
        *((name, ctypes.c_void_p) for name in ("position", "cell", "sigma", "weight")),
        *((name, ctypes.c_double) for name in ("spacing", "width")),
        *((name, ctypes.c_int32) for name in ("exclude_self", "num_threads")),
    )


class Launch:
    """One call: the tensors, held so that nothing is freed while a kernel reads it.

    Args:
        position: ``(N, 3)``.
        cell: Vectors of the lattice, or of the reciprocal one, ``(S, 3, 3)``.
        ptr: ``(S + 1,)``.
        sigma: ``(N, H)``.
        limits: Of images or waves, ``(S, 3)``.
        weight: ``(H, C, K)``; without it, there are neither channels nor radial functions.
        spacing: Of the radial functions, in Å.
        width: Of the radial functions, in Å.
        exclude_self: Whether to leave out the image of an atom in its own place.
    """

    def __init__(
        self,
        position: Tensor,
        cell: Tensor,
        ptr: Tensor,
        sigma: Tensor,
        limits: Tensor,
        weight: Tensor | None = None,
        spacing: float = 1.0,
        width: float = 1.0,
        exclude_self: bool = False,
    ) -> None:
        num_heads = sigma.shape[1]
        num_channels, num_basis = (0, 0) if weight is None else weight.shape[1:]
        padded_heads, padded_channels = (-(-n // LANES) * LANES for n in (num_heads, num_channels))
        self.weight = sigma.new_zeros(num_basis, padded_channels, padded_heads)
        if weight is not None:
            self.weight[:, :num_channels, :num_heads] = weight.permute(2, 1, 0)
        sizes = ptr.diff()
        pairs = torch.cat([ptr.new_zeros(1), sizes.square().cumsum(0)])
        chunks = _chunks(sizes, sizes * (2 * limits + 1).prod(1))
        tensors = (chunks, ptr, pairs, limits, position, cell, sigma, self.weight)
        self.held = [t.contiguous() for t in tensors]
        self.crystals = Crystals(
            len(chunks) - 1,
            len(sizes),
            num_heads,
            num_channels,
            num_basis,
            padded_heads,
            padded_channels,
            *(t.data_ptr() for t in self.held),
            spacing,
            width,
            exclude_self,
            num_threads(),
        )

    def __call__(self, text: str, name: str, *tensors: Tensor) -> None:
        """Runs a function of a C++ text on contiguous tensors."""
        function: Any = getattr(_library(text, self.weight.dtype), name)
        function(ctypes.byref(self.crystals), *(ctypes.c_void_p(t.data_ptr()) for t in tensors))


def _library(text: str, dtype: torch.dtype) -> ctypes.CDLL:
    shared = _SHARED.replace("VALUE_TYPE", _TYPES[dtype]).replace("NUM_LANES", str(LANES))
    return load(EXPONENTIAL + shared + text)


def _chunks(sizes: Tensor, costs: Tensor) -> Tensor:
    """The first query of each chunk, and the number of queries; queries of a crystal cost alike."""
    num_queries = int(sizes.sum())
    before = costs.repeat_interleave(sizes, output_size=num_queries).cumsum(0)  # with the query
    num_chunks = max(1, min(_MAX_CHUNKS, num_queries))
    total = int(before[-1]) if num_queries else 0
    goals = torch.arange(1, num_chunks) * total // num_chunks
    inner = torch.searchsorted(before, goals, right=True)
    return torch.cat([sizes.new_zeros(1), inner, sizes.new_full((1,), num_queries)])
