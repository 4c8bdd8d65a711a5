// What kernels take from the hardware: the only file with PTX, and the only one that
// knows two worlds. On a GPU it needs no header; with SSM_HOST defined the host runtime
// of the tests gives the same names a meaning on a CPU.
//
// Numbers     bf16, f16; to_float(x), from_float<T>(x), pack2<T>(low, high),
//             unpack2<T>(bits, low, high), to_tf32(x): all round to nearest, ties to
//             even, but to_tf32 (ties away from zero, as the instruction does)
// Functions   ex2(x) = 2^x, lg2(x), rcp_approx(x), rsqrt_approx(x), sqrt_approx(x),
//             tanh_approx(x): one instruction each. Bounds of the PTX ISA: ex2 and lg2
//             about 2^-22, rcp_approx 1 ulp, sqrt_approx and rsqrt_approx about 2^-23,
//             tanh_approx 2^-11 (too coarse for float32). Subnormals count as 0.
// Shared      SSM_DYN_SMEM(T, name): the block's dynamic shared memory, as T*
// Copies      cp_async16/8/4(shared, global), cp_async_commit(), cp_async_wait<N>():
//             at most N groups are still under way; addresses aligned to the size;
//             cp_async16/8/4_zfill(shared, global, bytes) reads only `bytes`, the rest
//             becomes 0
// Matrices    ldmatrix_x1/x2/x4(r, row) and ldmatrix_x1/x2/x4_trans(r, row); d += a b
//             by mma_m16n8k16<bf16|f16>(d, a, b) and mma_m16n8k8_tf32(d, a, b)
// Other blocks  ld_acquire(p), st_release(p, value): 32 or 64 bits, at device scope
#pragma once
#ifdef SSM_HOST
#include <ssm_host.h>
#else

#define SSM_FULL 0xffffffffu
#define SSM_DYN_SMEM(T, name)                                \
  extern __shared__ __align__(16) unsigned char ssm_smem[]; \
  T* const name = reinterpret_cast<T*>(ssm_smem)

struct bf16 {
  unsigned short bits;
};
struct f16 {
  unsigned short bits;
};

__device__ __forceinline__ float to_float(float x) { return x; }
__device__ __forceinline__ float to_float(bf16 x) {
  return __uint_as_float(static_cast<unsigned>(x.bits) << 16);
}
__device__ __forceinline__ float to_float(f16 x) {
  float y;
  asm("cvt.f32.f16 %0, %1;" : "=f"(y) : "h"(x.bits));
  return y;
}

template <class T>
__device__ __forceinline__ T from_float(float x);
template <>
__device__ __forceinline__ float from_float<float>(float x) {
  return x;
}
template <>
__device__ __forceinline__ bf16 from_float<bf16>(float x) {
  bf16 y;
  asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(y.bits) : "f"(x));
  return y;
}
template <>
__device__ __forceinline__ f16 from_float<f16>(float x) {
  f16 y;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(y.bits) : "f"(x));
  return y;
}

template <class T>
__device__ __forceinline__ unsigned pack2(float low, float high);
template <>
__device__ __forceinline__ unsigned pack2<bf16>(float low, float high) {
  unsigned y;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(y) : "f"(high), "f"(low));
  return y;
}
template <>
__device__ __forceinline__ unsigned pack2<f16>(float low, float high) {
  unsigned y;
  asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(y) : "f"(high), "f"(low));
  return y;
}

template <class T>
__device__ __forceinline__ void unpack2(unsigned bits, float& low, float& high);
template <>
__device__ __forceinline__ void unpack2<bf16>(unsigned bits, float& low, float& high) {
  low = __uint_as_float(bits << 16);
  high = __uint_as_float(bits & 0xffff0000u);
}
template <>
__device__ __forceinline__ void unpack2<f16>(unsigned bits, float& low, float& high) {
  low = to_float(f16{static_cast<unsigned short>(bits)});
  high = to_float(f16{static_cast<unsigned short>(bits >> 16)});
}

__device__ __forceinline__ unsigned to_tf32(float x) {
  unsigned y;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(y) : "f"(x));
  return y;
}

#define SSM_FUNCTION(name, instruction)                    \
  __device__ __forceinline__ float name(float x) {         \
    float y;                                               \
    asm(instruction " %0, %1;" : "=f"(y) : "f"(x));        \
    return y;                                              \
  }
SSM_FUNCTION(ex2, "ex2.approx.ftz.f32")
SSM_FUNCTION(lg2, "lg2.approx.ftz.f32")
SSM_FUNCTION(rcp_approx, "rcp.approx.ftz.f32")
SSM_FUNCTION(sqrt_approx, "sqrt.approx.ftz.f32")
SSM_FUNCTION(rsqrt_approx, "rsqrt.approx.ftz.f32")
SSM_FUNCTION(tanh_approx, "tanh.approx.f32")

__device__ __forceinline__ unsigned shared_address(const void* p) {
  return static_cast<unsigned>(__cvta_generic_to_shared(p));
}
#define SSM_CP_ASYNC(size, instruction)                                              \
  __device__ __forceinline__ void cp_async##size(void* to, const void* from) {       \
    asm volatile(instruction " [%0], [%1], " #size ";" ::"r"(shared_address(to)),    \
                 "l"(from)                                                           \
                 : "memory");                                                        \
  }                                                                                  \
  __device__ __forceinline__ void cp_async##size##_zfill(void* to, const void* from, \
                                                         int bytes) {                \
    asm volatile(instruction " [%0], [%1], " #size ", %2;" ::"r"(shared_address(to)), \
                 "l"(from), "r"(bytes)                                               \
                 : "memory");                                                        \
  }
SSM_CP_ASYNC(16, "cp.async.cg.shared.global")
SSM_CP_ASYNC(8, "cp.async.ca.shared.global")
SSM_CP_ASYNC(4, "cp.async.ca.shared.global")
__device__ __forceinline__ void cp_async_commit() {
  asm volatile("cp.async.commit_group;" ::: "memory");
}
template <int N>
__device__ __forceinline__ void cp_async_wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory");
}

#define SSM_LDMATRIX(trans, kind)                                                     \
  __device__ __forceinline__ void ldmatrix_x1##trans(unsigned (&r)[1],                \
                                                     const void* row) {               \
    asm volatile("ldmatrix.sync.aligned.m8n8.x1" kind ".shared.b16 {%0}, [%1];"       \
                 : "=r"(r[0])                                                         \
                 : "r"(shared_address(row))                                           \
                 : "memory");                                                         \
  }                                                                                   \
  __device__ __forceinline__ void ldmatrix_x2##trans(unsigned (&r)[2],                \
                                                     const void* row) {               \
    asm volatile("ldmatrix.sync.aligned.m8n8.x2" kind ".shared.b16 {%0, %1}, [%2];"   \
                 : "=r"(r[0]), "=r"(r[1])                                             \
                 : "r"(shared_address(row))                                           \
                 : "memory");                                                         \
  }                                                                                   \
  __device__ __forceinline__ void ldmatrix_x4##trans(unsigned (&r)[4],                \
                                                     const void* row) {               \
    asm volatile("ldmatrix.sync.aligned.m8n8.x4" kind                                 \
                 ".shared.b16 {%0, %1, %2, %3}, [%4];"                                \
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])                     \
                 : "r"(shared_address(row))                                           \
                 : "memory");                                                         \
  }
SSM_LDMATRIX(, "")
SSM_LDMATRIX(_trans, ".trans")

#define SSM_MMA(shape_and_types)                                            \
  asm("mma.sync.aligned." shape_and_types                                   \
      " {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"    \
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])                      \
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]))

template <class T>
__device__ __forceinline__ void mma_m16n8k16(float (&d)[4], const unsigned (&a)[4],
                                             const unsigned (&b)[2]);
template <>
__device__ __forceinline__ void mma_m16n8k16<bf16>(float (&d)[4],
                                                   const unsigned (&a)[4],
                                                   const unsigned (&b)[2]) {
  SSM_MMA("m16n8k16.row.col.f32.bf16.bf16.f32");
}
template <>
__device__ __forceinline__ void mma_m16n8k16<f16>(float (&d)[4], const unsigned (&a)[4],
                                                  const unsigned (&b)[2]) {
  SSM_MMA("m16n8k16.row.col.f32.f16.f16.f32");
}
__device__ __forceinline__ void mma_m16n8k8_tf32(float (&d)[4], const unsigned (&a)[4],
                                                 const unsigned (&b)[2]) {
  SSM_MMA("m16n8k8.row.col.f32.tf32.tf32.f32");
}

__device__ __forceinline__ unsigned ld_acquire(const unsigned* p) {
  unsigned value;
  asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(value) : "l"(p) : "memory");
  return value;
}
__device__ __forceinline__ unsigned long long ld_acquire(const unsigned long long* p) {
  unsigned long long value;
  asm volatile("ld.acquire.gpu.global.u64 %0, [%1];" : "=l"(value) : "l"(p) : "memory");
  return value;
}
__device__ __forceinline__ void st_release(unsigned* p, unsigned value) {
  asm volatile("st.release.gpu.global.u32 [%0], %1;" ::"l"(p), "r"(value) : "memory");
}
__device__ __forceinline__ void st_release(unsigned long long* p,
                                           unsigned long long value) {
  asm volatile("st.release.gpu.global.u64 [%0], %1;" ::"l"(p), "l"(value) : "memory");
}
#endif
