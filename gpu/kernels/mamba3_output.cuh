// What the scan of Mamba-3 (mamba3_scan.cu) takes and gives: outputs with norm, gate and
// the sum over ranks; states.
#pragma once
#include "mamba3_tiles.cuh"

// A row of outputs of a lane.
struct Row {
  int row, token, rank;

  // Row 8 i + g of lane 4 g + c.
  __device__ __forceinline__ Row(const Desk& desk, int thread, int i, const Sizes& n) {
    const int g = thread % 32 / 4;
    row = 8 * i + g;
    // Behind the last token of any number of ranks there may be rows of no token.
    token = RANKS ? 8 * i / FIXED + g / FIXED
                  : min(token_of(desk, row), n.tokens - 1);
    rank = RANKS ? g % FIXED : rank_of(desk, row, n);
  }
  // Its place among numbers of tokens, of ranks.
  __device__ __forceinline__ int in_tokens(int column) const {
    return token * VALUE_STRIDE + column;
  }
  __device__ __forceinline__ int in_ranks(int column) const {
    return rank * WIDTH + column;
  }
};

// What becomes of y; what is null is left out. A lane has columns 8 k + 2 c and the next
// of its warp's, of rows as accumulators have them.
struct Output {
  bool skipped, gated;
  float eps;
  int heads, headdim;

  // y + D v.
  __device__ __forceinline__ void skip(Tile& y, const Desk& desk, const Sizes& n) const {
    if (!skipped) return;
    const int thread = thread_again(), own = own_column(thread) + thread % 4 * 2;
    const float D = *desk.D;
#pragma unroll
    for (int k = 0; k < 2 * COLUMN_TILES; ++k)
#pragma unroll
      for (int i = 0; i < 2 * ROW_TILES; ++i) {
        const Row row(desk, thread, i, n);
        float x[2], factor[2] = {1.f, 1.f};
        load<2>(x, desk.x + row.in_tokens(own + 8 * k));
        if (RANKS != 1) load<2>(factor, desk.mix_x + row.in_ranks(own + 8 * k));
#pragma unroll
        for (int e = 0; e < 2; ++e) {
          float& sum = y[i / 2][k][i % 2 * 2 + e];
          sum = fmaf(D * factor[e], x[e], sum);
        }
      }
  }

  // y normed over its row.
  __device__ __forceinline__ void norm(Tile& y, const Desk& desk, const float* weight,
                                       const Sizes& n) const {
    const int thread = thread_again(), c = thread % 4, own = own_column(thread) + 2 * c;
#pragma unroll
    for (int i = 0; i < 2 * ROW_TILES; ++i) {
      float square = 0.f;
#pragma unroll
      for (int k = 0; k < 4 * COLUMN_TILES; ++k) {
        const float x = y[i / 2][k / 2][i % 2 * 2 + k % 2];
        square += own + k / 2 * 8 + k % 2 < n.width ? x * x : 0.f;
      }
      square += __shfl_xor_sync(SSM_FULL, square, 1);
      square += __shfl_xor_sync(SSM_FULL, square, 2);
      const int row = Row(desk, thread, i, n).row;
      if (c == 0) desk.norms[thread / 32 * ROWS + row] = square;
    }
    __syncthreads();  // what all columns add
#pragma unroll
    for (int i = 0; i < 2 * ROW_TILES; ++i) {
      const int row = Row(desk, thread, i, n).row;
      float square = 0.f;
#pragma unroll
      for (int w = 0; w < WARPS; ++w) square += desk.norms[w * ROWS + row];
      const float scale = 1.f / sqrtf(square / headdim + eps);
#pragma unroll
      for (int k = 0; k < 4 * COLUMN_TILES; ++k) {
        const int p = own + k / 2 * 8 + k % 2;
        float& x = y[i / 2][k / 2][i % 2 * 2 + k % 2];
        x = p < n.width ? x * scale * weight[p] : 0.f;
      }
    }
  }

  // Outputs of every rank, for a norm of their own.
  __device__ __forceinline__ void give_raw(const Tile& y, const Desk& desk, int at,
                                           int tokens, const Sizes& n) const {
    const int thread = thread_again(), own = own_column(thread) + thread % 4 * 2;
    float* const raw = desk.places->raw;
#pragma unroll
    for (int i = 0; i < 2 * ROW_TILES; ++i) {
      const Row row(desk, thread, i, n);
      if (token_of(desk, row.row) >= tokens) continue;
      float* const to = raw + ((at + row.token) * static_cast<long long>(heads) * n.ranks +
                               row.rank) * headdim;
#pragma unroll
      for (int k = 0; k < 2 * COLUMN_TILES; ++k) {
        const int p = own + 8 * k;
        const float pair[2] = {y[i / 2][k][i % 2 * 2], y[i / 2][k][i % 2 * 2 + 1]};
        store_some<2>(to + p, pair, n.width - p);
      }
    }
  }

  // Gate, weight of the rank, and sum over ranks: to where x was.
  __device__ __forceinline__ void finish(Tile& y, const Desk& desk, const Sizes& n) const {
    const int thread = thread_again(), own = own_column(thread) + thread % 4 * 2;
#pragma unroll
    for (int k = 0; k < 2 * COLUMN_TILES; ++k) {
      const int p = own + 8 * k;
#pragma unroll
      for (int i = 0; i < 2 * ROW_TILES; ++i) {
        const Row row(desk, thread, i, n);
        float gate[2], factor[2];
        float* const sum = y[i / 2][k] + i % 2 * 2;
        if (gated) {
          load<2>(gate, desk.z + row.in_tokens(p));
          if (RANKS != 1) {
            load<2>(factor, desk.mix_z + row.in_ranks(p));
            gate[0] *= factor[0], gate[1] *= factor[1];
          }
          sum[0] *= silu(gate[0]), sum[1] *= silu(gate[1]);
        }
        if (RANKS != 1) {
          load<2>(factor, desk.mix_o + row.in_ranks(p));
          sum[0] *= factor[0], sum[1] *= factor[1];
        }
      }
      const int g = thread % 32 / 4;
      if (RANKS) lay_sums(y, k, g, desk.x + p);
      else lay_out(y, k, g, desk.out + p);
    }
    __syncwarp();  // rows of the warp's columns
    if (!RANKS) sum_rows(desk, n);
  }

  // Sum columns of y over ranks, that is over 2, 4 or 8 lanes: each step halves the rows
  // that a lane has, as long as there are tiles of them.
  __device__ __forceinline__ void lay_sums(const Tile& y, int k, int g, IO* to) const {
    if constexpr (RANKS == 1) {
#pragma unroll
      for (int i = 0; i < 2 * ROW_TILES; ++i) {
        const float pair[2] = {y[i / 2][k][i % 2 * 2], y[i / 2][k][i % 2 * 2 + 1]};
        store<2>(to + (8 * i + g) * VALUE_STRIDE, pair);
      }
    } else {
      constexpr int TILES = RANKS > 2 && ROW_TILES == 2 ? 1 : ROW_TILES;
      float sums[ROW_TILES][2];
#pragma unroll
      for (int m = 0; m < ROW_TILES; ++m)
#pragma unroll
        for (int e = 0; e < 2; ++e)
          sums[m][e] = exchanged(y[m][k][e], y[m][k][2 + e], 1, g);
#pragma unroll
      for (int e = 0; e < 2; ++e)
        if (TILES < ROW_TILES) 
          sums[0][e] = exchanged(sums[0][e], sums[ROW_TILES - 1][e], 2, g);
      int token = g % 2 * (8 / FIXED) + g / FIXED;
      if (TILES < ROW_TILES) token += g / 2 % 2 * (16 / FIXED);
      constexpr int SUMMED = TILES < ROW_TILES ? 4 : 2;
#pragma unroll
      for (int m = 0; m < TILES; ++m) {
#pragma unroll
        for (int by = SUMMED; by < RANKS; by *= 2)
#pragma unroll
          for (int e = 0; e < 2; ++e)
            sums[m][e] += __shfl_xor_sync(SSM_FULL, sums[m][e], 4 * by);
        if (RANKS <= SUMMED || g % FIXED < SUMMED)
          store<2>(to + (token + m * (16 / FIXED)) * VALUE_STRIDE, sums[m]);
      }
    }
  }

  // What this lane and the one that is `by` ranks from it have, of the row that it keeps.
  __device__ __forceinline__ static float exchanged(float low, float high, int by,
                                                     int g) {
    const bool odd = g & by;
    return (odd ? high : low) + __shfl_xor_sync(SSM_FULL, odd ? low : high, 4 * by);
  }

  // Columns of y, in float.
  __device__ __forceinline__ void lay_out(const Tile& y, int k, int g, float* to) const {
#pragma unroll
    for (int i = 0; i < 2 * ROW_TILES; ++i) {
      const float pair[2] = {y[i / 2][k][i % 2 * 2], y[i / 2][k][i % 2 * 2 + 1]};
      store<2>(to + (8 * i + g) * OUT_STRIDE, pair);
    }
  }

  // The sums over ranks of what `lay_out` has laid out.
  __device__ __forceinline__ void sum_rows(const Desk& desk, const Sizes& n) const {
    constexpr int LANES = OWN / 4;
    const int thread = thread_again(), lane = thread % 32;
    const int p = own_column(thread) + lane % LANES * 4;
#pragma unroll 1
    for (int t = lane / LANES; t < n.tokens; t += 32 / LANES) {
      float total[4] = {};
#pragma unroll 1
      for (int r = 0; r < n.ranks; ++r) {
        float x[4];
        load<4>(x, desk.out + (t * n.ranks + r) * OUT_STRIDE + p);
#pragma unroll
        for (int k = 0; k < 4; ++k) total[k] += x[k];
      }
      store<4>(desk.x + t * VALUE_STRIDE + p, total);
    }
    __syncwarp();  // whole rows are there
  }

  // Outputs to memory in whole rows, from token `at` of the segment on.
  __device__ __forceinline__ void write(const Desk& desk, int at, int tokens,
                                        const Sizes& n) const {
    constexpr int PER = per_vector<IO>(), VECTORS = OWN / PER, STEP = 32 / VECTORS;
    const int thread = thread_again(), lane = thread % 32, first = lane / VECTORS;
    const int p = own_column(thread) + lane % VECTORS * PER, token = heads * headdim;
    if (p >= n.width) return;
    const IO* from = desk.x + first * VALUE_STRIDE + p;
    IO* to = desk.places->y + (at + first) * static_cast<long long>(token) + p;
#pragma unroll (RANKS ? ROWS / FIXED / STEP : 1)
    for (int t = first; t < tokens;
         t += STEP, from += STEP * VALUE_STRIDE, to += STEP * token) {
      if (n.whole_values) {
        *reinterpret_cast<uint4*>(to) = *reinterpret_cast<const uint4*>(from);
      } else {
#pragma unroll 1
        for (int k = 0; k < PER && p + k < n.width; ++k) to[k] = from[k];
      }
    }
  }
};

// The sequence before a segment.
struct Before {
  const float *ssm, *k, *v;  // of the head; k by ranks that are `plane` apart
  int plane;
  float weight;              // of v k^T
};

// A warp's part of the state, from memory, with what the token before still adds.
__device__ __forceinline__ void take_state(State& h, const Before& from,
                                           const Desk& desk, const Sizes& n) {
  const int lane = threadIdx.x % 32, own = own_column(threadIdx.x) + lane / 4;
#pragma unroll
  for (int tile = 0; tile < 2 * STEPS; ++tile)
#pragma unroll
    for (int i = 0; i < 4 * COLUMN_TILES; ++i) {
      const int p = own + i / 2 * 8, at = 8 * tile + 2 * (lane % 4) + i % 2;
      const bool there = from.ssm && p < n.width && at < n.size;
      h[i / 4][tile][i % 4] = there ? from.ssm[p * n.size + at] : 0.f;
    }
  if (!from.k) return;
#pragma unroll 1
  for (int r = 0; r < n.ranks; ++r) {
    const int thread = thread_again(), c = thread % 4;
    float v[2 * COLUMN_TILES];
#pragma unroll
    for (int i = 0; i < 2 * COLUMN_TILES; ++i) {
      const int p = own_column(thread) + thread % 32 / 4 + 8 * i;
      v[i] = p < n.width ? from.weight * desk.mix_x[r * WIDTH + p] * from.v[p] : 0.f;
    }
#pragma unroll
    for (int tile = 0; tile < 2 * STEPS; ++tile)
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const int at = 8 * tile + 2 * c + i;
        const float k = at < n.size ? from.k[r * from.plane + at] : 0.f;
#pragma unroll
        for (int e = 0; e < 2 * COLUMN_TILES; ++e) {
          float& own = h[e / 2][tile][e % 2 * 2 + i];
          own = fmaf(v[e], k, own);
        }
      }
  }
}

__device__ __forceinline__ void give_state(const State& h, float* to, const Sizes& n) {
  const int thread = thread_again(), lane = thread % 32;
  const int own = own_column(thread) + lane / 4;
#pragma unroll
  for (int tile = 0; tile < 2 * STEPS; ++tile)
#pragma unroll
    for (int i = 0; i < 4 * COLUMN_TILES; i += 2) {
      const int p = own + i / 2 * 8, at = 8 * tile + 2 * (lane % 4);
      if (p >= n.width || at >= n.size) continue;
      const float pair[2] = {h[i / 4][tile][i % 4], h[i / 4][tile][i % 4 + 1]};
      store<2>(to + p * n.size + at, pair);
    }
}
