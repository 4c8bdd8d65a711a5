// Sums over a team: L neighbouring lanes of a warp, a power of two. All lanes of the
// warp take part; the order of the additions is fixed.
//
// team_sum<L>(x)      every lane of the team gets the total
// team_sums<L>(x)     the totals of an array for little more than one: each step halves
//                     what a lane still adds up, until it has the total of
//                     x[lane / (L / length of x)]
#pragma once
#include "port.cuh"

template <int L>
__device__ __forceinline__ float team_sum(float x) {
#pragma unroll
  for (int step = L / 2; step > 0; step /= 2)
    x += __shfl_xor_sync(SSM_FULL, x, step);
  return x;
}

template <int L, int N>
__device__ __forceinline__ float team_sums(const float (&x)[N]) {
  static_assert(N <= L && (N & (N - 1)) == 0, "a power of two, one per lane");
  if constexpr (N == 1) {
    return team_sum<L>(x[0]);
  } else {
    constexpr int STEP = L / 2;
    const bool upper = threadIdx.x & STEP;
    float half[N / 2];
#pragma unroll
    for (int i = 0; i < N / 2; ++i) {
      const float low = x[i], high = x[i + N / 2];
      const float other = __shfl_xor_sync(SSM_FULL, upper ? low : high, STEP);
      half[i] = (upper ? high : low) + other;
    }
    return team_sums<L / 2>(half);
  }
}
