// Activations in float32. The relative error of ex2(x log2 e) is |x| eps, as that of any
// exp of a rounded x; rcp_approx of infinity is 0. NaN stays NaN.
#pragma once
#include "port.cuh"

#define LOG2_E 1.44269504f

__device__ __forceinline__ float sigmoid(float x) {
  return rcp_approx(1.f + ex2(-x * LOG2_E));
}

__device__ __forceinline__ float silu(float x) { return x * sigmoid(x); }

// max(x, 0) + log(1 + e), e = exp(-|x|). The logarithm is e times a polynomial that
// interpolates log(1 + e) / e in the Chebyshev nodes of [0, 1], to one ulp; that of the
// hardware would lose a small e. Beyond golden's threshold 20 the sum is x in float32.
__device__ __forceinline__ float softplus(float x) {
  const float e = ex2(-fabsf(x) * LOG2_E);
  float p = -0.0031760570127516985f;
  p = fmaf(p, e, 0.019542526453733444f);
  p = fmaf(p, e, -0.056373611092567444f);
  p = fmaf(p, e, 0.10543623566627502f);
  p = fmaf(p, e, -0.1526966691017151f);
  p = fmaf(p, e, 0.1966327428817749f);
  p = fmaf(p, e, -0.24951615929603577f);
  p = fmaf(p, e, 0.33329710364341736f);
  p = fmaf(p, e, -0.49999892711639404f);
  return fmaf(e, fmaf(p, e, 1.f), fmaxf(x, 0.f));
}
