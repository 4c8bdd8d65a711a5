// The words of CUDA C++ for a host compiler: qualifiers, vectors, indices.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

#include "runtime.h"

// Hidden, so that a kernel called as a function of the C library is itself.
#define __global__ __attribute__((visibility("hidden")))
#define __device__
#define __host__
#define __constant__ static const
#define __forceinline__ inline __attribute__((always_inline))
#define __noinline__ __attribute__((noinline))
#define __launch_bounds__(...)
#define __align__(n) alignas(n)
// Static shared memory would be one block's for all, and zero where a GPU has noise.
#define __shared__ static_assert(false, "use SSM_DYN_SMEM for shared memory");

struct alignas(8) float2 {
  float x, y;
};
struct alignas(16) float4 {
  float x, y, z, w;
};
struct alignas(8) uint2 {
  unsigned x, y;
};
struct alignas(16) uint4 {
  unsigned x, y, z, w;
};
struct alignas(8) int2 {
  int x, y;
};
struct alignas(16) int4 {
  int x, y, z, w;
};

inline float2 make_float2(float x, float y) { return {x, y}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) {
  return {x, y, z, w};
}
inline int2 make_int2(int x, int y) { return {x, y}; }
inline int4 make_int4(int x, int y, int z, int w) { return {x, y, z, w}; }

#define threadIdx (::ssm::current->index)
#define blockIdx (::ssm::current->block->index)
#define blockDim (::ssm::launched->block)
#define gridDim (::ssm::launched->grid)
#define warpSize 32

#define SSM_FULL 0xffffffffu
// Shared memory is sized by the launch; each block gets a poisoned piece of the heap.
#define SSM_DYN_SMEM(T, name) \
  T* name = reinterpret_cast<T*>(::ssm::current->block->shared)

namespace ssm {

template <class To, class From>
inline To bits_as(From from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  std::memcpy(&to, &from, sizeof to);
  return to;
}

}  // namespace ssm

inline unsigned __float_as_uint(float x) { return ssm::bits_as<unsigned>(x); }
inline float __uint_as_float(unsigned x) { return ssm::bits_as<float>(x); }
inline int __float_as_int(float x) { return ssm::bits_as<int>(x); }
inline float __int_as_float(int x) { return ssm::bits_as<float>(x); }
inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __clz(int x) { return x ? __builtin_clz(static_cast<unsigned>(x)) : 32; }
inline int __ffs(int x) { return __builtin_ffs(x); }

inline int min(int a, int b) { return a < b ? a : b; }
inline int max(int a, int b) { return a > b ? a : b; }
inline unsigned min(unsigned a, unsigned b) { return a < b ? a : b; }
inline unsigned max(unsigned a, unsigned b) { return a > b ? a : b; }
inline long long min(long long a, long long b) { return a < b ? a : b; }
inline long long max(long long a, long long b) { return a > b ? a : b; }

template <class T>
inline T __ldg(const T* place) {
  return *place;
}
