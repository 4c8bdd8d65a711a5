// A vector of 16 bytes from an address that is a multiple of 4.
#include "port.cuh"

extern "C" __global__ void flip(float* out, const float* in, unsigned* ticket, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  out[i] = in[i ^ 31];
#ifdef FAULT
  const float* start = in + 1;
#else
  const float* start = in;
#endif
  float4 four = *reinterpret_cast<const float4*>(start);
  if (four.w == 123456.f) out[i] = four.x + four.y + four.z;
}
