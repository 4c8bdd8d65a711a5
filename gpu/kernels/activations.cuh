// Activations in float32. The relative error of ex2(x log2 e) is |x| eps, as that of any
// exp of a rounded x; rcp_approx of infinity is 0. NaN stays NaN.
#pragma once
#include "port.cuh"

#define LOG2_E 1.44269504f

__device__ __forceinline__ float sigmoid(float x) {
  return rcp_approx(1.f + ex2(-x * LOG2_E));
}

__device__ __forceinline__ float silu(float x) { return x * sigmoid(x); }

// x itself above 20, as golden; small results have all their digits.
__device__ __forceinline__ float softplus(float x) {
  const float smooth = log1pf(expf(-fabsf(x)));
  return x > 20.f ? x : (x > 0.f ? x + smooth : smooth);
}
