// Nobody ever sets the flag.
#include "port.cuh"

extern "C" __global__ void flip(float* out, const float* in, unsigned* ticket, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  out[i] = in[i ^ 31];
#ifndef FAULT
  if (blockIdx.x == 0 && threadIdx.x == 0) st_release(ticket, 1u);
#endif
  if (blockIdx.x == 0 && threadIdx.x == 1)
    while (ld_acquire(ticket) == 0u) {
    }
}
