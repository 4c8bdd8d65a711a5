// Causal convolution of channels. Golden: ssmref/golden/layers.py::causal_conv1d
//
//   y[t] = act(bias + sum_k weight[k] x[t - (WIDTH-1) + k])
//
// A thread owns VEC neighbouring channels of `tile` tokens. The earlier inputs that its
// filter meets travel through registers, as they lay in memory; where a sequence begins,
// all inputs of a token come from memory: earlier ones, the initial state, or zeros.
// Threads beyond the last tile own what remains as the final state, VEC channels of one
// entry each. No thread waits for another.
//
// Layout: x, y (batch, length, channels), rows and tokens of x with strides of their own;
// weight (channels, WIDTH); states (sequences, WIDTH-1, channels), oldest first.
// Shared memory: none.
// Macros: IO (float, bf16, f16), VEC (16 bytes of IO, or 1), WIDTH.
#include "port.cuh"
#include "filter.cuh"

// So many tokens are loaded before the first is used.
#define AHEAD 4

// The tokens [start, stop) of one sequence, for the channels of this thread.
struct Sequence {
  const IO* x;         // token 0 of the row of the batch
  const float* state;  // null: zeros
  long long step;      // from token to token
  int channels, number, start, stop;

  // The input of token t, which may lie before the first one.
  __device__ __forceinline__ void input(float (&value)[VEC], int t) const {
    if (t >= start) {
      load_lanes<VEC>(value, x + t * step);
    } else if (state) {
      const long long entry =
          static_cast<long long>(number) * (WIDTH - 1) + WIDTH - 1 + t - start;
      load_lanes<VEC>(value, state + entry * channels);
    } else {
      fill(value, 0.f);
    }
  }

  __device__ __forceinline__ void choose(const long long* bounds, int which) {
    number = which;
    start = static_cast<int>(bounds[which]);
    stop = static_cast<int>(bounds[which + 1]);
  }
};

// The sequence of token t: the last one that begins at or before it.
__device__ __forceinline__ int sequence_of(const long long* bounds, int count, int t) {
  int low = 0, high = count - 1;
  while (low < high) {
    const int middle = (low + high + 1) / 2;
    if (bounds[middle] <= t) low = middle;
    else high = middle - 1;
  }
  return low;
}

// One token, all inputs of it from memory.
__device__ __forceinline__ void token(const Sequence& s, const Filter& filter, IO* y,
                                      int t) {
  float sum[VEC], value[VEC];
  fill(sum, 0.f);
#pragma unroll UNROLL
  for (int k = 0; k < WIDTH; ++k) {
    s.input(value, t - WIDTH + 1 + k);
    filter.add(sum, k, value);
  }
  filter.finish(y + static_cast<long long>(t) * s.channels, sum);
}

// The tokens [t, stop), which have WIDTH - 1 others of their sequence before them.
__device__ __forceinline__ void tokens(const Sequence& s, const Filter& filter, IO* y,
                                       int t, int stop) {
  Packed<VEC, IO> window[WIDTH], ahead[AHEAD];
#pragma unroll
  for (int k = 1; k < WIDTH; ++k) window[k].load(s.x + (t - WIDTH + k) * s.step);
  for (; t < stop; t += AHEAD) {
#pragma unroll
    for (int j = 0; j < AHEAD; ++j)
      ahead[j].load(s.x + min(t + j, stop - 1) * s.step);
#pragma unroll
    for (int j = 0; j < AHEAD; ++j) {
      if (t + j >= stop) break;
      float sum[VEC], value[VEC];
      fill(sum, 0.f);
#pragma unroll
      for (int k = 0; k < WIDTH; ++k) {
        window[k] = k + 1 < WIDTH ? window[k + 1] : ahead[j];
        window[k].unpack(value);
        filter.add(sum, k, value);
      }
      filter.finish(y + static_cast<long long>(t + j) * s.channels, sum);
    }
  }
}

// The final state: input `entry` of the last WIDTH - 1.
__device__ __forceinline__ void keep(const Sequence& s, float* last, int entry) {
  float value[VEC];
  s.input(value, s.stop - (WIDTH - 1) + entry);
  const long long place = static_cast<long long>(s.number) * (WIDTH - 1) + entry;
  store_lanes<VEC>(last + place * s.channels, value);
}

extern "C" __global__ void __launch_bounds__(THREADS, WIDTH <= 4 ? 4 : 2)
    convolve(const IO* __restrict__ x, const float* __restrict__ weight,
             const float* __restrict__ bias, const float* __restrict__ initial,
             const long long* __restrict__ bounds, IO* __restrict__ y,
             float* __restrict__ last, long long row, long long step, int length,
             int channels, int sequences, int tile, int blocks, int gated) {
  const int vectors = channels / VEC, tiles = (length + tile - 1) / tile;
  const int b = blockIdx.x / blocks;
  const int item = blockIdx.x % blocks * THREADS + threadIdx.x;
  const int c = item % vectors * VEC, part = item / vectors;
  // Rows of a batch have a sequence each, a pack is a batch of one.
  Sequence s{x + b * row + c, initial ? initial + c : nullptr, step, channels, b, 0,
             length};
  if (part >= tiles) {
    const int entry = (part - tiles) % max(WIDTH - 1, 1);
    const int of_pack = (part - tiles) / max(WIDTH - 1, 1);
    if (WIDTH == 1 || of_pack >= (bounds ? sequences : 1)) return;
    if (bounds) s.choose(bounds, of_pack);
    keep(s, last + c, entry);
    return;
  }
  int t = part * tile;
  const int stop = min(t + tile, length);
  if (bounds) s.choose(bounds, sequence_of(bounds, sequences, t));
  const Filter filter(weight + static_cast<long long>(c) * WIDTH,
                      bias ? bias + c : nullptr, gated);
  y += static_cast<long long>(b) * length * channels + c;
  while (t < stop) {
    while (t >= s.stop) s.choose(bounds, s.number + 1);
    const bool early = t - s.start < WIDTH - 1;
    const int end = early || !ROLLING ? t + 1 : min(stop, s.stop);
    if (early || !ROLLING) token(s, filter, y, t);
    else tokens(s, filter, y, t, end);
    t = end;
  }
}
