// The next tile is written while another warp may still read this one.
#include "port.cuh"

extern "C" __global__ void flip(float* out, const float* in, unsigned* ticket, int n) {
  SSM_DYN_SMEM(float, tile);
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  float sum = 0.f;
  for (int round = 0; round < 4; ++round) {
    tile[threadIdx.x] = in[i] + round;
    __syncthreads();
    sum += tile[threadIdx.x ^ 63] - round;
#ifndef FAULT
    __syncthreads();
#endif
  }
  out[i] = sum / 4;
}
