// Upper lanes read what lower ones have written: right if those happen to come first.
#include "port.cuh"

extern "C" __global__ void flip(float* out, const float* in, unsigned* ticket, int n) {
  SSM_DYN_SMEM(float, tile);
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  tile[threadIdx.x] = in[i];
#ifndef FAULT
  __syncwarp();
#endif
  out[i] = threadIdx.x & 16 ? tile[threadIdx.x ^ 31] : in[i ^ 31];
}
