// New tokens against a buffer of earlier inputs. Golden: ssmref/golden/layers.py::
// causal_conv1d_step and causal_conv1d_step_circular.
//
//   y[t] = act(bias + sum_k weight[k] x[t - (WIDTH-1) + k])
//
// A thread owns VEC neighbouring channels of a row of the batch and of its slot: inputs
// before the first token come from `state`, and `next`, another array, gets the buffer
// with the new tokens. Linear buffers have the oldest input first; in circular ones,
// where `position` is given, input p lies at p mod `window`.
//
// Layout: x, y (batch, length, channels), rows and tokens of x with strides of their own;
// weight (channels, WIDTH); state, next (slots, window, channels).
// Shared memory: none.
// Macros: IO (float, bf16, f16), VEC (16 bytes of IO, or 1), WIDTH.
#include "port.cuh"
#include "filter.cuh"

struct Buffer {
  const float* state;  // of this slot, for the channels of this thread
  int window, channels;
  int first;  // where the first new token goes; negative: the buffer is linear

  // Where the input lies that comes `back` tokens before the first new one.
  __device__ __forceinline__ int place(int back) const {
    const int at = first - back;
    return first < 0 ? window - back : at < 0 ? at + window : at;
  }

  // What the place `at` gets: a new token of `length`, or minus one minus a place.
  __device__ __forceinline__ int newest(int at, int length) const {
    if (first < 0) {
      const int t = at + length - window;
      return t >= 0 ? t : -1 - (at + length);
    }
    const int t = at - first + (at < first ? window : 0);
    return t < length ? t + (length - 1 - t) / window * window : -1 - at;
  }

  __device__ __forceinline__ void load(float (&value)[VEC], int at) const {
    load_lanes<VEC>(value, state + static_cast<long long>(at) * channels);
  }
};

extern "C" __global__ void __launch_bounds__(THREADS, 5)
    convolve_step(const IO* __restrict__ x, const float* __restrict__ weight,
                  const float* __restrict__ state, const float* __restrict__ bias,
                  const long long* __restrict__ slots,
                  const long long* __restrict__ position, IO* __restrict__ y,
                  float* __restrict__ next, long long row, long long step, int batch,
                  int length, int channels, int window, int gated) {
  const int vectors = channels / VEC;
  const long long item = static_cast<long long>(blockIdx.x) * THREADS + threadIdx.x;
  const int b = static_cast<int>(item / vectors);
  const int c = static_cast<int>(item % vectors) * VEC;
  if (b >= batch) return;
  x += b * row + c;
  y += static_cast<long long>(b) * length * channels + c;
  const long long slot = slots ? slots[b] : b;
  float value[VEC];
  if (slot < 0) {
    fill(value, 0.f);
    for (int t = 0; t < length; ++t)
      store_lanes<VEC>(y + static_cast<long long>(t) * channels, value);
    return;
  }
  const long long own = slot * window * channels + c;
  const int first = position ? static_cast<int>(position[b] % window) : -1;
  const Buffer buffer{state + own, window, channels, first};
  const Filter filter(weight + static_cast<long long>(c) * WIDTH,
                      bias ? bias + c : nullptr, gated);
  for (int t = 0; t < length; ++t) {
    float sum[VEC];
    fill(sum, 0.f);
#pragma unroll UNROLL
    for (int k = 0; k < WIDTH; ++k) {
      const int p = t - WIDTH + 1 + k;
      if (p >= 0) load_lanes<VEC>(value, x + p * step);
      else buffer.load(value, buffer.place(-p));
      filter.add(sum, k, value);
    }
    filter.finish(y + static_cast<long long>(t) * channels, sum);
  }
  for (int at = 0; at < window; ++at) {
    const int t = buffer.newest(at, length);
    if (t >= 0) load_lanes<VEC>(value, x + t * step);
    else buffer.load(value, -1 - t);
    store_lanes<VEC>(next + own + static_cast<long long>(at) * channels, value);
  }
}
