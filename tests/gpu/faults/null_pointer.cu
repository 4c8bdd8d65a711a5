// An option that was not given is read all the same.
#include "port.cuh"

extern "C" __global__ void flip(float* out, const float* in, unsigned* ticket, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
#ifdef FAULT
  const float* option = n > 0 ? nullptr : in;
#else
  const float* option = n > 0 ? in : nullptr;
#endif
  out[i] = in[i ^ 31] + (option[0] == 123456.f ? 1.f : 0.f);
}
