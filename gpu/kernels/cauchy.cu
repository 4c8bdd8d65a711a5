// The generating function of S4 at the roots of unity, by sums over conjugate pairs.
// golden: ssmref/golden/s4.py::s4_kernel_from_tilde
//
//   z = i s = 2 i tan(pi k / length)        a = dt A = p + i q
//   r(v) = sum over pairs of v / (z - a) + conj(v) / (z - conj(a))
//   K^[k] = (1 + z/2) (r(C~ B) - r(C~ P) (I + r(conj(P) P))^-1 r(conj(P) B))
//
// The two fractions of a pair are never merged: with
//
//   d = s - q, e = s + q,  g = 1 / (p^2 + d^2), h = 1 / (p^2 + e^2)
//   r(v) = sum -Re v p (g + h) + Im v (d g - e h)
//            + i (-Im v p (g - h) - Re v (d g + e h))
//
// The only cancellation is that of d and e beside a pole. There s and q are pairs of
// floats, so that the distance has the digits of a float. Re A < 0 gives the matrix of
// the ranks a positive real part: it is eliminated without exchanges. At the last node
// of an even length (`nyquist`; -1 if there is none) z is infinite and K^ = Re sum v.
//
// A thread owns a node of a channel and goes through all pairs; the constants of SLAB
// pairs at a time lie in shared memory and are read by all threads alike.
// nodes (nodes): s as (high, low). a_high, a_low (channels, state); v ((1 + RANKS)^2,
// channels, state), complex: dt times left times right vector, C~ and B first. out
// (channels, nodes), complex. Shared memory: (SLAB, CONSTANTS) floats.
// Macros: RANKS.
#include "complex.cuh"

#define THREADS 128
#define SLAB 32
constexpr int SIZE = 1 + RANKS, PRODUCTS = SIZE * SIZE;
constexpr int CONSTANTS = 4 + 2 * PRODUCTS;

// Replace m[0][0] by itself less what the ranks take.
__device__ __forceinline__ float2 eliminated(float2 (&m)[SIZE][SIZE]) {
#pragma unroll
  for (int k = 1; k < SIZE; ++k) m[k][k].x += 1.f;
#pragma unroll
  for (int k = SIZE - 1; k > 0; --k) {
    const float2 over = inverse(m[k][k]);
#pragma unroll
    for (int i = 0; i < k; ++i) {
      const float2 factor = times(m[i][k], over);
#pragma unroll
      for (int j = 0; j < k; ++j)
        m[i][j] = plus_times(m[i][j], complex(-factor.x, -factor.y), m[k][j]);
    }
  }
  return m[0][0];
}

extern "C" __global__ void __launch_bounds__(THREADS)
    cauchy(const float2* __restrict__ nodes, const float2* __restrict__ a_high,
           const float2* __restrict__ a_low, const float2* __restrict__ v,
           float2* __restrict__ out, int channels, int state, int count, int nyquist) {
  SSM_DYN_SMEM(float, constants);
  const int blocks = (count + THREADS - 1) / THREADS;
  const int channel = blockIdx.x / blocks;
  const int node = blockIdx.x % blocks * THREADS + threadIdx.x;
  const long long row = static_cast<long long>(channel) * state;
  const long long plane = static_cast<long long>(channels) * state;
  const float2 s = node < count ? nodes[node] : complex(0.f, 0.f);
  float2 m[SIZE][SIZE] = {};
  float plain = 0.f;

  for (int slab = 0; slab < state; slab += SLAB) {
    const int pairs = state - slab < SLAB ? state - slab : SLAB;
    __syncthreads();
    for (int e = threadIdx.x; e < pairs * (2 + PRODUCTS); e += THREADS) {
      const int n = e % pairs, which = e / pairs;
      const long long from = row + slab + n;
      const float2 value = which == 0   ? a_high[from]
                           : which == 1 ? a_low[from]
                                        : v[(which - 2) * plane + from];
      float* const to = constants + n * CONSTANTS + 2 * which;
      to[0] = value.x, to[1] = value.y;
    }
    __syncthreads();
    for (int n = 0; n < pairs; ++n) {
      const float* const c = constants + n * CONSTANTS;
      const float p = c[0], q = c[1], low = c[3];
      const float d = (s.x - q) + (s.y - low), e = (s.x + q) + (s.y + low);
      const float square = p * p;
      const float g = rcp_approx(fmaf(d, d, square)), h = rcp_approx(fmaf(e, e, square));
      const float dg = d * g, eh = e * h;
      const float both = -p * (g + h), one = -p * (g - h);
      const float turn = dg - eh, sum = -(dg + eh);
      plain += c[4];
#pragma unroll
      for (int i = 0; i < SIZE; ++i)
#pragma unroll
        for (int j = 0; j < SIZE; ++j) {
          const float re = c[4 + 2 * (i * SIZE + j)], im = c[5 + 2 * (i * SIZE + j)];
          m[i][j].x = fmaf(re, both, fmaf(im, turn, m[i][j].x));
          m[i][j].y = fmaf(im, one, fmaf(re, sum, m[i][j].y));
        }
    }
  }
  if (node >= count) return;
  float2 value = times(complex(1.f, 0.5f * s.x), eliminated(m));
  if (node == nyquist) value = complex(plain, 0.f);
  out[static_cast<long long>(channel) * count + node] = value;
}
