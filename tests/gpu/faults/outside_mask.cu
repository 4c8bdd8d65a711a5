// A lane reads from one that is not in the mask: undefined.
#include "port.cuh"

extern "C" __global__ void flip(float* out, const float* in, unsigned* ticket, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
#ifdef FAULT
  unsigned lane = threadIdx.x & 31;
  unsigned mask = lane < 16 ? 0x0000ffffu : 0xffff0000u;
#else
  unsigned mask = SSM_FULL;
#endif
  out[i] = __shfl_xor_sync(mask, in[i], 31);
}
