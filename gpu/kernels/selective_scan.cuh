// What the kernels of the selective scan share: a token's step size and gate, and the
// arithmetic of one state, real (one part) or complex (two).
//
// Accuracy. The relative error of ex2(x log2 e) is |x| eps, as that of any exp of a
// rounded x: where x = dt A is a product, nothing is lost by the faster instruction.
// Phases of complex decays are reduced by pi/2 in three parts before a polynomial.
#pragma once
#include "activations.cuh"
#include "angles.cuh"
#include "io.cuh"

// cos and sin of x, to 2^-24 of 1 while |x| < 2^24; a larger phase has no digits left,
// only inf and NaN have to stay NaN.
__device__ __forceinline__ float2 turn(float x) {
  const float k = rintf(x * 0.63661975f);
  float r = fmaf(k, -1.5707963705062866f, x);
  r = fmaf(k, 4.371138828673793e-08f, r);
  r = fmaf(k, 1.7151245100058819e-15f, r);
  r = fabsf(x) < 16777216.f ? r : x - x;
  const int quarters = static_cast<int>(fabsf(k) < 16777216.f ? k : 0.f);
  float sine, cosine;
  sincos_beyond(r, static_cast<unsigned>(quarters), sine, cosine);
  return make_float2(cosine, sine);
}

// A number of P floats, as it lies in memory.
template <int P>
struct Number;

template <>
struct Number<1> {
  float re;

  // A as `decay` takes it: the exponent to base 2. A token beyond the end has step 0,
  // and its decay has to be 1 also where A is -inf.
  __device__ __forceinline__ Number to_rate() const {
    const float rate = re * LOG2_E;
    return {rate < -3.4e38f ? -3.4e38f : rate};
  }
  __device__ __forceinline__ static Number decay(Number rate, float dt) {
    return {ex2(dt * rate.re)};
  }
  // h <- decay h + drive b
  __device__ __forceinline__ void advance(Number decay, float drive, Number b) {
    re = fmaf(decay.re, re, drive * b.re);
  }
  __device__ __forceinline__ Number times(Number other) const {
    return {re * other.re};
  }
  // y + the real part of c h
  __device__ __forceinline__ float read(Number c, float y) const {
    return fmaf(c.re, re, y);
  }
};

template <>
struct Number<2> {
  float re, im;

  __device__ __forceinline__ Number to_rate() const {
    return {Number<1>{re}.to_rate().re, im};
  }
  __device__ __forceinline__ static Number decay(Number rate, float dt) {
    const float size = ex2(dt * rate.re);
    const float2 phase = turn(dt * rate.im);
    return {size * phase.x, size * phase.y};
  }
  __device__ __forceinline__ void advance(Number decay, float drive, Number b) {
    const float real = fmaf(decay.re, re, fmaf(-decay.im, im, drive * b.re));
    im = fmaf(decay.re, im, fmaf(decay.im, re, drive * b.im));
    re = real;
  }
  __device__ __forceinline__ Number times(Number other) const {
    return {fmaf(re, other.re, -im * other.im), fmaf(re, other.im, im * other.re)};
  }
  __device__ __forceinline__ float read(Number c, float y) const {
    return fmaf(c.re, re, fmaf(-c.im, im, y));
  }
};

// COUNT numbers from consecutive floats; the address is aligned to all of them.
template <int COUNT, int P>
__device__ __forceinline__ void load_numbers(Number<P> (&x)[COUNT],
                                             const float* p) {
  float flat[COUNT * P];
  load(flat, p);
#pragma unroll
  for (int i = 0; i < COUNT; ++i) {
    if constexpr (P == 1)
      x[i] = {flat[i]};
    else
      x[i] = {flat[2 * i], flat[2 * i + 1]};
  }
}

// One number whose parts are float, bf16 or f16.
template <int P, class T>
__device__ __forceinline__ Number<P> number_at(const T* p) {
  if constexpr (P == 1)
    return {to_float(p[0])};
  else
    return {to_float(p[0]), to_float(p[1])};
}

template <int P>
__device__ __forceinline__ void store_number(float* p, Number<P> x) {
  p[0] = x.re;
  if constexpr (P == 2) p[1] = x.im;
}

// 2 Re(C h) where one of each conjugate pair is stored, C h otherwise.
template <int P>
__device__ __forceinline__ float output(float y) {
  return P == 2 ? 2.f * y : y;
}
