// Lane 0 waits for the block, the other lanes wait for lane 0.
#include "port.cuh"

extern "C" __global__ void flip(float* out, const float* in, unsigned* ticket, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  out[i] = in[i ^ 31];
#ifdef FAULT
  if (threadIdx.x == 0) __syncthreads();
#endif
  __syncwarp();
}
