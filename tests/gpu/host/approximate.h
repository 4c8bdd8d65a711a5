// The approximate instructions, as bad as they are allowed to be.
//
// Kernels must not look more accurate here than on a GPU: each result is moved by a
// pseudorandom part of the largest error that the PTX ISA allows (section "Floating
// Point Instructions"), always by the same for the same argument. Subnormal numbers are
// zero, as with .ftz.
#pragma once

#include <cfloat>
#include <cmath>

#include "words.h"

namespace ssm {

inline float flushed(float x) {
  return std::fabs(x) < FLT_MIN ? std::copysign(0.0f, x) : x;
}

// A number in [-1, 1] that depends on the argument only: a few rounds of mixing bits.
inline double noise(float x) {
  std::uint32_t bits = bits_as<std::uint32_t>(x);
  bits = (bits ^ bits >> 16) * 0x7feb352du;
  bits = (bits ^ bits >> 15) * 0x846ca68bu;
  bits ^= bits >> 16;
  return static_cast<double>(bits) / 2147483647.5 - 1.0;
}

constexpr double LOG2_E = 1.4426950408889634;
constexpr double ULP = 0x1p-23;

// Together with the rounding to float, an error of at most `bound`.
inline float relative(double exact, float x, double bound) {
  return flushed(static_cast<float>(exact * (1.0 + (bound - ULP / 2) * noise(x))));
}

inline float absolute(double exact, float x, double bound) {
  return flushed(static_cast<float>(exact + (bound - ULP / 4) * noise(x)));
}

}  // namespace ssm

// Two units in the last place.
inline float ex2(float x) {
  x = ssm::flushed(x);
  if (x == 0.0f) return 1.0f;
  return ssm::relative(std::exp2(static_cast<double>(x)), x, 2 * ssm::ULP);
}

// 2^-22: absolute between 1/2 and 2, relative elsewhere.
inline float lg2(float x) {
  x = ssm::flushed(x);
  const double exact = std::log2(static_cast<double>(x));
  if (x > 0.5f && x < 2.0f) return ssm::absolute(exact, x, 2 * ssm::ULP);
  return ssm::relative(exact, x, 2 * ssm::ULP);
}

// One unit in the last place.
inline float rcp_approx(float x) {
  x = ssm::flushed(x);
  return ssm::relative(1.0 / static_cast<double>(x), x, ssm::ULP);
}

// 2^-22.9.
inline float rsqrt_approx(float x) {
  x = ssm::flushed(x);
  return ssm::relative(1.0 / std::sqrt(static_cast<double>(x)), x, 1.07 * ssm::ULP);
}

// 2^-23.
inline float sqrt_approx(float x) {
  x = ssm::flushed(x);
  return ssm::relative(std::sqrt(static_cast<double>(x)), x, ssm::ULP);
}

// Eleven bits.
inline float tanh_approx(float x) {
  x = ssm::flushed(x);
  if (std::fabs(x) > 30.0f) return std::copysign(1.0f, x);
  return ssm::relative(std::tanh(static_cast<double>(x)), x, 1.0 / (1 << 11));
}

namespace ssm {

inline float fast_sin(float x) { return absolute(std::sin(double(x)), x, 0x1p-20); }
inline float fast_cos(float x) { return absolute(std::cos(double(x)), x, 0x1p-20); }
inline float fast_exp(float x) { return ex2(x * static_cast<float>(LOG2_E)); }
inline float fast_log(float x) { return lg2(x) * static_cast<float>(1 / LOG2_E); }
inline float fast_divide(float a, float b) {
  return std::fabs(b) > 0x1p126f && std::isfinite(b) ? 0.0f : a * rcp_approx(b);
}

}  // namespace ssm

// The C library declares some of these names itself; so they are macros.
#define __expf(x) (::ssm::fast_exp(x))
#define __logf(x) (::ssm::fast_log(x))
#define __log2f(x) (::lg2(x))
#define __sinf(x) (::ssm::fast_sin(x))
#define __cosf(x) (::ssm::fast_cos(x))
#define __fdividef(a, b) (::ssm::fast_divide((a), (b)))

// CUDA's, by the C library.
inline float rsqrtf(float x) { return static_cast<float>(1.0 / std::sqrt(double(x))); }
inline void sincospif(float x, float* sine, float* cosine) {
  // Exact reduction first: remainder is exact.
  const double part = M_PI * std::remainder(static_cast<double>(x), 2.0);
  *sine = static_cast<float>(std::sin(part));
  *cosine = static_cast<float>(std::cos(part));
}
