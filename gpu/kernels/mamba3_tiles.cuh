// The products of the scan of Mamba-3 (mamba3_scan.cu, which explains them), on a chunk
// that lies in shared memory.
#pragma once
#include "mamba3_rotation.cuh"

constexpr int STEPS = STATE / 16;   // of a sum over states

// Sums of a warp: (ROWS, OWN columns).
using Tile = float[ROW_TILES][2 * COLUMN_TILES][4];
// Its part of the state: (OWN columns, STATE).
using State = float[COLUMN_TILES][2 * STEPS][4];
// A tile of columns of q k: (ROWS, 16).
using Scores = float[ROW_TILES][2][4];

// The first column of a thread's warp.
__device__ __forceinline__ int own_column(int thread) { return thread / 32 * OWN; }

// y = h q for all rows, and a tile of columns of q k.
__device__ __forceinline__ void query(Tile& y, Scores& scores, const State& h,
                                      const Desk& desk, int column) {
#pragma unroll
  for (int m = 0; m < ROW_TILES; ++m)
#pragma unroll
    for (int i = 0; i < 4; ++i) {
#pragma unroll
      for (int k = 0; k < 2 * COLUMN_TILES; ++k) y[m][k][i] = 0.f;
      scores[m][0][i] = scores[m][1][i] = 0.f;
    }
#pragma unroll
  for (int step = 0; step < STEPS; ++step) {
    if (WIDE) __syncwarp();  // else more steps are begun than there are registers for
    Right states[2 * COLUMN_TILES], keys[2];
#pragma unroll
    for (int k = 0; k < 2 * COLUMN_TILES; ++k)
      from_sums(states[k], h[k / 2][2 * step], h[k / 2][2 * step + 1], k % 2 * 2);
    columns_in_state(keys, desk.keys + 16 * (column * KEY_STRIDE + step), KEY_STRIDE);
#pragma unroll
    for (int m = 0; m < ROW_TILES; ++m) {
      Left queries;
      rows_in_state(queries, desk.queries + 16 * (m * KEY_STRIDE + step), KEY_STRIDE);
#pragma unroll
      for (int k = 0; k < 2 * COLUMN_TILES; ++k) multiply(y[m][k], queries, states[k]);
#pragma unroll
      for (int k = 0; k < 2; ++k) multiply(scores[m][k], queries, keys[k]);
    }
  }
}

// Two neighbouring columns of S: the sums of log decays up to their tokens, weights. What
// the sums lack is below the digits of bf16 and f16.
struct Columns {
  float total[2], rest[2], weight[2], now[2];

  __device__ __forceinline__ Columns(const Desk& desk, int row) {
    load<2>(total, desk.total + row);
    if (WIDE) load<2>(rest, desk.rest + row);
    load<2>(weight, desk.weight + row);
    load<2>(now, desk.now + row);
  }
};

// Where a pair of columns stands to a row.
enum Standing { LATER, EARLIER, ANY };

// How many tokens row `at` is behind column `to`. Where ranks do not straddle tiles, ANY is
// a tile on the diagonal, whose halves are whole tokens as well.
__device__ __forceinline__ int behind(const Desk& desk, int at, int to) {
  return RANKS ? at % 8 / FIXED - to % 8 / FIXED
               : token_of(desk, at) - token_of(desk, to);
}

// The weights of a pair of scores of row `at`; if LATER, the row is of a later token than
// the columns, if EARLIER, all is 0.
template <Standing STANDING>
__device__ __forceinline__ void share_pair(const float* scores, const Columns& c,
                                           const Desk& desk, int at, int column) {
  constexpr bool SAME = RANKS && RANKS % 2 == 0;  // neighbours are of one token
  float pair[2] = {};
  if (STANDING != EARLIER) {
    const float total = desk.total[at], rest = WIDE ? desk.rest[at] : 0.f;
    float weight[2];
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      float apart = total - c.total[i];
      if (WIDE) apart += rest - c.rest[i];
      const int tokens = STANDING == ANY ? behind(desk, at, column + i) : 1;
      weight[i] = tokens == 0 ? c.now[i] : c.weight[i] * ex2(apart);
      pair[i] = tokens < 0 ? 0.f : scores[i] * weight[SAME ? 0 : i];
    }
  }
  store<2>(desk.scores + at * SCORE_STRIDE + column, pair);
}

// Weigh 16 rows of a tile of columns of scores, and lay them where all warps find them;
// how the tile stands to them.
template <Standing STANDING>
__device__ __forceinline__ void share_rows(const float (&scores)[2][4],
                                           const Columns (&columns)[2], const Desk& desk,
                                           int row, int column) {
#pragma unroll
  for (int lower = 0; lower < 2; ++lower)
#pragma unroll
    for (int k = 0; k < 2; ++k) {
      const float* const pair = scores[k] + 2 * lower;
      const int at = row + 8 * lower, to = column + 8 * k;
      // On the diagonal halves of the tile are whole tokens.
      if (STANDING == LATER || (RANKS && lower > k))
        share_pair<LATER>(pair, columns[k], desk, at, to);
      else if (RANKS && lower < k)
        share_pair<EARLIER>(pair, columns[k], desk, at, to);
      else
        share_pair<ANY>(pair, columns[k], desk, at, to);
    }
}

// Whether the ranks of a token straddle tiles of rows.
__device__ __forceinline__ bool straddling(const Sizes& n) { return 16 % n.ranks != 0; }

// The same for a tile of columns. Tiles above the diagonal are 0, and nobody reads them,
// unless the ranks of a token straddle it.
__device__ __forceinline__ void share(const Scores& scores, const Desk& desk, int column,
                                      const Sizes& n) {
  const int thread = thread_again(), g = thread % 32 / 4;
  const int first = 16 * column + thread % 4 * 2;
  const Columns columns[2] = {Columns(desk, first), Columns(desk, first + 8)};
#pragma unroll
  for (int m = 0; m < ROW_TILES; ++m) {
    if (m > column && !straddling(n))
      share_rows<LATER>(scores[m], columns, desk, 16 * m + g, first);
    else if (m == column || straddling(n))
      share_rows<ANY>(scores[m], columns, desk, 16 * m + g, first);
  }
}

// The state has decayed until each row.
__device__ __forceinline__ void decay(Tile& y, const Desk& desk) {
  const int g = thread_again() % 32 / 4;
#pragma unroll
  for (int m = 0; m < ROW_TILES; ++m)
#pragma unroll
    for (int k = 0; k < 2 * COLUMN_TILES; ++k)
#pragma unroll
      for (int i = 0; i < 4; ++i) y[m][k][i] *= desk.decay[16 * m + i / 2 * 8 + g];
}

// v of every row, in a warp's columns: of any number of ranks.
__device__ __forceinline__ void lay_values(const Desk& desk, int tokens, const Sizes& n) {
  constexpr int LANES = OWN / 4;
  const int thread = thread_again(), lane = thread % 32;
  const int p = own_column(thread) + lane % LANES * 4;
#pragma unroll 2
  for (int row = lane / LANES; row < ROWS; row += 32 / LANES) {
    const int t = token_of(desk, row), r = rank_of(desk, row, n);
    float v[4] = {}, factor[4];
    if (t < tokens) {
      load<4>(v, desk.x + t * VALUE_STRIDE + p);
      load<4>(factor, desk.mix_x + r * WIDTH + p);
#pragma unroll
      for (int k = 0; k < 4; ++k) v[k] *= factor[k];
    }
    store<4>(desk.values + row * VALUE_STRIDE + p, v);
  }
  __syncwarp();
}

// One number of v.
__device__ __forceinline__ float value_of(const Desk& desk, int row, int column,
                                          const Sizes& n) {
  if (!RANKS) return to_float(desk.values[row * VALUE_STRIDE + column]);
  const float x = to_float(desk.x[token_of(desk, row) * VALUE_STRIDE + column]);
  return RANKS == 1 ? x : x * desk.mix_x[rank_of(desk, row, n) * WIDTH + column];
}

// x of 16 rows of several ranks, from `row` on, in 16 columns, as columns_in_time has
// them: rows of a token are one row, so that neighbours, one word, are the same.
template <class T>
__device__ __forceinline__ void tokens_in_time(float (&x)[4], const Desk& desk, int row,
                                               int column) {
  const int lane = thread_again() % 32;
  unsigned words[4];
  ldmatrix_x4_trans(words, desk.x + (row + lane % 16) / FIXED * VALUE_STRIDE + column +
                               lane / 16 * 8);
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    float same;
    unpack2<T>(words[i], x[i], same);
  }
}

// mimo_x of the two ranks of such a word, in this column and the eighth behind it.
struct Mix {
  float factor[2][2];

  __device__ __forceinline__ Mix(const Desk& desk, int column) {
    const int lane = thread_again() % 32;
    const float* const mix = desk.mix_x + lane % 4 * 2 % FIXED * WIDTH + column + lane / 4;
#pragma unroll
    for (int k = 0; k < 2; ++k)
#pragma unroll
      for (int i = 0; i < 2; ++i) factor[k][i] = mix[8 * k + i * WIDTH];
  }
};

// v of 16 rows, from `row` on, in 16 columns: as columns_in_time.
template <class T = IO>
__device__ __forceinline__ void values_in_time(Right (&b)[2], const Desk& desk, int row,
                                               int column, const Sizes& n) {
  const int lane = threadIdx.x % 32;
  if constexpr (RANKS <= 1) {
    columns_in_time(b, (RANKS ? desk.x : desk.values) + row * VALUE_STRIDE + column,
                    VALUE_STRIDE);
  } else if constexpr (!wide<T>) {
    const Mix mix(desk, column);
    float x[4];
    tokens_in_time<T>(x, desk, row, column);
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const float(&factor)[2] = mix.factor[i / 2];
      b[i / 2].high[0][i % 2] = pack2<T>(x[i] * factor[0], x[i] * factor[1]);
    }
  } else {
#pragma unroll
    for (int i = 0; i < 8; ++i)
      b[i / 4].set(i / 2 % 2, i % 2,
                   value_of(desk, row + i % 4 * 4 + lane % 4,
                            column + i / 4 * 8 + lane / 4, n));
  }
}

// The same, transposed, each row times its weight at the end of the chunk.
template <class T = IO>
__device__ __forceinline__ void values_at_end(Left& a, const Desk& desk, int row,
                                              int column, const Sizes& n) {
  if constexpr (RANKS > 1 && !wide<T>) {
    const Mix mix(desk, column);
    float x[4];
    tokens_in_time<T>(x, desk, row, column);
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      // Columns as words i / 2 have them, tokens as i mod 2.
      const float at_end = x[i] * desk.end[row + i % 2 * 8 + threadIdx.x % 4 * 2];
      const float(&factor)[2] = mix.factor[i / 2];
      a.high[0][i / 2 + i % 2 * 2] = pack2<T>(at_end * factor[0], at_end * factor[1]);
    }
  } else {
    Right values[2];
    values_in_time(values, desk, row, column, n);
    weighted(a, values, desk.end + row);
  }
}

// y += S v where v may be infinite or NaN: no factors of a product, which would bring
// them to the tokens before them.
__device__ __forceinline__ void add_seen(Tile& y, const Desk& desk, const Sizes& n) {
  const int thread = thread_again(), g = thread % 32 / 4;
  const int own = own_column(thread) + thread % 4 * 2;
#pragma unroll 1
  for (int s = 0; s < ROWS; ++s) {
    const int token = token_of(desk, s);
#pragma unroll
    for (int k = 0; k < 2 * COLUMN_TILES; ++k) {
      const float v[2] = {value_of(desk, s, own + 8 * k, n),
                          value_of(desk, s, own + 8 * k + 1, n)};
#pragma unroll
      for (int m = 0; m < ROW_TILES; ++m)
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          const int row = 16 * m + i / 2 * 8 + g;
          if (token_of(desk, row) < token) continue;
          const float score = to_float(desk.scores[row * SCORE_STRIDE + s]);
          y[m][k][i] = fmaf(score, v[i % 2], y[m][k][i]);
        }
    }
  }
}

// Whether a state is infinite or NaN, in some of its columns: so it is after a chunk with
// such values.
__device__ __forceinline__ bool overflown(const State& h) {
  float zero = 0.f;
#pragma unroll
  for (int k = 0; k < COLUMN_TILES; ++k)
    zero = fmaf(0.f, h[k][0][0], fmaf(0.f, h[k][0][2], zero));
  return __any_sync(SSM_FULL, !(zero == 0.f));
}

// y += S v. Tiles above the diagonal are 0, unless the ranks of a token straddle it.
__device__ __forceinline__ void add_scored(Tile& y, const Desk& desk, const Sizes& n) {
  const int own = own_column(thread_again());
#pragma unroll
  for (int j = 0; j < ROW_TILES; ++j) {
    Right values[COLUMN_TILES][2];
#pragma unroll
    for (int k = 0; k < COLUMN_TILES; ++k)
      values_in_time(values[k], desk, 16 * j, own + 16 * k, n);
#pragma unroll
    for (int m = 0; m < ROW_TILES; ++m) {
      if (m < j && !straddling(n)) continue;
      Left scores;
      rows_in_time(scores, desk.scores + 16 * (m * SCORE_STRIDE + j), SCORE_STRIDE);
#pragma unroll
      for (int k = 0; k < 2 * COLUMN_TILES; ++k)
        multiply(y[m][k], scores, values[k / 2][k % 2]);
    }
  }
}

// h = decay h + what the chunk adds.
__device__ __forceinline__ void advance(State& h, const Desk& desk, const Sizes& n) {
  const int own = own_column(thread_again());
  Left added[COLUMN_TILES][ROW_TILES];
#pragma unroll
  for (int k = 0; k < COLUMN_TILES; ++k)
#pragma unroll
    for (int j = 0; j < ROW_TILES; ++j)
      values_at_end(added[k][j], desk, 16 * j, own + 16 * k, n);
  const float decay = desk.whole[0];
#pragma unroll
  for (int step = 0; step < STEPS; ++step) {
    float sums[COLUMN_TILES][2][4] = {};
#pragma unroll
    for (int j = 0; j < ROW_TILES; ++j) {
      __syncwarp();  // as there
      Right keys[2];
      columns_in_time(keys, desk.keys + 16 * (j * KEY_STRIDE + step), KEY_STRIDE);
#pragma unroll
      for (int k = 0; k < 2 * COLUMN_TILES; ++k)
        multiply(sums[k / 2][k % 2], added[k / 2][j], keys[k % 2]);
    }
#pragma unroll
    for (int k = 0; k < COLUMN_TILES; ++k)
#pragma unroll
      for (int i = 0; i < 8; ++i) {
        float& state = h[k][2 * step + i / 4][i % 4];
        state = fmaf(decay, state, sums[k][i / 4][i % 4]);
      }
  }
}
