// A tensor core needs all lanes; half of them multiply elsewhere.
#include "port.cuh"

extern "C" __global__ void flip(float* out, const float* in, unsigned* ticket, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  unsigned a[4] = {}, b[2] = {};
  float d[4] = {in[i ^ 31], 0.f, 0.f, 0.f};
#ifdef FAULT
  if (threadIdx.x % 2) {
    mma_m16n8k16<bf16>(d, a, b);
  } else {
    mma_m16n8k16<bf16>(d, a, b);
  }
#else
  mma_m16n8k16<bf16>(d, a, b);
#endif
  out[i] = d[0];
}
