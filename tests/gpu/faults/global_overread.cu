// A whole vector where the row ends in the middle of one.
#include "port.cuh"

extern "C" __global__ void flip(float* out, const float* in, unsigned* ticket, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
#ifdef FAULT
  float next = in[i + 1];
#else
  float next = i + 1 < n ? in[i + 1] : 0.f;
#endif
  out[i] = in[i ^ 31] + (next == 123456.f ? 1.f : 0.f);
}
