// A halo of one element, without a thought for the first block.
#include "port.cuh"

extern "C" __global__ void flip(float* out, const float* in, unsigned* ticket, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
#ifdef FAULT
  if (threadIdx.x == 0) out[i - 1] = 0.f;
#else
  if (threadIdx.x == 0 && i > 0) out[i - 1] = 0.f;
#endif
  __syncthreads();
  out[i] = in[i ^ 31];
  if (i > 0 && threadIdx.x == 0) out[i - 1] = in[(i - 1) ^ 31];
}
