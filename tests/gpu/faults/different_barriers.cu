// Both halves of the block wait for all threads, but not in the same place.
#include "port.cuh"

extern "C" __global__ void flip(float* out, const float* in, unsigned* ticket, int n) {
  SSM_DYN_SMEM(float, tile);
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  tile[threadIdx.x] = in[i];
#ifdef FAULT
  if (threadIdx.x < 32) {
    __syncthreads();
  } else {
    __syncthreads();
  }
#else
  __syncthreads();
#endif
  out[i] = tile[threadIdx.x ^ 31];
}
