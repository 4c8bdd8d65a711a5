// The flag says that a number is there, but nothing orders the two.
#include "port.cuh"

extern "C" __global__ void flip(float* out, const float* in, unsigned* ticket, int n) {
  SSM_DYN_SMEM(float, tile);
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (blockIdx.x == 0 && threadIdx.x == 0) {
    out[n - 1] = in[(n - 1) ^ 31];
#ifndef FAULT
    __threadfence();
#endif
    atomicExch(ticket, 1u);
  }
  if (i == n - 1) {
    while (atomicAdd(ticket, 0u) == 0u) {
    }
#ifndef FAULT
    __threadfence();
#endif
    tile[0] = out[i];
    out[i] = tile[0];
  } else {
    out[i] = in[i ^ 31];
  }
}
