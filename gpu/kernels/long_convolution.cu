// What stands around the Fourier transforms of a long convolution.
// golden: ssmref/golden/convolution.py::fft_convolution
//
//   y[b, t, d] = (u * kernel)[b, t, d] + D[d] u[b, t, d]
//
// long_convolution_in: u (batch, length, channels), IO, becomes x (batch, channels, n),
//   float, with zeros behind the last token: transforms run over neighbouring numbers.
// long_convolution_out: the first `length` of each row of x go back, plus D u (D may be
//   null), and are rounded.
//
// A block of 32 x 8 threads transposes 32 tokens of 32 channels: both sides are read and
// written by warps of neighbouring numbers. `row` tokens lie between the sequences of u
// and of y: a stretch of time may be transformed where it is.
// Shared memory: 32 x 33 floats; the odd pitch keeps columns in different banks.
// Macros: IO.
#include "port.cuh"

#define SIDE 32
#define STRIP 8
#define PITCH 33

struct Tile {
  long long b;
  int t, d;
};

// Tiles of a batch row: over channels, then over tokens.
__device__ __forceinline__ Tile tile_of(long long block, int tokens, int channels) {
  const int wide = (channels + SIDE - 1) / SIDE, long_ = (tokens + SIDE - 1) / SIDE;
  const long long rest = block / wide;
  return {rest / long_, static_cast<int>(rest % long_) * SIDE,
          static_cast<int>(block % wide) * SIDE};
}

extern "C" __global__ void __launch_bounds__(SIDE* STRIP)
    long_convolution_in(const IO* __restrict__ u, float* __restrict__ x, int length,
                        int channels, int n, long long row) {
  SSM_DYN_SMEM(float, tile);
  const Tile at = tile_of(blockIdx.x, n, channels);
  for (int i = threadIdx.y; i < SIDE; i += STRIP) {
    const int t = at.t + i, d = at.d + threadIdx.x;
    const bool exists = t < length && d < channels;
    tile[i * PITCH + threadIdx.x] =
        exists ? to_float(u[(at.b * row + t) * channels + d]) : 0.f;
  }
  __syncthreads();
  for (int i = threadIdx.y; i < SIDE; i += STRIP) {
    const int t = at.t + threadIdx.x, d = at.d + i;
    if (t < n && d < channels)
      x[(at.b * channels + d) * n + t] = tile[threadIdx.x * PITCH + i];
  }
}

extern "C" __global__ void __launch_bounds__(SIDE* STRIP)
    long_convolution_out(const float* __restrict__ x, const IO* __restrict__ u,
                         const float* __restrict__ D, IO* __restrict__ y, int length,
                         int channels, int n, long long row) {
  SSM_DYN_SMEM(float, tile);
  const Tile at = tile_of(blockIdx.x, length, channels);
  for (int i = threadIdx.y; i < SIDE; i += STRIP) {
    const int t = at.t + threadIdx.x, d = at.d + i;
    if (t < length && d < channels)
      tile[i * PITCH + threadIdx.x] = x[(at.b * channels + d) * n + t];
  }
  __syncthreads();
  for (int i = threadIdx.y; i < SIDE; i += STRIP) {
    const int t = at.t + i, d = at.d + threadIdx.x;
    if (t >= length || d >= channels) continue;
    const long long place = (at.b * row + t) * channels + d;
    const float value = tile[threadIdx.x * PITCH + i];
    y[place] = from_float<IO>(D == nullptr ? value : fmaf(D[d], to_float(u[place]), value));
  }
}
