// Kernels of diagonal systems: sums of powers, as products of two small factors.
// golden: ssmref/golden/s4d.py::s4d_kernel and s4d_state_response
//
//   K[r, l] = Re sum_n w[r, n] a[d, n]^l           d = r % channels
//   K[r, COLUMNS m + j] = Re sum_n (w a^(COLUMNS m)) a^j
//
// Powers are products of digits to the base 8: `digits` (DIGITS, channels, state, 8) has
// a^(k 8^p) at place p, each rounded once. So an error does not grow with l, and no
// exponential is evaluated here.
//
// A block owns LINES times COLUMNS = 4096 neighbouring numbers of a row. It goes through
// SLAB states at a time: both factors are found in shared memory, as real and minus
// imaginary parts (left) and real and imaginary parts (right); a thread owns 4 lines and
// 4 columns of their product.
//
// w (rows, state), complex; K (rows, length).
// Shared memory: left (2 SLAB, LINES), then right (2 SLAB, COLUMNS), floats.
// Macros: DIGITS (at least 4).
#include "complex.cuh"
#include "io.cuh"

#define THREADS 256
#define SLAB 16
#define LINES 64
#define COLUMNS 64

// a^exponent for an exponent of DIGITS digits, from `place` on. `own` is where the digits
// of a state are at place 0, `plane` how far the next place is.
__device__ __forceinline__ float2 digit(const float2* own, long long plane, int place,
                                        long long exponent) {
  return own[place * plane + (exponent >> (3 * place) & 7)];
}

extern "C" __global__ void __launch_bounds__(THREADS)
    vandermonde(const float2* __restrict__ weights, const float2* __restrict__ digits,
                float* __restrict__ K, int channels, int state, long long length) {
  SSM_DYN_SMEM(float, left);
  float* const right = left + 2 * SLAB * LINES;
  const int tiles = static_cast<int>((length + LINES * COLUMNS - 1) / (LINES * COLUMNS));
  const int r = blockIdx.x / tiles;
  const long long first = static_cast<long long>(blockIdx.x % tiles) * (LINES * COLUMNS);
  const int channel = r % channels, tid = threadIdx.x;
  const long long plane = 8LL * channels * state;
  const int line = tid / 16 * 4, column = tid % 16 * 4;
  float total[4][4] = {};

  for (int slab = 0; slab < state; slab += SLAB) {
    __syncthreads();
    for (int e = tid; e < SLAB * LINES; e += THREADS) {
      const int n = slab + e / LINES, i = e % LINES;
      float2 a = complex(0.f, 0.f), b = a;
      if (n < state) {
        const float2* own = digits + (static_cast<long long>(channel) * state + n) * 8;
        const long long exponent = first + static_cast<long long>(i) * COLUMNS;
        a = weights[static_cast<long long>(r) * state + n];
#pragma unroll
        for (int p = 2; p < DIGITS; ++p) a = times(a, digit(own, plane, p, exponent));
        b = times(digit(own, plane, 0, i), digit(own, plane, 1, i));
      }
      left[e] = a.x, left[SLAB * LINES + e] = -a.y;
      right[e] = b.x, right[SLAB * COLUMNS + e] = b.y;
    }
    __syncthreads();
#pragma unroll 4
    for (int k = 0; k < 2 * SLAB; ++k) {
      float a[4], b[4];
      load<4>(a, left + k * LINES + line);
      load<4>(b, right + k * COLUMNS + column);
#pragma unroll
      for (int i = 0; i < 4; ++i)
#pragma unroll
        for (int j = 0; j < 4; ++j) total[i][j] = fmaf(a[i], b[j], total[i][j]);
    }
  }
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const long long at = first + static_cast<long long>(line + i) * COLUMNS + column;
    if (at >= length) continue;
    float* const place = K + r * length + at;
    if (length % 4 == 0)
      store<4>(place, total[i]);
    else
      store_some<4>(place, total[i], static_cast<int>(length - at < 4 ? length - at : 4));
  }
}
