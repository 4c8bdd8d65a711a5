// The products of the scan of Mamba-3 (mamba3_scan.cu, which explains them), on a chunk
// that lies in shared memory.
#pragma once
#include "mamba3_chunk.cuh"

constexpr int STEPS = STATE / 16;   // of a sum over states

// Sums of a warp: (ROWS, 16 columns).
using Tile = float[ROW_TILES][2][4];
// Its part of the state: (16 columns, STATE).
using State = float[2 * STEPS][4];

// y = h q for all rows, and a tile of columns of q k.
__device__ __forceinline__ void query(Tile& y, Tile& scores, const State& h,
                                      const Desk& desk, int column) {
#pragma unroll
  for (int step = 0; step < STEPS; ++step) {
    Right states[2], keys[2];
    from_sums(states[0], h[2 * step], h[2 * step + 1], 0);
    from_sums(states[1], h[2 * step], h[2 * step + 1], 2);
    columns_in_state(keys, desk.keys + 16 * (column * KEY_STRIDE + step), KEY_STRIDE);
#pragma unroll
    for (int m = 0; m < ROW_TILES; ++m) {
      Left queries;
      rows_in_state(queries, desk.queries + 16 * (m * KEY_STRIDE + step), KEY_STRIDE);
#pragma unroll
      for (int k = 0; k < 2; ++k) {
        multiply(y[m][k], queries, states[k]);
        multiply(scores[m][k], queries, keys[k]);
      }
    }
  }
}

// A row or a column of S: its token, and sums of log decays up to it.
struct Place {
  int token;
  float total, rest;

  __device__ __forceinline__ Place(const Desk& desk, int row)
      : token(desk.token[row]), total(desk.row_total[row]), rest(desk.row_rest[row]) {}
};

struct Column : Place {
  float weight, now;

  __device__ __forceinline__ Column(const Desk& desk, int row)
      : Place(desk, row), weight(desk.row_weight[row]), now(desk.row_now[row]) {}

  // The weight of this token's key for a query.
  __device__ __forceinline__ float weigh(float score, const Place& query) const {
    const float apart = (query.total - total) + (query.rest - rest);
    const float later = weight * ex2(apart);
    const float weighed = score * (query.token == token ? now : later);
    return query.token < token ? 0.f : weighed;
  }
};

// Weigh a tile of columns of scores, and lay it where all warps find it.
__device__ __forceinline__ void share(const Tile& scores, const Desk& desk,
                                      int column) {
  const int g = threadIdx.x % 32 / 4, first = 16 * column + threadIdx.x % 4 * 2;
  const Column columns[2][2] = {{Column(desk, first), Column(desk, first + 1)},
                                {Column(desk, first + 8), Column(desk, first + 9)}};
#pragma unroll
  for (int m = 0; m < ROW_TILES; ++m) {
#pragma unroll
    for (int lower = 0; lower < 2; ++lower) {
      const int at = 16 * m + 8 * lower + g;
      const Place row(desk, at);
#pragma unroll
      for (int k = 0; k < 2; ++k) {
        const float(&s)[4] = scores[m][k];
        const float pair[2] = {columns[k][0].weigh(s[2 * lower], row),
                               columns[k][1].weigh(s[2 * lower + 1], row)};
        store<2>(desk.scores + at * SCORE_STRIDE + first + 8 * k, pair);
      }
    }
  }
}

// The state has decayed until each row.
__device__ __forceinline__ void decay(Tile& y, const Desk& desk) {
  const int g = threadIdx.x % 32 / 4;
#pragma unroll
  for (int m = 0; m < ROW_TILES; ++m)
#pragma unroll
    for (int k = 0; k < 2; ++k)
#pragma unroll
      for (int i = 0; i < 4; ++i) y[m][k][i] *= desk.row_decay[16 * m + i / 2 * 8 + g];
}

// v of every row.
__device__ __forceinline__ void bring_values(const Desk& desk, int tokens,
                                             const Sizes& n) {
#pragma unroll 2
  for (int i = threadIdx.x; i < ROWS * (WIDTH / 4); i += THREADS) {
    const int row = i / (WIDTH / 4), p = i % (WIDTH / 4) * 4;
    const int t = desk.token[row], r = row - t * n.ranks;
    float v[4] = {}, factor[4];
    if (t < tokens) {
      load<4>(v, desk.x + t * VALUE_STRIDE + p);
      load<4>(factor, desk.mix_x + r * WIDTH + p);
#pragma unroll
      for (int k = 0; k < 4; ++k) v[k] *= factor[k];
    }
    store<4>(desk.values + row * VALUE_STRIDE + p, v);
  }
}

// y += S v. Tiles above the diagonal are 0, unless the ranks of a token straddle it.
template <bool STRADDLING>
__device__ __forceinline__ void add_scored(Tile& y, const Desk& desk) {
  const IO* const own = desk.values + threadIdx.x / 32 * 16;
#pragma unroll
  for (int j = 0; j < ROW_TILES; ++j) {
    Right values[2];
    columns_in_time(values, own + 16 * j * VALUE_STRIDE, VALUE_STRIDE);
#pragma unroll
    for (int m = STRADDLING ? 0 : j; m < ROW_TILES; ++m) {
      Left scores;
      rows_in_time(scores, desk.scores + 16 * (m * SCORE_STRIDE + j), SCORE_STRIDE);
      multiply(y[m][0], scores, values[0]);
      multiply(y[m][1], scores, values[1]);
    }
  }
}

// h = decay h + what the chunk adds.
__device__ __forceinline__ void advance(State& h, const Desk& desk) {
  const IO* const own = desk.values + threadIdx.x / 32 * 16;
  Left added[ROW_TILES];
#pragma unroll
  for (int j = 0; j < ROW_TILES; ++j) {
    Right values[2];
    columns_in_time(values, own + 16 * j * VALUE_STRIDE, VALUE_STRIDE);
    weighted(added[j], values, desk.row_end + 16 * j);
  }
  const float decay = desk.decay[0];
#pragma unroll
  for (int step = 0; step < STEPS; ++step) {
    __syncwarp();  // else more steps are begun than there are registers for
    float sums[2][4] = {};
#pragma unroll
    for (int j = 0; j < ROW_TILES; ++j) {
      Right keys[2];
      columns_in_time(keys, desk.keys + 16 * (j * KEY_STRIDE + step), KEY_STRIDE);
      multiply(sums[0], added[j], keys[0]);
      multiply(sums[1], added[j], keys[1]);
    }
#pragma unroll
    for (int k = 0; k < 2; ++k)
#pragma unroll
      for (int i = 0; i < 4; ++i)
        h[2 * step + k][i] = fmaf(decay, h[2 * step + k][i], sums[k][i]);
  }
}
