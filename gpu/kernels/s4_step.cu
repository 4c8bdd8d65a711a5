// S4 and S4D: one token.
// golden: ssmref/golden/s4.py::s4_step and ssmref/golden/s4d.py::s4d_step
//
//   x' = decay x + drive u - sum_r G[r] Re(F[r] x)        y = Re(2 C x') + D u
//
// LANES lanes own a channel (`diagonal.cuh`) and keep its constants while they go through
// ROWS rows of the batch, TOGETHER at a time: their states are under way together. States
// are all that counts: (slots, channels, state), read and written once, by 16 bytes where
// WIDE. `slots` (batch; null: row b has slot b) names the state of each row; a row with a
// negative slot gets y = 0 and changes no state.
//
// u, y: (batch, channels), IO. No shared memory.
// Macros: IO, RANKS, LANES, PAIRS, WIDE.
#include "diagonal.cuh"

#define THREADS 128
#define ROWS 8
#define TOGETHER 2
constexpr int CHANNELS = THREADS / LANES;

extern "C" __global__ void __launch_bounds__(THREADS)
    s4_step(const IO* __restrict__ u, IO* __restrict__ y,
            const float2* __restrict__ planes, const float* __restrict__ D,
            const float2* __restrict__ old, float2* __restrict__ states,
            const long long* __restrict__ slots, int batch, int channels, int state) {
  const int blocks = (channels + CHANNELS - 1) / CHANNELS;
  const int first = blockIdx.x / blocks * ROWS;
  const int lane = threadIdx.x % LANES;
  const int channel = blockIdx.x % blocks * CHANNELS + threadIdx.x / LANES;
  const bool exists = channel < channels;
  const long long size = static_cast<long long>(channels) * state;
  const long long row = static_cast<long long>(channel) * state;
  System system;
  system.load(planes, channel, channels, state, lane, exists);
  const float skip = D != nullptr && exists ? D[channel] : 0.f;

  for (int b = first; b < first + ROWS && b < batch; b += TOGETHER) {
    float2 x[TOGETHER][PAIRS];
    float input[TOGETHER];
    long long slot[TOGETHER];
#pragma unroll
    for (int i = 0; i < TOGETHER; ++i) {
      const bool row_exists = exists && b + i < batch;
      slot[i] = !row_exists ? -1 : slots != nullptr ? slots[b + i] : b + i;
      input[i] = slot[i] >= 0 ? to_float(u[static_cast<long long>(b + i) * channels + channel]) : 0.f;
      load_row(x[i], slot[i] >= 0 ? old + slot[i] * size + row : nullptr, lane, state);
    }
#pragma unroll
    for (int i = 0; i < TOGETHER; ++i) {
      system.advance(x[i], input[i]);
      const float total = fmaf(skip, input[i], sum_lanes(system.output(x[i])));
      if (slot[i] >= 0) store_row(states + slot[i] * size + row, x[i], lane, state);
      if (lane == 0 && exists && b + i < batch)
        y[static_cast<long long>(b + i) * channels + channel] = from_float<IO>(slot[i] >= 0 ? total : 0.f);
    }
  }
}
