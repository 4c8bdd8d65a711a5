// Sine and cosine of angles of a few turns, in float32: the library's functions would
// bring along code for huge angles, which needs memory of the thread's own.
#pragma once
#include "port.cuh"

// pi/2 and 2 pi in pieces, the first ones short: their products with small integers are
// exact.
#define HALF_PI_HIGH 1.5703125f
#define HALF_PI_MIDDLE 4.83751297e-4f
#define HALF_PI_LOW 7.54979013e-8f

// Taylor's series to below half an ulp, at most pi/4 away from 0.
__device__ __forceinline__ void sincos_small(float x, float& sine, float& cosine) {
  const float quarter = rintf(x * 0.636619772f);
  float r = fmaf(-quarter, HALF_PI_HIGH, x);
  r = fmaf(-quarter, HALF_PI_MIDDLE, r);
  r = fmaf(-quarter, HALF_PI_LOW, r);
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
  const int turn = static_cast<int>(quarter) & 3;
  sine = turn & 1 ? c : s;
  cosine = turn & 1 ? s : c;
  if (turn & 2) sine = -sine;
  if (turn == 1 || turn == 2) cosine = -cosine;
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
