// How far a token of Mamba-3 turns its pairs of coordinates.
#pragma once
#include "activations.cuh"
#include "angles.cuh"
#include "io.cuh"
#include "segments.cuh"

// tanh(x), to within 2^-22: of a float exactly, of fewer bits by two approximations.
__device__ __forceinline__ float tanh_of(float x) {
  if constexpr (sizeof(IO) == 4) return tanhf(x);
  else return 1.f - 2.f * rcp_approx(1.f + ex2(2.f * LOG2_E * x));
}

// pi tanh(x) dt, in turns.
__device__ __forceinline__ float turn_of(IO x, float dt) {
  return within_a_turn(0.5f * tanh_of(to_float(x)) * dt);
}
