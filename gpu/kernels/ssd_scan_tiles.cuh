// The products of the scan of Mamba-2 (ssd_scan.cu, which explains them), on a chunk that
// lies in shared memory; outputs and states of a warp.
#pragma once
#include "ssd_scan_chunk.cuh"

constexpr int STEPS = STATE / 16;  // of a sum over states

// Sums of a warp: (ROWS, 16 columns).
using Tile = float[ROW_TILES][2][4];
// Its part of the state: (16 columns, STATE).
using State = float[2 * STEPS][4];

// y = h C for all rows, and a tile of columns of C B^T: what is not later.
__device__ __forceinline__ void query(Tile& y, Tile& scores, const State& h,
                                      const Desk& desk, int column, bool own) {
#pragma unroll
  for (int step = 0; step < STEPS; ++step) {
    Right states[2], keys[2];
    from_sums(states[0], h[2 * step], h[2 * step + 1], 0);
    from_sums(states[1], h[2 * step], h[2 * step + 1], 2);
    if (column < ROW_TILES)
      columns_in_state(keys, desk.keys + 16 * (column * KEY_STRIDE + step), KEY_STRIDE);
#pragma unroll
    for (int m = 0; m < ROW_TILES; ++m) {
      Left queries;
      rows_in_state(queries, desk.queries + 16 * (m * KEY_STRIDE + step), KEY_STRIDE);
      if (own) {
        multiply(y[m][0], queries, states[0]);
        multiply(y[m][1], queries, states[1]);
      }
      if (column <= m) {
        multiply(scores[m][0], queries, keys[0]);
        multiply(scores[m][1], queries, keys[1]);
      }
    }
  }
}

// A token as a column of scores, and its weight for a later one.
struct Column {
  int token;
  float total, rest, step;

  __device__ __forceinline__ Column(const Weights& w, int t)
      : token(t), total(w.total[t]), rest(w.rest[t]), step(w.step[t]) {}

  __device__ __forceinline__ float weigh(float score, int row, float row_total,
                                         float row_rest) const {
    const float apart = (row_total - total) + (row_rest - rest);
    const float weighed = score * (step * ex2(apart));
    return row < token ? 0.f : weighed;
  }
};

// Weigh a tile of columns of scores, and lay it where all warps find it.
__device__ __forceinline__ void share(const Tile& scores, const Desk& desk,
                                      const Weights& w, int column) {
  const int g = threadIdx.x % 32 / 4, first = 16 * column + threadIdx.x % 4 * 2;
  const Column columns[2][2] = {{Column(w, first), Column(w, first + 1)},
                                {Column(w, first + 8), Column(w, first + 9)}};
#pragma unroll
  for (int m = 0; m < ROW_TILES; ++m) {
    if (column > m) continue;
#pragma unroll
    for (int lower = 0; lower < 2; ++lower) {
      const int row = 16 * m + 8 * lower + g;
      const float total = w.total[row], rest = w.rest[row];
#pragma unroll
      for (int k = 0; k < 2; ++k) {
        const float(&s)[4] = scores[m][k];
        const float pair[2] = {columns[k][0].weigh(s[2 * lower], row, total, rest),
                               columns[k][1].weigh(s[2 * lower + 1], row, total, rest)};
        store<2>(desk.scores + row * SCORE_STRIDE + first + 8 * k, pair);
      }
    }
  }
}

// The state has decayed until each row.
__device__ __forceinline__ void decay(Tile& y, const Weights& w) {
  const int g = threadIdx.x % 32 / 4;
#pragma unroll
  for (int m = 0; m < ROW_TILES; ++m)
#pragma unroll
    for (int k = 0; k < 2; ++k)
#pragma unroll
      for (int i = 0; i < 4; ++i) y[m][k][i] *= w.decay[16 * m + i / 2 * 8 + g];
}

// h = decay h + what the chunk adds.
__device__ __forceinline__ void advance(State& h, const Desk& desk, const Weights& w) {
  const IO* const x = desk.x + threadIdx.x / 32 * OWN;
  Left added[ROW_TILES];
#pragma unroll
  for (int j = 0; j < ROW_TILES; ++j) {
    Right values[2];
    columns_in_time(values, x + 16 * j * VALUE_STRIDE, VALUE_STRIDE);
    weighted(added[j], values, w.end + 16 * j);
  }
  const float decay = w.whole[0];
#pragma unroll
  for (int step = 0; step < STEPS; ++step) {
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

// y += S x.
__device__ __forceinline__ void attend(Tile& y, const Desk& desk) {
  const IO* const x = desk.x + threadIdx.x / 32 * OWN;
#pragma unroll
  for (int j = 0; j < ROW_TILES; ++j) {
    Right values[2];
    columns_in_time(values, x + 16 * j * VALUE_STRIDE, VALUE_STRIDE);
#pragma unroll
    for (int m = j; m < ROW_TILES; ++m) {
      Left scores;
      rows_in_time(scores, desk.scores + 16 * (m * SCORE_STRIDE + j), SCORE_STRIDE);
      multiply(y[m][0], scores, values[0]);
      multiply(y[m][1], scores, values[1]);
    }
  }
}

// What becomes of y: a lane has four columns of a row, from `column` of its warp's on.
struct Output {
  IO* y;             // the lane's first column and row of the next chunk
  long long token;   // elements from token to token
  bool gated, whole;
  int columns;       // of the warp's that exist

  __device__ __forceinline__ Output(IO* y, const Segment& s, long long length,
                                    long long token, long long within)
      : y(y + (s.batch * length + s.begin + threadIdx.x % 32 / 4) * token + within +
          column()),
        token(token) {}

  __device__ __forceinline__ static int column() {
    return threadIdx.x % 2 * 8 + threadIdx.x % 4 / 2 * 4;
  }

  // (y + D x) silu(z) of all tokens. Neighbouring lanes swap pairs: each has four
  // columns then, and an instruction writes all of the warp's.
  __device__ __forceinline__ void give(const Tile& tile, const Desk& desk, int tokens) {
    const int lane = threadIdx.x % 32, from = threadIdx.x / 32 * OWN + column();
    const bool odd = lane % 2;
    const long long step = 8 * token;
    float skip[4];
    load<4>(skip, desk.skip + from);
#pragma unroll
    for (int m = 0; m < ROW_TILES; ++m)
#pragma unroll
      for (int i = 0; i < 4; i += 2, y += step) {
        const float(&low)[4] = tile[m][0], (&high)[4] = tile[m][1];
        const float one = __shfl_xor_sync(SSM_FULL, odd ? low[i] : high[i], 1);
        const float two = __shfl_xor_sync(SSM_FULL, odd ? low[i + 1] : high[i + 1], 1);
        float out[4] = {odd ? one : low[i], odd ? two : low[i + 1], odd ? high[i] : one,
                        odd ? high[i + 1] : two};
        const int row = 16 * m + 4 * i + lane / 4;
        finish(out, skip, desk, row * VALUE_STRIDE + from);
        if (row >= tokens) continue;
        if (!whole) store_some<4>(y, out, columns - column());
        else if (column() < columns) store<4>(y, out);
      }
  }

  __device__ __forceinline__ void finish(float (&out)[4], const float (&skip)[4],
                                         const Desk& desk, int place) const {
    float x[4], gate[4];
    load<4>(x, desk.x + place);
    if (gated) load<4>(gate, desk.z + place);
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      out[k] = fmaf(skip[k], x[k], out[k]);
      if (gated) out[k] *= silu(gate[k]);
    }
  }
};

// A warp's part of the state, from memory that begins anywhere; 0 where there is none.
__device__ __forceinline__ void take_state(State& h, const float* from, int columns,
                                           int size) {
  const int g = threadIdx.x % 32 / 4, c = threadIdx.x % 4;
#pragma unroll
  for (int tile = 0; tile < 2 * STEPS; ++tile)
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int p = g + i / 2 * 8, at = 8 * tile + 2 * c + i % 2;
      const bool there = from && p < columns && at < size;
      h[tile][i] = there ? from[p * size + at] : 0.f;
    }
}

__device__ __forceinline__ void give_state(const State& h, float* to, int columns,
                                           int size) {
  const int g = threadIdx.x % 32 / 4, c = threadIdx.x % 4;
#pragma unroll
  for (int tile = 0; tile < 2 * STEPS; ++tile)
#pragma unroll
    for (int i = 0; i < 4; i += 2) {
      const int p = g + 4 * i, at = 8 * tile + 2 * c;
      if (p >= columns || at >= size) continue;
      const float pair[2] = {h[tile][i], h[tile][i + 1]};
      if (size % 2 == 0) store<2>(to + p * size + at, pair);
      else store_some<2>(to + p * size + at, pair, size - at);
    }
}
