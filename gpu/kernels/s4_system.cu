// The discrete system of each channel of S4 and S4D, as `diagonal.cuh` describes it.
// golden: ssmref/golden/s4.py::s4_step and ssmref/golden/discretize.py
//
//   decay = (1 + dt A/2) E     E = (I - dt A/2)^-1     F = 2 E conj(P)
//   inner = I + dt/2 Re(F P)   (ranks by ranks, real)
//   G = dt E P inner^-1        drive = dt (E B - dt/2 E P inner^-1 Re(F B))
//
// which is the structured step with its sums over A_bar's factors put together. Without
// ranks drive = dt growth B, by the RULE of S4D. A singular inner matrix, which needs
// Re A >= 0, gives numbers that are not finite.
//
// A warp owns a channel, a lane every 32nd state. Complex (channels, state): A, B, C;
// P (RANKS, channels, state). No shared memory.
// Macros: RULE (bilinear or zero_order_hold), RANKS.
#include "complex.cuh"

#define THREADS 128
constexpr int SOME_RANKS = RANKS > 0 ? RANKS : 1;

__device__ __forceinline__ float sum_warp(float value) {
#pragma unroll
  for (int far = 16; far > 0; far /= 2) value += __shfl_xor_sync(SSM_FULL, value, far);
  return value;
}

// Solve `inner` v = rhs for every column of (inverse, rest), by elimination with partial
// pivoting; all indices are known to the compiler, so that all stays in registers.
__device__ __forceinline__ void solve(float (&inner)[SOME_RANKS][SOME_RANKS],
                                      float (&inverse)[SOME_RANKS][SOME_RANKS],
                                      float (&rest)[SOME_RANKS]) {
#pragma unroll
  for (int k = 0; k < RANKS; ++k) {
#pragma unroll
    for (int i = k + 1; i < RANKS; ++i) {
      const bool larger = fabsf(inner[i][k]) > fabsf(inner[k][k]);
#pragma unroll
      for (int j = 0; j < RANKS; ++j) {
        const float a = inner[k][j], b = inverse[k][j];
        inner[k][j] = larger ? inner[i][j] : a;
        inner[i][j] = larger ? a : inner[i][j];
        inverse[k][j] = larger ? inverse[i][j] : b;
        inverse[i][j] = larger ? b : inverse[i][j];
      }
      const float c = rest[k];
      rest[k] = larger ? rest[i] : c;
      rest[i] = larger ? c : rest[i];
    }
    const float over = 1.f / inner[k][k];
#pragma unroll
    for (int j = 0; j < RANKS; ++j) inner[k][j] *= over, inverse[k][j] *= over;
    rest[k] *= over;
#pragma unroll
    for (int i = 0; i < RANKS; ++i) {
      if (i == k) continue;
      const float factor = inner[i][k];
#pragma unroll
      for (int j = 0; j < RANKS; ++j) {
        inner[i][j] = fmaf(-factor, inner[k][j], inner[i][j]);
        inverse[i][j] = fmaf(-factor, inverse[k][j], inverse[i][j]);
      }
      rest[i] = fmaf(-factor, rest[k], rest[i]);
    }
  }
}

extern "C" __global__ void __launch_bounds__(THREADS, 4)
    s4_system(const float* __restrict__ dt, const float2* __restrict__ A,
              const float2* __restrict__ B, const float2* __restrict__ C,
              const float2* __restrict__ P, float2* __restrict__ planes, int channels,
              int state) {
  const int channel = blockIdx.x * (THREADS / 32) + threadIdx.x / 32;
  const int lane = threadIdx.x % 32;
  if (channel >= channels) return;  // whole warps, and no barrier follows
  const long long plane = static_cast<long long>(channels) * state;
  const long long row = static_cast<long long>(channel) * state;
  const float step = dt[channel], half = 0.5f * step;

  float inner[SOME_RANKS][SOME_RANKS] = {}, rest[SOME_RANKS] = {};
  for (int n = lane; n < state; n += 32) {
    const Rule rule = RULE(step, A[row + n]);
    planes[row + n] = rule.decay;
    planes[2 * plane + row + n] = conj(scaled(2.f, C[row + n]));
#pragma unroll
    for (int r = 0; r < RANKS; ++r) {
      const float2 F = scaled(2.f, times(rule.growth, conj(P[r * plane + row + n])));
      planes[(3 + RANKS + r) * plane + row + n] = conj(F);
#pragma unroll
      for (int s = 0; s < RANKS; ++s)
        inner[r][s] += real_times(F, P[s * plane + row + n]);
      rest[r] += real_times(F, B[row + n]);
    }
  }
  float inverse[SOME_RANKS][SOME_RANKS];
#pragma unroll
  for (int r = 0; r < RANKS; ++r) {
    rest[r] = sum_warp(rest[r]);
#pragma unroll
    for (int s = 0; s < RANKS; ++s) {
      inner[r][s] = fmaf(half, sum_warp(inner[r][s]), r == s ? 1.f : 0.f);
      inverse[r][s] = r == s ? 1.f : 0.f;
    }
  }
  solve(inner, inverse, rest);

  for (int n = lane; n < state; n += 32) {
    const float2 growth = RULE(step, A[row + n]).growth;
    float2 input = B[row + n];
#pragma unroll
    for (int s = 0; s < RANKS; ++s) {
      float2 g = complex(0.f, 0.f);
#pragma unroll
      for (int r = 0; r < RANKS; ++r)
        g = plus(g, scaled(inverse[r][s], P[r * plane + row + n]));
      planes[(3 + s) * plane + row + n] = scaled(step, times(growth, g));
      input = plus(input, scaled(-half * rest[s], P[s * plane + row + n]));
    }
    planes[plane + row + n] = scaled(step, times(growth, input));
  }
}
