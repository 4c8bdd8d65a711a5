// What cp.async brings is read before the thread has waited for it.
#include "port.cuh"

extern "C" __global__ void flip(float* out, const float* in, unsigned* ticket, int n) {
  SSM_DYN_SMEM(float, tile);
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  cp_async4(tile + threadIdx.x, in + i);
  cp_async_commit();
#ifndef FAULT
  cp_async_wait<0>();
#endif
  __syncthreads();
  out[i] = tile[threadIdx.x ^ 31];
  cp_async_wait<0>();
}
