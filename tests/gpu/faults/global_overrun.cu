// The last thread of all copies one element more than there is.
#include "port.cuh"

extern "C" __global__ void flip(float* out, const float* in, unsigned* ticket, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  out[i] = in[i ^ 31];
#ifdef FAULT
  if (i == n - 1) out[i + 1] = 0.f;
#endif
}
