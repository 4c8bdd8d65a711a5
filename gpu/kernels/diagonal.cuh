// What the kernels of S4 and S4D share: who owns which pairs, and the planes of a system.
//
// A channel belongs to LANES neighbouring lanes (a power of two, at most 32). Each owns
// PAIRS eigenvalues, and keeps their states and their constants in registers. With WIDE
// two neighbours belong together, and are read by 16 bytes.
//
// planes: (3 + 2 RANKS, channels, state) complex numbers, by `s4_system.cu`:
//   decay, drive, conj(2 C), then G of each rank, then conj(F) of each rank:
//
//   f[r]  = Re(F[r] x[t-1])
//   x[t]  = decay x[t-1] + drive u[t] - sum_r G[r] f[r]
//   y[t]  = Re(2 C x[t]) + D u[t]
//
// What is read out is stored conjugated: its real part is then the plain dot product of
// both parts.
//
// Macros: LANES, PAIRS, WIDE (0 or 1: PAIRS and state even, memory at 16 bytes), RANKS.
#pragma once
#include "complex.cuh"
#include "io.cuh"

constexpr int SOME_RANKS = RANKS > 0 ? RANKS : 1;

// The state that `lane` has as its i-th.
__device__ __forceinline__ int place(int lane, int i) {
  return WIDE ? 2 * (lane + LANES * (i / 2)) + i % 2 : lane + LANES * i;
}

// Read a lane's part of a row; states beyond the last are 0, and so is `row` if null.
__device__ __forceinline__ void load_row(float2 (&x)[PAIRS], const float2* row, int lane,
                                         int state) {
#pragma unroll
  for (int i = 0; i < PAIRS; i += 1 + WIDE) {
    const int n = place(lane, i);
    const bool exists = row != nullptr && n < state;
#if WIDE
    const float4 two = exists ? *reinterpret_cast<const float4*>(row + n)
                              : make_float4(0.f, 0.f, 0.f, 0.f);
    x[i] = complex(two.x, two.y);
    x[i + 1] = complex(two.z, two.w);
#else
    x[i] = exists ? row[n] : complex(0.f, 0.f);
#endif
  }
}

__device__ __forceinline__ void store_row(float2* row, const float2 (&x)[PAIRS], int lane,
                                          int state) {
#pragma unroll
  for (int i = 0; i < PAIRS; i += 1 + WIDE) {
    const int n = place(lane, i);
    if (n >= state) continue;
#if WIDE
    *reinterpret_cast<float4*>(row + n) =
        make_float4(x[i].x, x[i].y, x[i + 1].x, x[i + 1].y);
#else
    row[n] = x[i];
#endif
  }
}

// Sum over the lanes of a channel; every lane gets the same bits.
__device__ __forceinline__ float sum_lanes(float value) {
#pragma unroll
  for (int far = 1; far < LANES; far *= 2)
    value += __shfl_xor_sync(SSM_FULL, value, far);
  return value;
}

// A lane's part of the constants of a channel.
struct System {
  float2 decay[PAIRS], drive[PAIRS], read[PAIRS];
  float2 G[SOME_RANKS][PAIRS], F[SOME_RANKS][PAIRS];

  // `exists` is false for a channel beyond the last: all is 0 then.
  __device__ __forceinline__ void load(const float2* planes, int channel, int channels,
                                       int state, int lane, bool exists) {
    const long long plane = static_cast<long long>(channels) * state;
    const float2* row = planes + static_cast<long long>(channel) * state;
    load_row(decay, exists ? row : nullptr, lane, state);
    load_row(drive, exists ? row + plane : nullptr, lane, state);
    load_row(read, exists ? row + 2 * plane : nullptr, lane, state);
#pragma unroll
    for (int r = 0; r < RANKS; ++r) {
      load_row(G[r], exists ? row + (3 + r) * plane : nullptr, lane, state);
      load_row(F[r], exists ? row + (3 + RANKS + r) * plane : nullptr, lane, state);
    }
  }

  // Advance the states by one token.
  __device__ __forceinline__ void advance(float2 (&x)[PAIRS], float u) const {
    float f[SOME_RANKS];
#pragma unroll
    for (int r = 0; r < RANKS; ++r) f[r] = sum_lanes(dot(F[r], x));
#pragma unroll
    for (int i = 0; i < PAIRS; ++i) {
      float2 next = complex(drive[i].x * u, drive[i].y * u);
#pragma unroll
      for (int r = 0; r < RANKS; ++r)
        next = complex(fmaf(-G[r][i].x, f[r], next.x), fmaf(-G[r][i].y, f[r], next.y));
      x[i] = plus_times(next, decay[i], x[i]);
    }
  }

  // What these states add to the output.
  __device__ __forceinline__ float output(const float2 (&x)[PAIRS]) const {
    return dot(read, x);
  }

 private:
  __device__ __forceinline__ static float dot(const float2 (&a)[PAIRS],
                                              const float2 (&x)[PAIRS]) {
    float total = 0.f;
#pragma unroll
    for (int i = 0; i < PAIRS; ++i)
      total = fmaf(a[i].x, x[i].x, fmaf(a[i].y, x[i].y, total));
    return total;
  }
};
