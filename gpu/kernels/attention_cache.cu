// The cache of attention: old keys and values, and behind them the new ones, keys rotated
// by their positions. Golden: ssmref/golden/attention.py::attention, `_extend`.
//
//   k[t] = rotary(k[t], cached + t)
//
// With `bounds`, sequences of a pack lie one after the other, and positions start at 0 in
// each. `keys` and `values`, where not null, are what the products of attention read: the
// same numbers as IO, rounded once.
//
// A warp owns a row: all coordinates of a head of a token.
// Layout: k, v (batch, length, heads, size), batch and time with strides of their own;
// old_k, old_v (batch, cached, heads, size); next_k, next_v, keys, values (batch, cached +
// length, heads, size). bounds (sequences + 1). No shared memory.
// Macros: IO (float, bf16, f16).
#include "port.cuh"
#include "attention_rotary.cuh"

constexpr int WARPS = 4;

// Where the sequence begins that has token t: the last bound that is not beyond it.
__device__ __forceinline__ long long begin_of(const long long* bounds, int sequences,
                                              long long t) {
  int low = 0, high = sequences;
  while (high - low > 1) {
    const int middle = (low + high) / 2;
    if (bounds[middle] <= t) low = middle;
    else high = middle;
  }
  return bounds[low];
}

// Put a row where it belongs; `turn`, where not null, rotates it.
template <class T>
__device__ __forceinline__ void keep(const T* from, const Rotary* turn, long long position,
                                     float* to, IO* as_io, int size) {
  const int turned = turn ? turn->dim : 0;
#pragma unroll 1
  for (int j = threadIdx.x % 32; j < turned; j += 32) {
    const float x = turn->turned(from, position, j);
    to[j] = x;
    if (as_io) as_io[j] = from_float<IO>(x);
  }
#pragma unroll 4
  for (int j = turned + threadIdx.x % 32; j < size; j += 32) {
    const float x = to_float(from[j]);
    to[j] = x;
    if (as_io) as_io[j] = from_float<IO>(x);
  }
}

extern "C" __global__ void __launch_bounds__(32 * WARPS, 8) attention_cache(
    const IO* __restrict__ k, const IO* __restrict__ v, long long k_batch,
    long long k_token, long long v_batch, long long v_token,
    const float* __restrict__ old_k, const float* __restrict__ old_v,
    const long long* __restrict__ bounds, int sequences, const float* __restrict__ high,
    const float* __restrict__ low, float* __restrict__ next_k, float* __restrict__ next_v,
    IO* __restrict__ keys, IO* __restrict__ values, long long rows, long long length,
    long long cached, int heads, int headdim, int valuedim, int rotary, int interleaved) {
  const long long row = static_cast<long long>(blockIdx.x) * WARPS + threadIdx.x / 32;
  if (row >= rows) return;
  const int head = static_cast<int>(row % heads);
  const long long token = row / heads, tokens = cached + length;
  const long long batch = token / tokens, at = token % tokens;
  float* const to_k = next_k + row * headdim;
  float* const to_v = next_v + row * valuedim;
  IO* const io_k = keys ? keys + row * headdim : nullptr;
  IO* const io_v = values ? values + row * valuedim : nullptr;
  if (at < cached) {
    const long long old = (batch * cached + at) * heads + head;
    keep(old_k + old * headdim, nullptr, 0, to_k, io_k, headdim);
    keep(old_v + old * valuedim, nullptr, 0, to_v, io_v, valuedim);
    return;
  }
  const long long t = at - cached;
  const Rotary turn{high, low, rotary, interleaved != 0};
  const long long position = bounds ? t - begin_of(bounds, sequences, t) : at;
  keep(k + batch * k_batch + t * k_token + static_cast<long long>(head) * headdim, &turn,
       position, to_k, io_k, headdim);
  keep(v + batch * v_batch + t * v_token + static_cast<long long>(head) * valuedim, nullptr,
       0, to_v, io_v, valuedim);
}
