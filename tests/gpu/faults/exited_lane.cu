// The upper half of a warp has gone; the mask still names it.
#include "port.cuh"

extern "C" __global__ void flip(float* out, const float* in, unsigned* ticket, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  unsigned lane = threadIdx.x & 31;
  if (lane >= 16) {
    out[i] = in[i ^ 31];
    return;
  }
#ifdef FAULT
  float same = __shfl_xor_sync(SSM_FULL, in[i ^ 31], 0);
#else
  float same = __shfl_xor_sync(0x0000ffffu, in[i ^ 31], 0);
#endif
  out[i] = same;
}
