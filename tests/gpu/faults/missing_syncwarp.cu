// Lanes exchange through shared memory as if they ran in step.
#include "port.cuh"

extern "C" __global__ void flip(float* out, const float* in, unsigned* ticket, int n) {
  SSM_DYN_SMEM(float, tile);
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  float sum = 0.f;
  for (int round = 0; round < 4; ++round) {
    tile[threadIdx.x] = in[i] + round;
    __syncwarp();
    sum += tile[threadIdx.x ^ 31] - round;
#ifndef FAULT
    __syncwarp();
#endif
  }
  out[i] = sum / 4;
}
