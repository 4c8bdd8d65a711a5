// Two groups are under way, and one too many stays so.
#include "port.cuh"

extern "C" __global__ void flip(float* out, const float* in, unsigned* ticket, int n) {
  SSM_DYN_SMEM(float, tile);
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  cp_async4(tile + threadIdx.x, in + i);
  cp_async_commit();
  cp_async_commit();
#ifdef FAULT
  cp_async_wait<2>();
#else
  cp_async_wait<1>();
#endif
  __syncthreads();
  out[i] = tile[threadIdx.x ^ 31];
  cp_async_wait<0>();
}
