// bf16 and f16: bits, as in the kernels, and their conversions, to nearest even.
#pragma once

#include "words.h"

struct bf16 {
  unsigned short bits;
};
struct f16 {
  unsigned short bits;
};

inline float to_float(float x) { return x; }
inline float to_float(bf16 x) {
  return __uint_as_float(static_cast<unsigned>(x.bits) << 16);
}
inline float to_float(f16 x) {
  return static_cast<float>(ssm::bits_as<_Float16>(x.bits));
}

template <class T>
inline T from_float(float x);

template <>
inline float from_float<float>(float x) {
  return x;
}

template <>
inline bf16 from_float<bf16>(float x) {
  const unsigned bits = __float_as_uint(x);
  if (x != x) return {0x7fff};
  return {static_cast<unsigned short>((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16)};
}

template <>
inline f16 from_float<f16>(float x) {
  if (x != x) return {0x7fff};
  return {ssm::bits_as<unsigned short>(static_cast<_Float16>(x))};
}

// Two numbers in a word, the first one in the low half.
template <class T>
inline unsigned pack2(float low, float high) {
  return from_float<T>(low).bits | static_cast<unsigned>(from_float<T>(high).bits)
                                       << 16;
}

template <class T>
inline void unpack2(unsigned word, float& low, float& high) {
  low = to_float(T{static_cast<unsigned short>(word)});
  high = to_float(T{static_cast<unsigned short>(word >> 16)});
}

// 10 bits behind the point, ties away from zero.
inline unsigned to_tf32(float x) {
  const unsigned bits = __float_as_uint(x);
  return std::isfinite(x) ? (bits + 0x1000u) & 0xffffe000u : bits;
}
