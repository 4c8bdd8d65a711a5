// A lane waits for another one, which waits for the block; all others have gone.
#include "port.cuh"

extern "C" __global__ void flip(float* out, const float* in, unsigned* ticket, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  out[i] = in[i ^ 31];
#ifdef FAULT
  if (threadIdx.x == 1) __syncthreads();
#endif
  if (threadIdx.x < 2) __syncwarp(3u);
}
