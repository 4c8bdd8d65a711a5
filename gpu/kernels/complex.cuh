// Complex numbers as float2, and what systems need of them.
//
// Pairs of floats: high + low, where low is what rounding took from high. So products of
// two floats are known exactly, and angles of many turns lose nothing but the turns.
#pragma once
#include "port.cuh"

__device__ __forceinline__ float2 complex(float re, float im) {
  return make_float2(re, im);
}
__device__ __forceinline__ float2 conj(float2 a) { return complex(a.x, -a.y); }
__device__ __forceinline__ float2 scaled(float s, float2 a) {
  return complex(s * a.x, s * a.y);
}
__device__ __forceinline__ float2 plus(float2 a, float2 b) {
  return complex(a.x + b.x, a.y + b.y);
}
// Re(a b)
__device__ __forceinline__ float real_times(float2 a, float2 b) {
  return fmaf(a.x, b.x, -(a.y * b.y));
}
// c + a b
__device__ __forceinline__ float2 plus_times(float2 c, float2 a, float2 b) {
  return complex(fmaf(a.x, b.x, fmaf(-a.y, b.y, c.x)),
                 fmaf(a.x, b.y, fmaf(a.y, b.x, c.y)));
}
__device__ __forceinline__ float2 times(float2 a, float2 b) {
  return complex(real_times(a, b), fmaf(a.x, b.y, a.y * b.x));
}
// 1 / a; the larger part is taken out, so that no square overflows.
__device__ __forceinline__ float2 inverse(float2 a) {
  const float size = fmaxf(fabsf(a.x), fabsf(a.y));
  const float x = a.x / size, y = a.y / size;
  const float over = 1.f / (size * fmaf(x, x, y * y));
  return complex(x * over, -y * over);
}

// The sine and cosine of high + low.
//
// A multiple of pi/2 is taken away in three parts (Cody and Waite), then Taylor's series
// on |angle| <= pi/4, whose first terms left out are below 2^-26.
__device__ __forceinline__ float2 cosine_sine(float high, float low) {
  const float turns = rintf(high * 0.636619772f);
  float r = fmaf(-turns, 1.57079637050628662f, high);
  r = fmaf(-turns, -4.37113900018624283e-8f, r);
  r = fmaf(-turns, -1.71512451000e-15f, r) + low;
  const float s = r * r;
  float sine = fmaf(s, 2.75573192e-6f, -1.98412698e-4f);
  sine = fmaf(s, sine, 8.33333333e-3f);
  sine = fmaf(s, sine, -1.66666667e-1f);
  sine = fmaf(s * r, sine, r);
  float cosine = fmaf(s, -2.75573192e-7f, 2.48015873e-5f);
  cosine = fmaf(s, cosine, -1.38888889e-3f);
  cosine = fmaf(s, cosine, 4.16666667e-2f);
  cosine = fmaf(s * s, cosine, fmaf(s, -0.5f, 1.f));
  // Whole turns beyond 2^31 have no meaning in float32.
  const int quarter = static_cast<int>(fmaxf(-2e9f, fminf(2e9f, turns))) & 3;
  const float c = quarter & 1 ? sine : cosine, d = quarter & 1 ? cosine : sine;
  return complex(quarter == 1 || quarter == 2 ? -c : c, quarter >= 2 ? -d : d);
}

// How a step of a diagonal system decays and how it takes its input, over dt B:
//
//   ZOH       exp(z)                     (exp(z) - 1) / z          z = dt A
//   BILINEAR  (1 + z/2) / (1 - z/2)      1 / (1 - z/2)
struct Rule {
  float2 decay, growth;
};

__device__ __forceinline__ Rule bilinear(float dt, float2 A) {
  const float2 half = scaled(0.5f * dt, A);
  const float2 growth = inverse(complex(1.f - half.x, -half.y));
  return {times(complex(1.f + half.x, half.y), growth), growth};
}

__device__ __forceinline__ Rule zero_order_hold(float dt, float2 A) {
  const float2 z = scaled(dt, A);
  const float low = fmaf(dt, A.x, -z.x);
  const float turned = fmaf(dt, A.y, -z.y);
  const float e = expf(z.x), size = fmaf(e, low, e);
  const float2 decay = scaled(size, cosine_sine(z.y, turned));
  if (fmaxf(fabsf(z.x), fabsf(z.y)) < 1e-3f) {
    // (exp(z) - 1) / z by its series: z^2 may be too small for a float.
    const float2 more = plus(complex(0.5f, 0.f), scaled(1.f / 6.f, z));
    return {decay, plus_times(complex(1.f, 0.f), z, more)};
  }
  // exp(z) - 1, without the cancellation at small z:
  //            = (exp(re) - 1) - 2 exp(re) sin(im/2)^2 + i exp(re) sin im
  const float half = cosine_sine(0.5f * z.y, 0.5f * turned).y;
  const float beyond = fmaf(e, low, expm1f(z.x));
  const float2 less = complex(fmaf(-2.f * size * half, half, beyond), decay.y);
  return {decay, times(less, inverse(z))};
}
