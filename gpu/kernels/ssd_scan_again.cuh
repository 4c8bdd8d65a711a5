// The scan of Mamba-2 (ssd_scan.cu, which explains it) where float16 had no room: the
// columns of a warp once more, token by token in float, from global memory. Nothing but
// inputs and outputs is in float16.
#pragma once
#include "narrow.cuh"
#include "ssd_scan_tiles.cuh"

// Whether products had factors that are infinite or NaN. A number of the state spoils its
// column of y in every row, a weighed score its row in every column.
__device__ __forceinline__ bool spoilt(const Tile& y) {
  float sum = 0.f;
#pragma unroll
  for (int m = 0; m < ROW_TILES; ++m) sum += y[m][0][0] + y[m][0][2];
#pragma unroll
  for (int k = 0; k < 2 * COLUMN_TILES; ++k) sum += y[0][k][1] + (k ? y[0][k][0] : 0.f);
  return __any_sync(SSM_FULL, 0.f * sum != 0.f);
}

// An array's rows for a head: `token` elements from token to token.
struct Rows {
  const IO* array;
  long long token;

  __device__ __forceinline__ float at(long long t, int i) const {
    return to_float(array[t * token + i]);
  }
};

// A head's part of the arguments; z and D may be null.
struct Arrays {
  Rows x, dt, B, C, z;
  const float* D;
  IO* y;
  long long y_token;
  int D_per_row, columns, size;
};

// As golden has it: h from its start on, and y of all tokens. `keys` has room for B and C
// of a token.
__device__ __forceinline__ void scan_again(State& h, const Arrays& a, const Pace& pace,
                                           IO* keys, long long length) {
  const int lane = threadIdx.x % 32, g = lane / 4, c = lane % 4;
  IO* const queries = keys + KEY_STRIDE;
#pragma unroll 1
  for (long long t = 0; t < length; ++t) {
    __syncwarp();  // nobody reads the token before
#pragma unroll 1
    for (int n = lane; n < STATE; n += 32) {
      keys[n] = from_float<IO>(n < a.size ? a.B.at(t, n) : 0.f);
      queries[n] = from_float<IO>(n < a.size ? a.C.at(t, n) : 0.f);
    }
    __syncwarp();  // the token
    const float step = pace.step(a.dt.at(t, 0)), decay = ex2(pace.log_decay(step));
    float x[2 * COLUMN_TILES], drive[2 * COLUMN_TILES], sums[2 * COLUMN_TILES] = {};
#pragma unroll
    for (int k = 0; k < 2 * COLUMN_TILES; ++k) {
      x[k] = 8 * k + g < a.columns ? a.x.at(t, 8 * k + g) : 0.f;
      drive[k] = step * x[k];
    }
#pragma unroll
    for (int tile = 0; tile < 2 * STEPS; ++tile) {
      float B[2], C[2];
      load<2>(B, keys + 8 * tile + 2 * c);
      load<2>(C, queries + 8 * tile + 2 * c);
#pragma unroll
      for (int i = 0; i < 4 * COLUMN_TILES; ++i) {
        float& own = h[i / 4][tile][i % 4];
        own = fmaf(drive[i / 2], B[i % 2], decay * own);
        sums[i / 2] = fmaf(own, C[i % 2], sums[i / 2]);
      }
    }
    if (!OUTPUT) continue;
#pragma unroll
    for (int k = 0; k < 2 * COLUMN_TILES; ++k) {
      const int p = 8 * k + g;
      float out = sums[k];
      out += __shfl_xor_sync(SSM_FULL, out, 1);
      out += __shfl_xor_sync(SSM_FULL, out, 2);
      if (c || p >= a.columns) continue;
      if (a.D) out = fmaf(a.D[a.D_per_row * p], x[k], out);
      if (a.z.array) out *= silu(a.z.at(t, p));
      a.y[t * a.y_token + p] = from_float<IO>(out);
    }
  }
}
