// Sine and cosine of angles of a few turns, in float32: the library's functions would
// bring along code for huge angles, which needs memory of the thread's own.
#pragma once
#include "port.cuh"

// pi/2 and 2 pi in pieces, the first ones short: their products with small integers are
// exact.
#define HALF_PI_HIGH 1.5703125f
#define HALF_PI_MIDDLE 4.83751297e-4f
#define HALF_PI_LOW 7.54979013e-8f

// Taylor's series to below half an ulp, at most pi/4 away from 0; then so many quarters of
// a turn on.
__device__ __forceinline__ void sincos_beyond(float r, unsigned quarters, float& sine,
                                              float& cosine) {
  const float q = r * r;
  float s = fmaf(q, 2.75573192e-6f, -1.98412698e-4f);
  s = fmaf(q, s, 8.33333333e-3f);
  s = fmaf(q, s, -1.66666667e-1f);
  s = fmaf(r * q, s, r);
  float c = fmaf(q, -2.75573192e-7f, 2.48015873e-5f);
  c = fmaf(q, c, -1.38888889e-3f);
  c = fmaf(q, c, 4.16666667e-2f);
  c = fmaf(q, c, -0.5f);
  c = fmaf(q, c, 1.f);
  sine = quarters & 1 ? c : s;
  cosine = quarters & 1 ? s : c;
  if (quarters & 2) sine = -sine;
  if ((quarters + 1) & 2) cosine = -cosine;
}

__device__ __forceinline__ void sincos_small(float x, float& sine, float& cosine) {
  const float quarter = rintf(x * 0.636619772f);
  float r = fmaf(-quarter, HALF_PI_HIGH, x);
  r = fmaf(-quarter, HALF_PI_MIDDLE, r);
  r = fmaf(-quarter, HALF_PI_LOW, r);
  sincos_beyond(r, static_cast<unsigned>(static_cast<int>(quarter)), sine, cosine);
}

// x modulo 2 pi, from 0 to 2 pi.
__device__ __forceinline__ float modulo_turn(float x) {
  const float turns = floorf(x * 0.159154943f);
  float r = fmaf(-turns, 4 * HALF_PI_HIGH, x);
  r = fmaf(-turns, 4 * HALF_PI_MIDDLE, r);
  r = fmaf(-turns, 4 * HALF_PI_LOW, r);
  const float all = 6.28318531f;
  return r < 0.f ? r + all : r >= all ? r - all : r;
}

// Angles in turns: 1 is all around. Between -1/2 and 1/2 they have as many digits as
// sines need, however often they went around.

__device__ __forceinline__ float within_a_turn(float x) { return x - rintf(x); }

__device__ __forceinline__ float add_turns(float a, float b) {
  return within_a_turn(a + b);
}

// 1 / 2 pi in two pieces: an angle loses no digit.
__device__ __forceinline__ float to_turns(float angle) {
  const float high = angle * 0.159154937f;
  const float low = fmaf(angle, 6.4206383e-9f, fmaf(angle, 0.159154937f, -high));
  return within_a_turn(within_a_turn(high) + low);
}

// From 0 to 2 pi.
__device__ __forceinline__ float from_turns(float turns) {
  const float angle = 6.28318531f * (turns < 0.f ? turns + 1.f : turns);
  return angle >= 6.28318531f ? 0.f : angle;
}

// For at most a few turns. Rounding to quarters by a large number leaves their count in
// the last bits.
__device__ __forceinline__ void sincos_turns(float turns, float& sine, float& cosine) {
  const float shifted = fmaf(turns, 4.f, 12582912.f);
  const float r = 6.28318531f * fmaf(shifted - 12582912.f, -0.25f, turns);
  sincos_beyond(r, __float_as_uint(shifted), sine, cosine);
}
