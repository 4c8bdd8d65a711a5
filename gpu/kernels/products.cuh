// Products of tiles in shared memory, on tensor cores: what mamba3_scan.cu, ssd_scan.cu and
// attention.cu multiply. A step of a product is 16 numbers along the sum.
//
// bf16 and f16 are multiplied as they are: m16n8k16. float takes two m16n8k8 for a step;
// with PARTS = 2 each number is the sum of two of tf32, and a product three of those,
// added up apart from the sum: tensor cores cut sums off. With PARTS = 1 it is rounded
// to tf32.
//
// Fragment<4> is a left factor (16 rows), Fragment<2> a right one (8 columns). In lane l,
// g = l / 4 and c = l mod 4; accumulators are (g, 2c), (g, 2c + 1), (g + 8, 2c), (g + 8,
// 2c + 1). Which numbers of a float step meet in one m16n8k8 is a free choice, the same
// for both factors:
//   by rows of time   c and c + 4 of each half      rows_in_time, columns_in_time
//   by states         2c and 2c + 1 of each half    rows_in_state, columns_in_state,
//                     so that accumulators of states are a right factor as they are
//
// Macros: IO (float, bf16, f16), PARTS.
#pragma once
#include "io.cuh"

// Also of a template's own type T, so that what T has not is left alone.
template <class T>
constexpr bool wide = sizeof(T) == 4;
constexpr bool WIDE = wide<IO>;
constexpr int HALVES = WIDE ? 2 : 1;

template <int WORDS>
struct Fragment {
  unsigned high[HALVES][WORDS], low[HALVES][WORDS];

  // Number `i` of half `half`, in float.
  // to_tf32 by hand where two parts are kept: some NaN become 0, but not in their rest.
  __device__ __forceinline__ void set(int half, int i, float x) {
    if (PARTS == 2) {
      high[half][i] = (__float_as_uint(x) + 0x1000u) & 0xffffe000u;
      low[half][i] = to_tf32(x - __uint_as_float(high[half][i]));
    } else {
      high[half][i] = to_tf32(x);
    }
  }
  __device__ __forceinline__ float get(int half, int i) const {
    const float x = __uint_as_float(high[half][i]);
    return PARTS == 2 ? x + __uint_as_float(low[half][i]) : x;
  }
};
using Left = Fragment<4>;
using Right = Fragment<2>;

template <class T = IO>
__device__ __forceinline__ void multiply(float (&sum)[4], const Left& a, const Right& b) {
  if constexpr (!wide<T>) {
    mma_m16n8k16<T>(sum, a.high[0], b.high[0]);
  } else if constexpr (PARTS == 1) {
#pragma unroll
    for (int half = 0; half < 2; ++half)
      mma_m16n8k8_tf32(sum, a.high[half], b.high[half]);
  } else {
    float apart[4] = {};
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      mma_m16n8k8_tf32(apart, a.low[half], b.high[half]);
      mma_m16n8k8_tf32(apart, a.high[half], b.low[half]);
    }
#pragma unroll
    for (int half = 0; half < 2; ++half)
      mma_m16n8k8_tf32(apart, a.high[half], b.high[half]);
#pragma unroll
    for (int i = 0; i < 4; ++i) sum[i] += apart[i];
  }
}

// 16 rows of 16 states from p on: rows are `stride` apart.
template <class T = IO>
__device__ __forceinline__ void rows_in_state(Left& a, const IO* p, int stride) {
  const int lane = threadIdx.x % 32;
  if constexpr (!wide<T>) {
    ldmatrix_x4(a.high[0], p + lane % 16 * stride + lane / 16 * 8);
  } else {
#pragma unroll
    for (int i = 0; i < 4; ++i) {  // half i / 2, row g + 8 (i mod 2)
      float x[2];
      load<2>(x, p + (lane / 4 + i % 2 * 8) * stride + i / 2 * 8 + lane % 4 * 2);
      a.set(i / 2, i % 2, x[0]);
      a.set(i / 2, i % 2 + 2, x[1]);
    }
  }
}

// 16 rows of 16 tokens.
template <class T = IO>
__device__ __forceinline__ void rows_in_time(Left& a, const IO* p, int stride) {
  const int lane = threadIdx.x % 32;
  if constexpr (!wide<T>) {
    ldmatrix_x4(a.high[0], p + lane % 16 * stride + lane / 16 * 8);
  } else {
#pragma unroll
    for (int i = 0; i < 8; ++i)
      a.set(i / 4, i % 4,
            to_float(p[(lane / 4 + i % 2 * 8) * stride + i / 2 * 4 + lane % 4]));
  }
}

// Two times 8 columns whose 16 states are the rows in memory.
template <class T = IO>
__device__ __forceinline__ void columns_in_state(Right (&b)[2], const IO* p, int stride) {
  const int lane = threadIdx.x % 32;
  if constexpr (!wide<T>) {
    unsigned words[4];
    ldmatrix_x4(words, p + (lane % 8 + lane / 16 * 8) * stride + lane / 8 % 2 * 8);
    b[0].high[0][0] = words[0], b[0].high[0][1] = words[1];
    b[1].high[0][0] = words[2], b[1].high[0][1] = words[3];
  } else {
#pragma unroll
    for (int i = 0; i < 4; ++i) {  // columns i / 2, half i mod 2
      float x[2];
      load<2>(x, p + (lane / 4 + i / 2 * 8) * stride + i % 2 * 8 + lane % 4 * 2);
      b[i / 2].set(i % 2, 0, x[0]);
      b[i / 2].set(i % 2, 1, x[1]);
    }
  }
}

// Two times 8 columns of 16 tokens; tokens are rows in memory.
template <class T = IO>
__device__ __forceinline__ void columns_in_time(Right (&b)[2], const IO* p, int stride) {
  const int lane = threadIdx.x % 32;
  if constexpr (!wide<T>) {
    unsigned words[4];
    ldmatrix_x4_trans(words, p + lane % 16 * stride + lane / 16 * 8);
    b[0].high[0][0] = words[0], b[0].high[0][1] = words[1];
    b[1].high[0][0] = words[2], b[1].high[0][1] = words[3];
  } else {
#pragma unroll
    for (int i = 0; i < 8; ++i)
      b[i / 4].set(i / 2 % 2, i % 2,
                   to_float(p[(i % 4 * 4 + lane % 4) * stride + i / 4 * 8 + lane / 4]));
  }
}

// Accumulators of 16 states, of 8 columns each (their numbers `at` and `at` + 1), as a
// right factor.
template <class T = IO>
__device__ __forceinline__ void from_sums(Right& b, const float (&first)[4],
                                          const float (&second)[4], int at) {
  if constexpr (!wide<T>) {
    b.high[0][0] = pack2<T>(first[at], first[at + 1]);
    b.high[0][1] = pack2<T>(second[at], second[at + 1]);
  } else {
    b.set(0, 0, first[at]);
    b.set(0, 1, first[at + 1]);
    b.set(1, 0, second[at]);
    b.set(1, 1, second[at + 1]);
  }
}

// What columns_in_time has brought, transposed, each token times its weight.
template <class T = IO>
__device__ __forceinline__ void weighted(Left& a, const Right (&b)[2],
                                         const float* weight) {
  const int c = threadIdx.x % 4;
#pragma unroll
  for (int i = 0; i < 4; ++i) {  // columns i mod 2; tokens i / 2
    if constexpr (!wide<T>) {
      float low, high;
      unpack2<T>(b[i % 2].high[0][i / 2], low, high);
      a.high[0][i] = pack2<T>(low * weight[i / 2 * 8 + 2 * c],
                               high * weight[i / 2 * 8 + 2 * c + 1]);
    } else {
#pragma unroll
      for (int half = 0; half < 2; ++half)
        a.set(half, i,
              b[i % 2].get(half, i / 2) * weight[half * 8 + i / 2 * 4 + c]);
    }
  }
}
