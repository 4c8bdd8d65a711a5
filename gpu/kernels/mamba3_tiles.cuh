// The products of the scan of Mamba-3 (mamba3_scan.cu, which explains them), on a chunk
// that lies in shared memory.
#pragma once
#include "mamba3_rotation.cuh"

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

// A row or a column of S: its token, and the sum of log decays up to it. What the sum
// lacks is below the digits of bf16 and f16.
struct Place {
  int token;
  float total, rest;

  __device__ __forceinline__ Place(const Desk& desk, int row)
      : token(desk.token[row]), total(desk.row_total[row]),
        rest(WIDE ? desk.row_rest[row] : 0.f) {}
};

struct Column : Place {
  float weight, now;

  __device__ __forceinline__ Column(const Desk& desk, int row)
      : Place(desk, row), weight(desk.row_weight[row]), now(desk.row_now[row]) {}

  // The weight of this token's key for a query of a later one.
  __device__ __forceinline__ float later(float score, const Place& query) const {
    float apart = query.total - total;
    if (WIDE) apart += query.rest - rest;
    return score * (weight * ex2(apart));
  }
  // For any query.
  __device__ __forceinline__ float weigh(float score, const Place& query) const {
    const float weighed = query.token == token ? score * now : later(score, query);
    return query.token < token ? 0.f : weighed;
  }
};

// Weigh 16 rows of a tile of columns of scores, and lay them where all warps find them.
// If LATER, all rows are of later tokens than the columns.
template <bool LATER>
__device__ __forceinline__ void share_rows(const float (&scores)[2][4],
                                           const Column (&columns)[2][2],
                                           const Desk& desk, int row, int column) {
#pragma unroll
  for (int lower = 0; lower < 2; ++lower) {
    const int at = row + 8 * lower;
    const Place query(desk, at);
#pragma unroll
    for (int k = 0; k < 2; ++k) {
      float pair[2];
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const float score = scores[k][2 * lower + i];
        const Column& key = columns[k][i];
        pair[i] = LATER ? key.later(score, query) : key.weigh(score, query);
      }
      store<2>(desk.scores + at * SCORE_STRIDE + column + 8 * k, pair);
    }
  }
}

// The same for a tile of columns. Tiles above the diagonal are 0, and nobody reads them,
// unless the ranks of a token straddle it.
__device__ __forceinline__ void share(const Tile& scores, const Desk& desk, int column,
                                      bool straddling) {
  const int g = threadIdx.x % 32 / 4, first = 16 * column + threadIdx.x % 4 * 2;
  const Column columns[2][2] = {{Column(desk, first), Column(desk, first + 1)},
                                {Column(desk, first + 8), Column(desk, first + 9)}};
#pragma unroll
  for (int m = 0; m < ROW_TILES; ++m) {
    if (m > column && !straddling)
      share_rows<true>(scores[m], columns, desk, 16 * m + g, first);
    else if (m == column || straddling)
      share_rows<false>(scores[m], columns, desk, 16 * m + g, first);
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
  constexpr int LANES = WIDTH / 4;
  const int first = threadIdx.x / LANES, p = threadIdx.x % LANES * 4;
  const IO* const x = desk.x + p;
  const float* const mix = desk.mix_x + p;
  IO* const to = desk.values + first * VALUE_STRIDE + p;
#pragma unroll 4
  for (int i = 0; i < ROWS; i += THREADS / LANES) {
    const int t = desk.token[first + i], r = first + i - t * n.ranks;
    float v[4] = {}, factor[4];
    if (t < tokens) {
      load<4>(v, x + t * VALUE_STRIDE);
      load<4>(factor, mix + r * WIDTH);
#pragma unroll
      for (int k = 0; k < 4; ++k) v[k] *= factor[k];
    }
    store<4>(to + i * VALUE_STRIDE, v);
  }
}

// y += S v where v may be infinite or NaN: no factors of a product, which would bring
// them to the tokens before them.
__device__ __forceinline__ void add_seen(Tile& y, const Desk& desk) {
  const int g = threadIdx.x % 32 / 4, own = threadIdx.x / 32 * 16 + threadIdx.x % 4 * 2;
#pragma unroll 1
  for (int s = 0; s < ROWS; ++s) {
    const int token = desk.token[s];
    float v[2][2];
#pragma unroll
    for (int k = 0; k < 2; ++k)
#pragma unroll
      for (int i = 0; i < 2; ++i)
        v[k][i] = to_float(desk.values[s * VALUE_STRIDE + own + 8 * k + i]);
#pragma unroll
    for (int m = 0; m < ROW_TILES; ++m)
#pragma unroll
      for (int lower = 0; lower < 2; ++lower) {
        const int row = 16 * m + 8 * lower + g;
        if (desk.token[row] < token) continue;
        const float score = to_float(desk.scores[row * SCORE_STRIDE + s]);
#pragma unroll
        for (int k = 0; k < 2; ++k)
#pragma unroll
          for (int i = 0; i < 2; ++i)
            y[m][k][2 * lower + i] = fmaf(score, v[k][i], y[m][k][2 * lower + i]);
      }
  }
}

// Whether a state is infinite or NaN, in some of its columns: so it is after a chunk with
// such values.
__device__ __forceinline__ bool overflown(const State& h) {
  const float inf = __uint_as_float(0x7f800000u);
  const bool finite = fabsf(h[0][0]) < inf && fabsf(h[0][2]) < inf;
  return __any_sync(SSM_FULL, !finite);
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
