// One float of shared memory more than the launch asked for.
#include "port.cuh"

extern "C" __global__ void flip(float* out, const float* in, unsigned* ticket, int n) {
  SSM_DYN_SMEM(float, tile);
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  tile[threadIdx.x] = in[i];
#ifdef FAULT
  if (threadIdx.x == 0) tile[blockDim.x] = 0.f;
#endif
  __syncthreads();
  out[i] = tile[threadIdx.x ^ 31];
}
