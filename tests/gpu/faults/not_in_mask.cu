// Lane 31 takes part in a shuffle whose mask does not name it.
#include "port.cuh"

extern "C" __global__ void flip(float* out, const float* in, unsigned* ticket, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
#ifdef FAULT
  out[i] = __shfl_xor_sync(SSM_FULL >> 1, in[i], 31);
#else
  out[i] = __shfl_xor_sync(SSM_FULL, in[i], 31);
#endif
}
