// What a GPU can do at most: the rates that limits of the ops are computed from.
// golden: none; results are of no interest, but they are written, so that nothing is
// left out, and tests can see that the work was done.
//
//   rate_copy      `to` = `from`, 16 bytes per access: memory that is larger than L2
//   rate_l2        every block reads all of a small buffer `rounds` times: L2
//   rate_ex2       8 chains of x = 2^-x per thread: the units for special functions
//   rate_fma       8 chains of x = a x + b per thread: the issue slots
//   rate_mma       4 chains of d += a b per warp, 16 x 8 x 16 in bfloat16: tensor cores
//   rate_atomics   one addition to each of neighbouring counters per thread and round
//
// Every thread has its own chains, counters or numbers to copy. No shared memory, no macros.
#include "port.cuh"

#define THREADS 256
#define CHAINS 8
#define TILES 4

__device__ __forceinline__ long long global_thread() {
  return static_cast<long long>(blockIdx.x) * THREADS + threadIdx.x;
}

// Threads begin with numbers of their own: what is the same for all of a warp may be
// computed once for all of them.
__device__ __forceinline__ float start(int chain) {
  return 0.125f * chain + 0.001f * threadIdx.x;
}

extern "C" __global__ void __launch_bounds__(THREADS)
    rate_copy(const uint4* __restrict__ from, uint4* __restrict__ to, long long count) {
  const long long stride = static_cast<long long>(gridDim.x) * THREADS;
#pragma unroll 4
  for (long long i = global_thread(); i < count; i += stride) to[i] = from[i];
}

extern "C" __global__ void __launch_bounds__(THREADS)
    rate_l2(const uint4* __restrict__ from, unsigned* __restrict__ out, int count,
            int rounds) {
  unsigned total = 0;
  // Blocks begin at different places, so that they do not ask for the same at once.
  const int begin = static_cast<int>(blockIdx.x * 4099LL * THREADS % count);
  for (int r = 0; r < rounds; ++r) {
#pragma unroll 4
    for (int i = threadIdx.x; i < count; i += THREADS) {
      const int at = begin + i < count ? begin + i : begin + i - count;
      const uint4 value = from[at];
      total += (value.x ^ value.y) + (value.z ^ value.w) + r;
    }
  }
  out[global_thread()] = total;
}

extern "C" __global__ void __launch_bounds__(THREADS)
    rate_ex2(float* __restrict__ out, int rounds) {
  float x[CHAINS];
#pragma unroll
  for (int i = 0; i < CHAINS; ++i) x[i] = start(i);
#pragma unroll 4
  for (int r = 0; r < rounds; ++r)
#pragma unroll
    for (int i = 0; i < CHAINS; ++i) x[i] = ex2(-x[i]);
  float total = 0.f;
#pragma unroll
  for (int i = 0; i < CHAINS; ++i) total += x[i];
  out[global_thread()] = total;
}

extern "C" __global__ void __launch_bounds__(THREADS)
    rate_fma(float* __restrict__ out, int rounds, float a, float b) {
  float x[CHAINS];
#pragma unroll
  for (int i = 0; i < CHAINS; ++i) x[i] = start(i);
#pragma unroll 8
  for (int r = 0; r < rounds; ++r)
#pragma unroll
    for (int i = 0; i < CHAINS; ++i) x[i] = fmaf(a, x[i], b);
  float total = 0.f;
#pragma unroll
  for (int i = 0; i < CHAINS; ++i) total += x[i];
  out[global_thread()] = total;
}

extern "C" __global__ void __launch_bounds__(THREADS)
    rate_mma(float* __restrict__ out, int rounds) {
  const unsigned one = pack2<bf16>(1.f, 1.f);
  const unsigned a[4] = {one, one, one, one}, b[2] = {one, one};
  float d[TILES][4] = {};
#pragma unroll 2
  for (int r = 0; r < rounds; ++r)
#pragma unroll
    for (int i = 0; i < TILES; ++i) mma_m16n8k16<bf16>(d[i], a, b);
  float total = 0.f;
#pragma unroll
  for (int i = 0; i < TILES; ++i) total += d[i][0] + d[i][3];
  out[global_thread()] = total;
}

extern "C" __global__ void __launch_bounds__(THREADS)
    rate_atomics(unsigned* __restrict__ counters, int count, int rounds) {
  for (int r = 0; r < rounds; ++r)
    atomicAdd(counters + (global_thread() + r * 32LL) % count, 1u);
}
