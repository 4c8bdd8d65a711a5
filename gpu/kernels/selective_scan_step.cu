// Mamba-1, one token. Golden: ssmref/golden/mamba1.py::selective_scan_step
//
//   dt = softplus(dt + bias)
//   h  = exp(dt A) h + dt B u
//   y  = (C h + D u) silu(z)
//
// The state is all of the traffic: it is read and written once, 16 bytes at a time where
// WHOLE. LANES neighbouring lanes share a channel, each has STATES states of it in
// BATCH rows of the batch; all its states are on their way before the first is used. A
// is read once for BATCH rows. y is summed over the lanes by shuffles, so every thread
// stays to the end.
//
// Row i of the batch uses row slots[i] of the state, or row i where `slots` is null; a
// negative slot is padding: y is 0, no state changes. `from` and `to` may be the same.
//
// Memory: u, dt, z, y (batch, channels), contiguous channels; B, C (batch, groups, N),
// contiguous states; A (channels, N); D, bias (channels); from, to (slots, channels, N).
// Grid: channels by LANES over THREADS, batch over BATCH. No shared memory.
//
// Macros: IO (u, dt, z, y) and BC (B, C): float, bf16, f16; STATE (N), PARTS (2: complex,
// as pairs of floats), STATES, LANES, BATCH, THREADS, SOFTPLUS, GATED, SKIP, WHOLE (A and
// states), WHOLE_BC.
#include "selective_scan.cuh"

using Value = Number<PARTS>;

constexpr int PADDED = STATES * LANES;
static_assert(!(WHOLE || WHOLE_BC) || PADDED == STATE, "whole vectors have no padding");

// This lane's numbers from address `p` of the first; those that do not exist are 0.
template <bool VECTORS, class T>
__device__ __forceinline__ void load_lane(Value (&x)[STATES], const T* p, int count) {
  float flat[STATES * PARTS];
  if constexpr (VECTORS)
    load(flat, p);
  else
    load_some(flat, p, count * PARTS);
#pragma unroll
  for (int i = 0; i < STATES; ++i) x[i] = number_at<PARTS>(flat + i * PARTS);
}

__device__ __forceinline__ void store_states(float* p, const Value (&x)[STATES],
                                             int count) {
  float flat[STATES * PARTS];
#pragma unroll
  for (int i = 0; i < STATES; ++i) store_number<PARTS>(flat + i * PARTS, x[i]);
  if constexpr (WHOLE)
    store(p, flat);
  else
    store_some(p, flat, count * PARTS);
}

__device__ __forceinline__ float summed(float y) {
#pragma unroll
  for (int lane = 1; lane < LANES; lane *= 2) y += __shfl_xor_sync(SSM_FULL, y, lane);
  return y;
}

extern "C" __global__ void __launch_bounds__(THREADS)
    scan_step(const IO* __restrict__ u, const IO* __restrict__ dt,
              const IO* __restrict__ z, const BC* __restrict__ B,
              const BC* __restrict__ C, const float* __restrict__ A,
              const float* __restrict__ D, const float* __restrict__ bias,
              const long long* __restrict__ slots, const float* from, float* to, IO* y,
              int batch, int channels, int per_group, long long u_row, long long dt_row,
              long long z_row, long long B_row, long long B_group, long long C_row,
              long long C_group) {
  const long long thread = blockIdx.x * static_cast<long long>(THREADS) + threadIdx.x;
  const int q = static_cast<int>(thread % LANES);
  const bool exists = thread / LANES < channels;
  const int d = exists ? static_cast<int>(thread / LANES) : 0;
  const int first = q * STATES;
  const int count = !exists ? 0 : WHOLE ? STATES : max(0, min(STATES, STATE - first));
  const int group = d / per_group;

  long long place[BATCH];
  Value h[BATCH][STATES];
#pragma unroll
  for (int k = 0; k < BATCH; ++k) {
    const int b = blockIdx.y * BATCH + k;
    const long long slot = b < batch ? (slots ? slots[b] : b) : -1;
    place[k] = slot < 0 || !exists
                   ? -1
                   : ((slot * channels + d) * STATE + first) * PARTS;
    if (place[k] >= 0) load_lane<WHOLE>(h[k], from + place[k], count);
  }
  Value rate[STATES];
  if (exists)
    load_lane<WHOLE>(rate, A + (static_cast<long long>(d) * STATE + first) * PARTS, count);
#pragma unroll
  for (int i = 0; i < STATES; ++i) rate[i] = rate[i].to_rate();
  const float shift = bias ? bias[d] : 0.f;

#pragma unroll
  for (int k = 0; k < BATCH; ++k) {
    const int b = blockIdx.y * BATCH + k;
    float sum = 0.f, input = 0.f;
    if (place[k] >= 0) {
      input = to_float(u[b * u_row + d]);
      float step = to_float(dt[b * dt_row + d]) + shift;
      if (SOFTPLUS) step = softplus(step);
      Value own_B[STATES], own_C[STATES];
      load_lane<WHOLE_BC>(own_B, B + b * B_row + group * B_group + first * PARTS, count);
      load_lane<WHOLE_BC>(own_C, C + b * C_row + group * C_group + first * PARTS, count);
#pragma unroll
      for (int i = 0; i < STATES; ++i) {
        h[k][i].advance(Value::decay(rate[i], step), step * input, own_B[i]);
        if (PADDED == STATE || i < count) sum = h[k][i].read(own_C[i], sum);
      }
      store_states(to + place[k], h[k], count);
    }
    float out = output<PARTS>(summed(sum));
    if (q != 0 || !exists || b >= batch) continue;
    if (SKIP) out = fmaf(D[d], input, out);
    if (GATED && place[k] >= 0) out *= silu(to_float(z[b * z_row + d]));
    y[b * static_cast<long long>(channels) + d] =
        from_float<IO>(place[k] >= 0 ? out : 0.f);
  }
}
