// One token of Mamba-2. Golden: ssmref/golden/mamba2.py::ssd_step
//
//   dt = clip(softplus(dt + dt_bias), low, high)
//   next = exp(dt A) state + dt x B^T
//   y = (next C + D x) silu(z)
//
// A team of LANES lanes owns ROWS neighbouring rows of the state of one head: VEC
// numbers of a row per lane and access, all rows loaded before the first is used. A
// block owns TEAMS * ROWS rows, a head has `blocks` of them. Limit: bytes, 8 for each
// number of the state.
//
// Layout: x, z, y (batch, heads, headdim); dt (batch, heads); B, C (batch, groups, size);
// rows of the batch have strides of their own; state, next (slots, heads, headdim, size);
// A, dt_bias (heads); D (heads) or (heads, headdim).
// Shared memory: none.
// Macros: IO (float, bf16, f16), VEC (4 or 1), LANES (4 to 32, a power of two).
#include "port.cuh"
#include "activations.cuh"
#include "lanes.cuh"
#include "teams.cuh"

#define THREADS 128
#define ROWS 4
constexpr int TEAMS = THREADS / LANES;

extern "C" __global__ void __launch_bounds__(THREADS)
    ssd_step(const IO* __restrict__ x, const IO* __restrict__ dt,
             const float* __restrict__ A, const IO* __restrict__ B,
             const IO* __restrict__ C, const float* __restrict__ state,
             const float* __restrict__ D, const IO* __restrict__ z,
             const float* __restrict__ dt_bias, const long long* __restrict__ slots,
             IO* __restrict__ y, float* __restrict__ next, long long x_step,
             long long dt_step, long long B_step, long long C_step, long long z_step,
             int heads, int headdim, int groups, int size, int blocks, int D_per_row,
             int with_softplus, float low, float high) {
  const int lane = threadIdx.x % LANES, team = threadIdx.x / LANES;
  const int p = (blockIdx.x % blocks * TEAMS + team) * ROWS;
  const int head = blockIdx.x / blocks % heads, b = blockIdx.x / blocks / heads;
  const int group = head / (heads / groups);
  const long long slot = slots ? slots[b] : b;
  const int vectors = size / VEC, mine = lane / (LANES / ROWS);
  const bool writes = lane % (LANES / ROWS) == 0 && p + mine < headdim;
  if (slot < 0) {  // the same for the whole block
    const long long at = static_cast<long long>(b) * heads + head;
    if (writes) y[at * headdim + p + mine] = from_float<IO>(0.f);
    return;
  }
  const long long own = (slot * heads + head) * headdim * size;
  state += own, next += own;
  x += b * x_step + static_cast<long long>(head) * headdim;
  B += b * B_step + static_cast<long long>(group) * size;
  C += b * C_step + static_cast<long long>(group) * size;

  float h[ROWS][VEC];
  if (vectors) load_rows(h, state + min(lane, vectors - 1) * VEC, p, headdim, size);
  float step = to_float(dt[b * dt_step + head]) + (dt_bias ? dt_bias[head] : 0.f);
  if (with_softplus) step = softplus(step);
  step = step < low ? low : step > high ? high : step;  // NaN stays
  const float decay = expf(step * A[head]);
  float drive[ROWS], sums[ROWS];
#pragma unroll
  for (int i = 0; i < ROWS; ++i) {
    drive[i] = step * to_float(x[min(p + i, headdim - 1)]);
    sums[i] = 0.f;
  }
  for (int v = lane; v < vectors; v += LANES) {
    const int n = v * VEC;
    float b_n[VEC], c_n[VEC];
    load_lanes<VEC>(b_n, B + n);
    load_lanes<VEC>(c_n, C + n);
    if (v >= LANES) load_rows(h, state + n, p, headdim, size);
#pragma unroll
    for (int i = 0; i < ROWS; ++i)
#pragma unroll
      for (int k = 0; k < VEC; ++k) {
        h[i][k] = decay * h[i][k] + drive[i] * b_n[k];
        sums[i] += h[i][k] * c_n[k];
      }
    store_rows(next + n, h, p, headdim, size);
  }
  float sum = team_sums<LANES>(sums);
  if (!writes) return;
  const int row = head * headdim + p + mine;
  if (D) sum += D[D_per_row ? row : head] * to_float(x[p + mine]);
  if (z) sum *= silu(to_float(z[b * z_step + row]));
  y[static_cast<long long>(b) * heads * headdim + row] = from_float<IO>(sum);
}
