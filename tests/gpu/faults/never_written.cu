// One place of the shared memory is never written: a GPU has old numbers there.
#include "port.cuh"

extern "C" __global__ void flip(float* out, const float* in, unsigned* ticket, int n) {
  SSM_DYN_SMEM(float, tile);
  int i = blockIdx.x * blockDim.x + threadIdx.x;
#ifdef FAULT
  if (blockIdx.x == 0 || threadIdx.x != 5)
#endif
    tile[threadIdx.x] = in[i];
  __syncthreads();
  out[i] = tile[threadIdx.x ^ 31];
}
