// 16 bytes at once, from an address that is a multiple of 4.
#include "port.cuh"

extern "C" __global__ void flip(float* out, const float* in, unsigned* ticket, int n) {
  SSM_DYN_SMEM(float, tile);
  int i = blockIdx.x * blockDim.x + threadIdx.x;
#ifdef FAULT
  if (threadIdx.x == 0) cp_async16(tile, in + 1);
#else
  if (threadIdx.x == 0) cp_async16(tile, in);
#endif
  cp_async_commit();
  cp_async_wait<0>();
  out[i] = in[i ^ 31];
}
