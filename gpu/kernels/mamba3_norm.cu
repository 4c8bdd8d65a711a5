// Mamba-3: norm over headdim, gate, and sum over the ranks, where a block of the scan does
// not see all of headdim. Golden: ssmref/golden/mamba3.py::siso and mimo.
//
//   out = sum_r mimo_o[r] (y[r] / sqrt(mean(y[r]^2) + eps) norm_weight) silu(mimo_z[r] z)
//
// A warp owns a head of a token; lanes own columns of headdim.
//
// Layout: y (tokens, heads, ranks, headdim), in float; z, out (batch, length, heads,
// headdim), z with strides of batch and time; norm_weight (heads, headdim); mimo_z, mimo_o
// (heads, ranks, headdim). z, mimo_z and mimo_o may be null.
// Shared memory: a float for each rank of each warp. Macros: IO (float, bf16, f16).
#include "port.cuh"
#include "activations.cuh"
#include "teams.cuh"

#define THREADS 128
constexpr int WARPS = THREADS / 32;

extern "C" __global__ void __launch_bounds__(THREADS)
    mamba3_norm(const float* __restrict__ y, const IO* __restrict__ z,
                const float* __restrict__ norm_weight,
                const float* __restrict__ mimo_z, const float* __restrict__ mimo_o,
                IO* __restrict__ out, long long z_batch, long long z_token,
                long long tokens, long long length, int heads, int ranks, int headdim,
                float eps) {
  SSM_DYN_SMEM(float, scales);
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const long long item = blockIdx.x * static_cast<long long>(WARPS) + warp;
  if (item >= tokens * heads) return;
  const long long token = item / heads, head = item - token * heads;
  y += item * ranks * headdim, out += item * headdim;
  if (z) z += token / length * z_batch + token % length * z_token + head * headdim;
  norm_weight += head * headdim;
  float* const scale = scales + warp * ranks;
  for (int r = 0; r < ranks; ++r) {
    float square = 0.f;
    for (int p = lane; p < headdim; p += 32)
      square = fmaf(y[r * headdim + p], y[r * headdim + p], square);
    square = team_sum<32>(square);
    if (lane == 0) scale[r] = 1.f / sqrtf(square / headdim + eps);
  }
  __syncwarp();
  for (int p = lane; p < headdim; p += 32) {
    const float gate = z ? to_float(z[p]) : 0.f;
    float total = 0.f;
    for (int r = 0; r < ranks; ++r) {
      const long long i = head * ranks * headdim + r * headdim + p;
      float value = y[r * headdim + p] * scale[r] * norm_weight[p];
      if (z) value *= silu(mimo_z ? mimo_z[i] * gate : gate);
      total += mimo_o ? mimo_o[i] * value : value;
    }
    out[p] = from_float<IO>(total);
  }
}
