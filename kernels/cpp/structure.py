"""What the C++ that builds structures shares: the range of indices, cuts, large pages."""

STRUCTURE = """\
#include <algorithm>
#include <cstdint>
#ifdef __linux__
#include <sys/mman.h>
#endif

using std::int64_t;

// Smallest and largest index at each end.
struct Extent {
  int64_t low_first = 0, high_first = -1, low_second = 0, high_second = -1;
  template <class First, class Second>
  void widen(const First* first, const Second* second, int64_t begin, int64_t end) {
    int64_t low1 = low_first, high1 = high_first, low2 = low_second, high2 = high_second;
#pragma omp simd reduction(min : low1, low2) reduction(max : high1, high2)
    for (int64_t i = begin; i < end; ++i) {
      low1 = std::min<int64_t>(low1, first[i]);
      high1 = std::max<int64_t>(high1, first[i]);
      low2 = std::min<int64_t>(low2, second[i]);
      high2 = std::max<int64_t>(high2, second[i]);
    }
    low_first = low1, high_first = high1, low_second = low2, high_second = high2;
  }
  void widen(const Extent& other) {
    low_first = std::min(low_first, other.low_first);
    high_first = std::max(high_first, other.high_first);
    low_second = std::min(low_second, other.low_second);
    high_second = std::max(high_second, other.high_second);
  }
  bool within(int64_t first, int64_t second) const {
    return low_first >= 0 && high_first < first && low_second >= 0 && high_second < second;
  }
  void store(int64_t* extent) const {
    extent[0] = low_first, extent[1] = high_first;
    extent[2] = low_second, extent[3] = high_second;
  }
};

// Whether ptr rises from 0 to the number of what it cuts into num_segments runs.
static inline bool is_partition(const int64_t* ptr, int64_t num_segments, int64_t number) {
  bool rises = ptr[0] == 0 && ptr[num_segments] == number;
#pragma omp simd reduction(&& : rises)
  for (int64_t i = 0; i < num_segments; ++i) rises = rises && ptr[i] <= ptr[i + 1];
  return rises;
}

// Memory never touched before comes from the system page by page, which takes longer than all else
// here: ask for large pages.
static inline void prefer_large_pages(void* start, int64_t size) {
#ifdef MADV_HUGEPAGE
  constexpr std::uintptr_t page = std::uintptr_t(1) << 21;
  const std::uintptr_t begin = (std::uintptr_t(start) + page - 1) & ~(page - 1);
  const std::uintptr_t end = (std::uintptr_t(start) + size) & ~(page - 1);
  if (begin < end) madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);
#endif
}
"""
