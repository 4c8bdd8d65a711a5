// The products of the scan of Mamba-2 (ssd_scan.cu, which explains them), on a chunk that
// lies in shared memory; outputs and states of a warp.
#pragma once
#include "ssd_scan_chunk.cuh"

constexpr int STEPS = STATE / 16;  // of a sum over states

// Sums of a warp: (ROWS, OWN columns).
using Tile = float[ROW_TILES][2 * COLUMN_TILES][4];
// Its part of the state: (OWN columns, STATE).
using State = float[COLUMN_TILES][2 * STEPS][4];
// Of scores: (16, 16).
using Scores = float[2][4];

// y = h C.
__device__ __forceinline__ void query(Tile& y, const State& h, const Desk& desk) {
#pragma unroll
  for (int step = 0; step < STEPS; ++step) {
    Right states[2 * COLUMN_TILES];
#pragma unroll
    for (int k = 0; k < 2 * COLUMN_TILES; ++k)
      from_sums(states[k], h[k / 2][2 * step], h[k / 2][2 * step + 1], k % 2 * 2);
#pragma unroll
    for (int m = 0; m < ROW_TILES; ++m) {
      Left queries;
      rows_in_state(queries, desk.queries + 16 * (m * KEY_STRIDE + step), KEY_STRIDE);
#pragma unroll
      for (int k = 0; k < 2 * COLUMN_TILES; ++k) multiply(y[m][k], queries, states[k]);
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

// Weigh scores for a head, and lay them where all its warps find them.
__device__ __forceinline__ void share(const Scores& s, IO* to, const Weights& w, int row,
                                      int column) {
  const int g = threadIdx.x % 32 / 4, first = column + threadIdx.x % 4 * 2;
  const Column columns[2][2] = {{Column(w, first), Column(w, first + 1)},
                                {Column(w, first + 8), Column(w, first + 9)}};
#pragma unroll
  for (int lower = 0; lower < 2; ++lower) {
    const int at = row + 8 * lower + g;
    const float total = w.total[at], rest = w.rest[at];
#pragma unroll
    for (int k = 0; k < 2; ++k) {
      const float pair[2] = {columns[k][0].weigh(s[k][2 * lower], at, total, rest),
                             columns[k][1].weigh(s[k][2 * lower + 1], at, total, rest)};
      store<2>(to + at * SCORE_STRIDE + first + 8 * k, pair);
    }
  }
}

// C B^T, 16 tokens by 16: what is not later, dealt to the warps.
__device__ __forceinline__ void score(const Desk& desk, int turn) {
  constexpr int TILES = ROW_TILES * (ROW_TILES + 1) / 2;
#pragma unroll 1
  for (int tile = threadIdx.x / 32; tile < TILES; tile += WARPS) {
    int row = 0, column = tile;
    while (column > row) column -= ++row;
    const IO* const queries = desk.queries + 16 * row * KEY_STRIDE;
    const IO* const keys = desk.keys + 16 * column * KEY_STRIDE;
    Scores sums = {};
#pragma unroll (WIDE ? 2 : STEPS)
    for (int step = 0; step < STEPS; ++step) {
      Left a;
      Right b[2];
      rows_in_state(a, queries + 16 * step, KEY_STRIDE);
      columns_in_state(b, keys + 16 * step, KEY_STRIDE);
      multiply(sums[0], a, b[0]);
      multiply(sums[1], a, b[1]);
    }
#pragma unroll
    for (int head = 0; head < HEADS; ++head)
      share(sums, desk.scores + head * ROWS * SCORE_STRIDE, desk.weighed(turn, head),
            16 * row, 16 * column);
  }
}

// The state has decayed until each row.
__device__ __forceinline__ void decay(Tile& y, const Weights& w) {
  const int g = threadIdx.x % 32 / 4;
#pragma unroll
  for (int m = 0; m < ROW_TILES; ++m)
#pragma unroll
    for (int k = 0; k < 2 * COLUMN_TILES; ++k)
#pragma unroll
      for (int i = 0; i < 4; ++i) y[m][k][i] *= w.decay[16 * m + i / 2 * 8 + g];
}

// h = decay h + what the chunk adds.
__device__ __forceinline__ void advance(State& h, const IO* x, const IO* keys,
                                        const Weights& w) {
  Left added[COLUMN_TILES][ROW_TILES];
#pragma unroll
  for (int k = 0; k < COLUMN_TILES; ++k)
#pragma unroll
    for (int j = 0; j < ROW_TILES; ++j) {
      Right values[2];
      columns_in_time(values, x + 16 * (j * VALUE_STRIDE + k), VALUE_STRIDE);
      weighted(added[k][j], values, w.end + 16 * j);
    }
  const float decay = *w.whole;
#pragma unroll
  for (int step = 0; step < STEPS; ++step) {
    float sums[COLUMN_TILES][2][4] = {};
#pragma unroll
    for (int j = 0; j < ROW_TILES; ++j) {
      Right b[2];
      columns_in_time(b, keys + 16 * (j * KEY_STRIDE + step), KEY_STRIDE);
#pragma unroll
      for (int k = 0; k < COLUMN_TILES; ++k) {
        multiply(sums[k][0], added[k][j], b[0]);
        multiply(sums[k][1], added[k][j], b[1]);
      }
    }
#pragma unroll
    for (int k = 0; k < COLUMN_TILES; ++k)
#pragma unroll
      for (int i = 0; i < 8; ++i) {
        float& own = h[k][2 * step + i / 4][i % 4];
        own = fmaf(decay, own, sums[k][i / 4][i % 4]);
      }
  }
}

// Whether a warp's columns of x may have numbers that are not finite: then its state, to
// which they have been added, has none that is.
__device__ __forceinline__ bool infinite(const State& h) {
  float zero = 0.f;
#pragma unroll
  for (int k = 0; k < COLUMN_TILES; ++k)
    zero = fmaf(0.f, h[k][0][0], fmaf(0.f, h[k][0][2], zero));
  return __any_sync(SSM_FULL, !(zero == 0.f));
}

// y += S x on the diagonal, where later tokens have no part in a sum: in a product their
// weight is 0, which leaves what is not finite as it is.
__device__ __forceinline__ void attend_one_by_one(Tile& y, const IO* scores,
                                                  const IO* x) {
  const int g = threadIdx.x % 32 / 4, c = threadIdx.x % 4;
#pragma unroll 1
  for (int s = 0; s < 16; ++s)
#pragma unroll
    for (int m = 0; m < ROW_TILES; ++m)
#pragma unroll
      for (int k = 0; k < 2 * COLUMN_TILES; ++k) {
        float values[2];
        load<2>(values, x + (16 * m + s) * VALUE_STRIDE + 8 * k + 2 * c);
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          const int row = g + i / 2 * 8;
          const float weight =
              to_float(scores[(16 * m + row) * SCORE_STRIDE + 16 * m + s]);
          if (s <= row) y[m][k][i] = fmaf(weight, values[i % 2], y[m][k][i]);
        }
      }
}

// y += S x.
__device__ __forceinline__ void attend(Tile& y, const IO* scores, const IO* x,
                                       bool apart) {
#pragma unroll
  for (int j = 0; j < ROW_TILES; ++j) {
    Right values[COLUMN_TILES][2];
#pragma unroll
    for (int k = 0; k < COLUMN_TILES; ++k)
      columns_in_time(values[k], x + 16 * (j * VALUE_STRIDE + k), VALUE_STRIDE);
#pragma unroll
    for (int m = j; m < ROW_TILES; ++m) {
      if (m == j && apart) continue;
      Left weights;
      rows_in_time(weights, scores + 16 * (m * SCORE_STRIDE + j), SCORE_STRIDE);
#pragma unroll
      for (int k = 0; k < 2 * COLUMN_TILES; ++k)
        multiply(y[m][k], weights, values[k / 2][k % 2]);
    }
  }
  if (apart) attend_one_by_one(y, scores, x);
}

// What becomes of y.
struct Output {
  Track<IO> track;
  bool skips, gated, whole;

  // (y + D x) silu(z) of all tokens: by the lanes that have the sums, to where x was,
  // from there to memory in whole rows.
  __device__ __forceinline__ void give(const Tile& sums, IO* x, const IO* z,
                                       const float* skip, int tokens,
                                       int columns) const {
    const int lane = threadIdx.x % 32, first = lane / 4 * VALUE_STRIDE + lane % 4 * 2;
    __syncwarp();  // the warp has read x
#pragma unroll
    for (int k = 0; k < 2 * COLUMN_TILES; ++k) {
      float d[2] = {};
      if (skips) load<2>(d, skip + 8 * k + lane % 4 * 2);
#pragma unroll
      for (int i = 0; i < 2 * ROW_TILES; ++i) {
        const int place = first + 8 * (i * VALUE_STRIDE + k);
        const float(&sum)[4] = sums[i / 2][k];
        float out[2] = {sum[i % 2 * 2], sum[i % 2 * 2 + 1]}, other[2];
        if (skips) {
          load<2>(other, x + place);
          out[0] = fmaf(d[0], other[0], out[0]), out[1] = fmaf(d[1], other[1], out[1]);
        }
        if (gated) {
          load<2>(other, z + place);
          out[0] *= silu(other[0]), out[1] *= silu(other[1]);
        }
        store<2>(x + place, out);
      }
    }
    __syncwarp();  // whole rows are there
    write(x, tokens, columns);
  }

  __device__ __forceinline__ void write(const IO* from, int tokens, int columns) const {
    const int lane = threadIdx.x % 32, at = lane % VALUE_VECTORS * PER;
    const int first = lane / VALUE_VECTORS, count = columns - at;
    const long long step = VALUES_AT_ONCE * track.token;
    IO* y = track.next();
    from += first * VALUE_STRIDE + at;
#pragma unroll
    for (int row = 0; row < ROWS; row += VALUES_AT_ONCE, y += step) {
      if (first + row >= tokens || count <= 0) continue;
      const IO* const p = from + row * VALUE_STRIDE;
      if (whole) {
        *reinterpret_cast<uint4*>(y) = *reinterpret_cast<const uint4*>(p);
      } else {
#pragma unroll 1
        for (int k = 0; k < PER && k < count; ++k) y[k] = p[k];
      }
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
    for (int i = 0; i < 4 * COLUMN_TILES; ++i) {
      const int p = g + i / 2 * 8, at = 8 * tile + 2 * c + i % 2;
      const bool there = from && p < columns && at < size;
      h[i / 4][tile][i % 4] = there ? from[p * size + at] : 0.f;
    }
}

__device__ __forceinline__ void give_state(const State& h, float* to, int columns,
                                           int size) {
  const int g = threadIdx.x % 32 / 4, c = threadIdx.x % 4;
#pragma unroll
  for (int tile = 0; tile < 2 * STEPS; ++tile)
#pragma unroll
    for (int i = 0; i < 4 * COLUMN_TILES; i += 2) {
      const int p = g + 4 * i, at = 8 * tile + 2 * c;
      if (p >= columns || at >= size) continue;
      const float(&sums)[4] = h[i / 4][tile];
      const float pair[2] = {sums[i % 4], sums[i % 4 + 1]};
      if (size % 2 == 0) store<2>(to + p * size + at, pair);
      else store_some<2>(to + p * size + at, pair, size - at);
    }
}
