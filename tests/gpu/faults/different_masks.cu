// Lanes of one shuffle do not agree on who takes part.
#include "port.cuh"

extern "C" __global__ void flip(float* out, const float* in, unsigned* ticket, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
#ifdef FAULT
  unsigned mask = (threadIdx.x & 31) == 7 ? 0x0000ffffu : SSM_FULL;
#else
  unsigned mask = SSM_FULL;
#endif
  out[i] = __shfl_xor_sync(mask, in[i], 31);
}
