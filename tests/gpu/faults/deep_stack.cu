// A local array that no thread has room for.
#include "port.cuh"

extern "C" __global__ void flip(float* out, const float* in, unsigned* ticket, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
#ifdef FAULT
  constexpr int SIZE = 1 << 18;
#else
  constexpr int SIZE = 1 << 8;
#endif
  volatile float local[SIZE];
  for (int k = SIZE - 1; k >= 0; k -= 16) local[k] = in[i ^ 31];
  out[i] = local[15];
}
