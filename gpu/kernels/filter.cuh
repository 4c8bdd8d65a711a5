// A causal filter for VEC neighbouring channels: what sequences and steps share.
//
//   y = act(bias + sum_k weight[k] x[k])
//
// Macros: IO, VEC, WIDTH.
#pragma once
#include "activations.cuh"
#include "lanes.cuh"

#define THREADS 128
// Wide filters do not fit into registers: inputs and weights come from the cache.
constexpr bool ROLLING = VEC * WIDTH <= 32;
constexpr int UNROLL = ROLLING ? WIDTH : 4;

// All taps of V channels, which are aligned where they are several.
template <int V, int N>
__device__ __forceinline__ void load_taps(float (&taps)[N], const float* weight) {
  if constexpr (V == 1) load_some<N>(taps, weight, N);
  else load<N>(taps, weight);
}

struct Filter {
  const float* weight;  // of the first channel of this thread
  float taps[ROLLING ? VEC * WIDTH : 1];
  float bias[VEC];
  bool gated;

  __device__ __forceinline__ Filter(const float* weight, const float* bias_of_channel,
                                    bool gated)
      : weight(weight), gated(gated) {
    if (ROLLING) load_taps<VEC>(taps, weight);
    fill(bias, 0.f);
    if (bias_of_channel) load_lanes<VEC>(bias, bias_of_channel);
  }

  __device__ __forceinline__ void add(float (&sum)[VEC], int k,
                                      const float (&x)[VEC]) const {
#pragma unroll
    for (int i = 0; i < VEC; ++i)
      sum[i] += (ROLLING ? taps[i * WIDTH + k] : weight[i * WIDTH + k]) * x[i];
  }

  __device__ __forceinline__ void finish(IO* y, float (&sum)[VEC]) const {
#pragma unroll
    for (int i = 0; i < VEC; ++i) {
      sum[i] += bias[i];
      if (gated) sum[i] = silu(sum[i]);
    }
    store_lanes<VEC>(y, sum);
  }
};
