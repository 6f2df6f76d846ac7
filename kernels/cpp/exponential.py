"""Exponential and tanh of generated C++, which compilers vectorise without fast-math."""

# The exponent of two is read from the low bits of `shifted`: adding 1.5 * 2^23 rounds to an
# integer without a conversion, which would be undefined for NaN. The scale is applied in two
# halves, since 2^128 and 2^-149 are no normal floats; only the second product rounds, so that
# denormals come out right. The bounds lie just past the last finite and the last non-zero result;
# NaN fails both comparisons. The series is the best one of its degree in relative error.
# That of tanh is Cephes's (Moshier, tanhf).
EXPONENTIAL = """\
#include <cmath>
#include <cstdint>
#include <cstring>

// 2^exponent for exponents of normal numbers.
static inline float power_of_two_f32(std::uint32_t exponent) {
  const std::uint32_t bits = (exponent + 127u) << 23;
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

// exp(x) = 2^n * exp(x - n * ln 2), n the nearest integer to x / ln 2; relative error below 1e-7.
static inline float exp_f32(float x) {
  const float clamped_below = x < -104.0f ? -104.0f : x;
  const float clamped = clamped_below > 89.0f ? 89.0f : clamped_below;
  const float shift = 12582912.0f;  // 1.5 * 2^23
  const float shifted = clamped * 1.44269504f + shift;
  const float n = shifted - shift;
  // ln 2 in two parts; the first has nine bits, so that its product with n is exact.
  const float rest = clamped - n * 0.693359375f + n * 2.12194440e-4f;
  float series = 1.38145406e-3f;
  series = series * rest + 8.36874545e-3f;
  series = series * rest + 4.16683890e-2f;
  series = series * rest + 1.66665211e-1f;
  series = series * rest + 4.99999940e-1f;
  const float fraction = series * (rest * rest) + rest + 1.0f;
  std::uint32_t bits;
  std::memcpy(&bits, &shifted, sizeof bits);
  const std::uint32_t exponent = bits - 0x4B400000u;  // n in two's complement
  const std::uint32_t half = static_cast<std::uint32_t>(static_cast<std::int32_t>(exponent) >> 1);
  return fraction * power_of_two_f32(half) * power_of_two_f32(exponent - half);
}

static inline double exp_f64(double x) { return std::exp(x); }

static inline float exponential(float x) { return exp_f32(x); }
static inline double exponential(double x) { return exp_f64(x); }

// tanh(x) by a series near zero and by the exponential elsewhere; relative error below 1.5e-7.
static inline float tanh_f32(float x) {
  const float size = std::fabs(x);
  const float square = size * size;
  float series = -5.70498872e-3f;
  series = series * square + 2.06390888e-2f;
  series = series * square - 5.37397156e-2f;
  series = series * square + 1.33314422e-1f;
  series = series * square - 3.33332819e-1f;
  const float near = series * square * size + size;
  const float far = 1.0f - 2.0f / (exp_f32(2.0f * size) + 1.0f);
  return std::copysign(size < 0.625f ? near : far, x);
}

static inline float hyperbolic_tangent(float x) { return tanh_f32(x); }
static inline double hyperbolic_tangent(double x) { return std::tanh(x); }
"""
