// Tiles of attention (attention.cu, which explains it): rows from global to shared memory,
// and the two products of a tile of keys and values, with the online softmax between.
//
// Macros: IO, PARTS, SIZE (of rows: 16 to 256, padded).
#pragma once
#include "narrow.cuh"
#include "products.cuh"

constexpr int STEPS = SIZE / 16;
// A warp has 16 queries.
constexpr int QUERIES = WIDE && SIZE == 256 ? 32 : 64;
constexpr int KEYS = WIDE && SIZE == 256 ? 16 : WIDE || SIZE == 256 ? 32 : 64;
constexpr int THREADS = 2 * QUERIES;
// Padded so that neither rows nor columns of a fragment meet in a bank.
constexpr int KEY_STRIDE = SIZE + 8;
constexpr int VALUE_STRIDE = SIZE + (WIDE ? 4 : 8);
// Queries stay in registers as fragments where there is room for them.
constexpr bool HELD = !WIDE && SIZE <= 128;
// Numbers are split in two parts.
constexpr bool SPLIT = WIDE && PARTS == 2;

// Bring rows [0, rows) of `width` numbers, `step` elements apart; what is missing of MOST
// rows of SIZE numbers becomes 0. Vectors are asynchronous.
template <int MOST>
__device__ __forceinline__ void bring(IO* to, int stride, const IO* from, long long step,
                                      int rows, int width, bool whole) {
  constexpr int PER = per_vector<IO>(), VECTORS = SIZE / PER;
  if (whole) {
    constexpr int APART = THREADS / VECTORS;  // rows between those of a thread
    const int first = threadIdx.x / VECTORS, at = threadIdx.x % VECTORS * PER;
    const int there = at < width ? rows : 0;
    from += first * step + at, to += first * stride + at;
#pragma unroll
    for (int i = 0; i < MOST; i += APART, from += APART * step)
      if (first + i < there) cp_async16(to + i * stride, from);
      else *reinterpret_cast<uint4*>(to + i * stride) = make_uint4(0, 0, 0, 0);
  } else {
#pragma unroll 1
    for (int i = threadIdx.x; i < MOST * SIZE; i += THREADS) {
      const int row = i / SIZE, at = i % SIZE;
      to[row * stride + at] =
          row < rows && at < width ? from[row * step + at] : from_float<IO>(0.f);
    }
  }
}

// Two times 8 columns of 16 tokens, which are rows in memory. Tokens of a float step meet
// as accumulators of scores have them: 2c and 2c + 1 of each half.
template <class T = IO>
__device__ __forceinline__ void take_values(Right (&b)[2], const IO* p) {
  if constexpr (!wide<T>) {
    columns_in_time<T>(b, p, VALUE_STRIDE);
  } else {
    const int lane = threadIdx.x % 32;
#pragma unroll
    for (int i = 0; i < 8; ++i)
      b[i / 4].set(i / 2 % 2, i % 2,
                   to_float(p[(i / 2 % 2 * 8 + lane % 4 * 2 + i % 2) * VALUE_STRIDE +
                              i / 4 * 8 + lane / 4]));
  }
}

// Accumulators of 16 keys as a left factor.
template <class T = IO>
__device__ __forceinline__ void as_left(Left& a, const float (&first)[4],
                                        const float (&second)[4]) {
  if constexpr (!wide<T>) {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      a.high[0][i] = pack2<T>(first[2 * i], first[2 * i + 1]);
      a.high[0][i + 2] = pack2<T>(second[2 * i], second[2 * i + 1]);
    }
  } else {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      a.set(0, i, first[i % 2 * 2 + i / 2]);
      a.set(1, i, second[i % 2 * 2 + i / 2]);
    }
  }
}

__device__ __forceinline__ bool is_finite(float x) {
  return fabsf(x) < __uint_as_float(0x7f800000u);
}

// Scores that are NaN once more, number by number: infinity has no two parts.
__device__ __forceinline__ void mend(float (&scores)[KEYS / 8][4], const IO* queries,
                                     const IO* keys) {
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int n = 0; n < KEYS / 8; ++n)
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      if (scores[n][j] == scores[n][j]) continue;
      const IO* const query = queries + (lane / 4 + j / 2 * 8) * KEY_STRIDE;
      const IO* const key = keys + (8 * n + lane % 4 * 2 + j % 2) * KEY_STRIDE;
      float sum = 0.f;
#pragma unroll 1
      for (int i = 0; i < SIZE; ++i) sum = fmaf(to_float(query[i]), to_float(key[i]), sum);
      scores[n][j] = sum;
    }
}

// Values that are infinite or NaN become 0; returns whether there were any among those of
// this thread. A weight of 0 would not hide them from the queries before them.
__device__ __forceinline__ bool without_infinite(IO* values) {
  constexpr int PER = per_vector<IO>(), VECTORS = SIZE / PER;
  bool found = false;
#pragma unroll 1
  for (int i = threadIdx.x; i < KEYS * VECTORS; i += THREADS) {
    IO* const slot = values + i / VECTORS * VALUE_STRIDE + i % VECTORS * PER;
    float x[PER];
    load<PER>(x, slot);
    float most = 0.f;  // or NaN
#pragma unroll
    for (int j = 0; j < PER; ++j) most += 0.f * x[j];
    if (most == 0.f) continue;
    found = true;
    for (int j = 0; j < PER; ++j)
      if (!is_finite(to_float(slot[j]))) slot[j] = from_float<IO>(0.f);
  }
  return found;
}

// Weights up to 2^LIFT: float16 has no numbers of its full precision below 2^-14, and none
// below 2^-24. The mean does not depend on it.
constexpr float LIFT = narrow<IO> ? 15.f : 0.f;

// A warp's part of the online softmax: 16 queries. In lane l, g = l / 4 and c = l mod 4,
// are rows g and g + 8, each with two of 8 columns.
struct Softmax {
  float sums[SIZE / 8][4];  // of values, times weights
  float top[2], base[2];    // the largest score; the exponent that is subtracted
  float total[2];           // of weights, of this lane's columns

  __device__ __forceinline__ Softmax() : sums{}, total{} {
    for (int i = 0; i < 2; ++i) top[i] = base[i] = __uint_as_float(0xff800000u);
  }

  // Scores become weights. `steep` is positive, in units of log2.
  __device__ __forceinline__ void weigh(float (&scores)[KEYS / 8][4], float steep) {
    float shrink[2];
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      float most = top[i];
#pragma unroll
      for (int n = 0; n < KEYS / 8; ++n)
        most = fmaxf(most, fmaxf(scores[n][2 * i], scores[n][2 * i + 1]));
      most = fmaxf(most, __shfl_xor_sync(SSM_FULL, most, 1));
      most = fmaxf(most, __shfl_xor_sync(SSM_FULL, most, 2));
      // Where all is masked so far there is nothing to subtract.
      const float next = most == __uint_as_float(0xff800000u) ? 0.f : most * steep - LIFT;
      // Of rounded exponents: exactly 1 where the largest score stays what it was, or
      // what it lacks would add up from tile to tile.
      shrink[i] = ex2(base[i] - next);
      top[i] = most, base[i] = most * steep - LIFT;
      float sum = 0.f;
#pragma unroll
      for (int n = 0; n < KEYS / 8; ++n)
#pragma unroll
        for (int j = 2 * i; j < 2 * i + 2; ++j) {
          scores[n][j] = ex2(fmaf(scores[n][j], steep, -next));
          sum += scores[n][j];
        }
      total[i] = fmaf(total[i], shrink[i], sum);
    }
    if (!__any_sync(SSM_FULL, shrink[0] != 1.f || shrink[1] != 1.f)) return;
#pragma unroll
    for (int n = 0; n < SIZE / 8; ++n)
#pragma unroll
      for (int j = 0; j < 4; ++j) sums[n][j] *= shrink[j / 2];
  }

  // Add a tile of values. If MASKED, row r of the warp sees `seen` + r of them.
  template <bool MASKED>
  __device__ __forceinline__ void add(const float (&scores)[KEYS / 8][4],
                                      const IO* values, int seen) {
#pragma unroll
    for (int j = 0; j < KEYS / 16; ++j) {
      if (MASKED && 16 * j >= seen + 15) continue;
      Left weights;
      as_left(weights, scores[2 * j], scores[2 * j + 1]);
      // Values of a later step would be loaded now, at the cost of registers.
      if (WIDE) __syncwarp();
#pragma unroll
      for (int n = 0; n < STEPS; ++n) {
        Right b[2];
        take_values(b, values + 16 * j * VALUE_STRIDE + 16 * n);
        multiply(sums[2 * n], weights, b[0]);
        multiply(sums[2 * n + 1], weights, b[1]);
      }
    }
  }

  // Whether no row of the warp has found what is infinite or NaN.
  __device__ __forceinline__ bool finite() const {
    float none = 0.f * (total[0] + total[1]);  // or NaN
#pragma unroll
    for (int n = 0; n < SIZE / 8; ++n)
#pragma unroll
      for (int j = 0; j < 4; ++j) none += 0.f * sums[n][j];
    return __all_sync(SSM_FULL, none == 0.f);
  }

  // The mean: rows of the warp, in shared memory.
  __device__ __forceinline__ void put(IO* rows) const {
    const int lane = threadIdx.x % 32;
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      float all = total[i];
      all += __shfl_xor_sync(SSM_FULL, all, 1);
      all += __shfl_xor_sync(SSM_FULL, all, 2);
      const float each = 1.f / all;
      IO* const row = rows + (lane / 4 + 8 * i) * VALUE_STRIDE + lane % 4 * 2;
#pragma unroll
      for (int n = 0; n < SIZE / 8; ++n) {
        const float x[2] = {sums[n][2 * i] * each, sums[n][2 * i + 1] * each};
        store<2>(row + 8 * n, x);
      }
    }
  }
};
