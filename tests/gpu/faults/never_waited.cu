// A copy is still under way when its thread ends.
#include "port.cuh"

extern "C" __global__ void flip(float* out, const float* in, unsigned* ticket, int n) {
  SSM_DYN_SMEM(float, tile);
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  cp_async4(tile + threadIdx.x, in + i);
  cp_async_commit();
  out[i] = in[i ^ 31];
#ifndef FAULT
  cp_async_wait<0>();
#endif
}
