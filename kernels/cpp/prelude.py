"""What every generated C++ source begins with: types and functions that programs use."""

from graphattn.kernels.cpp.exponential import EXPONENTIAL
from graphattn.kernels.cpp.layout import DRAWN, LISTED

_HELPERS = """\
#include <algorithm>
#include <array>
#include <limits>

// NaN wins over every number.
template <class T> static inline T larger(T a, T b) { return (a > b || a != a) ? a : b; }
template <class T> static inline T smaller(T a, T b) { return (a < b || a != a) ? a : b; }
"""

# Of the bits alone: not every compiler has a type for them. To nearest, ties to even; NaN stays.
HALVES = """
static inline float float_of(std::uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

static inline std::uint32_t bits_of(float value) {
  std::uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
}

struct bfloat16 {
  std::uint16_t bits;
  bfloat16() = default;
  bfloat16(float value) {
    const std::uint32_t from = bits_of(value);
    const std::uint32_t rounded = (from + 0x7FFFu + ((from >> 16) & 1u)) >> 16;
    bits = static_cast<std::uint16_t>(value != value ? 0x7FC0u : rounded);
  }
  operator float() const { return float_of(static_cast<std::uint32_t>(bits) << 16); }
};

struct float16 {
  std::uint16_t bits;
  float16() = default;
  float16(float value) {
    const std::uint32_t from = bits_of(value), sign = (from >> 16) & 0x8000u;
    const std::uint32_t magnitude = from & 0x7FFFFFFFu;
    // Below the smallest normal number, adding 0.5 leaves the result in the lowest bits.
    const std::uint32_t small = bits_of(float_of(magnitude) + 0.5f) - 0x3F000000u;
    const std::uint32_t even = 0xFFFu + ((magnitude >> 13) & 1u);
    const std::uint32_t normal = (magnitude - 0x38000000u + even) >> 13;
    const std::uint32_t large = magnitude > 0x7F800000u ? 0x7E00u : 0x7C00u;
    const std::uint32_t finite = magnitude < 0x38800000u ? small : normal;
    bits = static_cast<std::uint16_t>(sign | (magnitude >= 0x477FF000u ? large : finite));
  }
  operator float() const {
    const std::uint32_t sign = (bits & 0x8000u) << 16, rest = bits & 0x7FFFu;
    // The exponents differ by 112; a product with 2^112 is exact for denormals too.
    const float scaled = float_of(rest << 13) * 5.192296858534828e33f;
    const float special = float_of(rest << 13 | 0x7F800000u);
    return float_of(sign | bits_of(rest >= 0x7C00u ? special : scaled));
  }
};
"""


def prelude(uses_halves: bool, draws: bool = False) -> str:
    """Includes and helper functions.

    Args:
        uses_halves: Whether to add the types of half precision.
        draws: Whether dropout draws in the kernel, and does not read a mask.
    """
    halves = HALVES if uses_halves else ""
    return f"{_HELPERS}\n{EXPONENTIAL}{halves}{DRAWN if draws else LISTED}"
