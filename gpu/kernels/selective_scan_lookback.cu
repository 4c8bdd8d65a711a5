// Mamba-1 selective scan, parallel in time, in one launch. Golden:
// ssmref/golden/mamba1.py::selective_scan
//
//   h[t] = decay[t] h[t-1] + drive[t],  decay = exp(dt A), drive = dt B u
//   y[t] = (C[t] h[t] + D u[t]) silu(z[t]),  dt = softplus(dt + bias)
//
// For few rows that are long. Against segments in three launches (selective_scan.cu)
// every exponential is taken once, but sums over time go through shuffles.
//
// Who owns what. A block owns 32 * RUN tokens of CHANNELS channels, one channel after the
// other. Warp w owns the states w, w + WARPS, ...; a lane RUN consecutive tokens, in
// registers: the states from 0 at its first token, and the products of decays. Lanes are
// joined by a scan of pairs (product, state), blocks by looking back:
//
// Each warp publishes the pair of its stretch. The state before stretch k is what the
// pairs since the last multiple of 32 make of the state published there, which the
// stretch before that multiple published when it knew its own. So the order of sums is
// the same in every run, whoever comes first. Stretches are taken by ticket: whoever
// waits, waits for blocks that run.
//
// Memory as in selective_scan.cu. Workspace: pairs (segments, channels, N, 2), states
// (segments, channels, N), written at the last stretch of each 32; flags (2, segments,
// channels, WARPS) and one ticket, all 0 at the start.
//
// Shared memory: dt (later y) and u (CHANNELS, ROW), B and C (N, ROW), sums (WARPS, ROW);
// a row is the tokens with 4 floats of padding after each RUN: no two lanes that are
// served together meet in a bank.
//
// Macros: IO (u, dt, z, y, B, C): float, bf16, f16; STATE (N), WARPS, CHANNELS, BY_TIME,
// PACKED, SOFTPLUS, GATED, SKIP; WHOLE, WHOLE_BC as in selective_scan.cu.
#include "selective_scan_segments.cuh"

constexpr int RUN = 8;
constexpr int TOKENS = 32 * RUN;
constexpr int ROW = 32 * (RUN + 4);
constexpr int THREADS = 32 * WARPS;
constexpr int VECTOR = per_vector<IO>();
constexpr int WINDOW = 32;
constexpr int STATES = (STATE + WARPS - 1) / WARPS;  // of a warp

static_assert(CHANNELS % VECTOR == 0, "vectors of channels");

// Whether state n of a warp exists; known without a test where warps share them evenly.
__device__ __forceinline__ bool exists(int n) {
  return STATE % WARPS == 0 || n < STATE;
}
static_assert(!WHOLE_BC || STATE % VECTOR == 0, "vectors of B and C within a token");

__device__ __forceinline__ int padded(int token) { return token + token / RUN * 4; }

// A vector from memory; numbers that do not exist are 0.
template <bool ALIGNED>
__device__ __forceinline__ void fetch(float (&x)[VECTOR], const IO* p, int count) {
  if (ALIGNED && count >= VECTOR)
    load(x, p);
  else
    load_some(x, p, count);
}

// One vector of the tile (CHANNELS, TOKENS) of rows.
struct Place {
  int token, channel, count;

  __device__ __forceinline__ Place(int v, const Segment& s, int tokens) {
    if (BY_TIME) {
      channel = v / (TOKENS / VECTOR);
      token = v % (TOKENS / VECTOR) * VECTOR;
      count = channel < s.channels ? tokens - token : 0;
    } else {
      token = v / (CHANNELS / VECTOR);
      channel = v % (CHANNELS / VECTOR) * VECTOR;
      count = token < tokens ? s.channels - channel : 0;
    }
    count = max(0, min(VECTOR, count));
  }
  __device__ __forceinline__ long long offset(const Segment& s, long long batch,
                                              long long row) const {
    const long long t = s.begin + token, d = s.channel + channel;
    return s.batch * batch + (BY_TIME ? d * row + t : t * row + d);
  }
  // Where number i of the vector lies in rows of shared memory.
  __device__ __forceinline__ int in_rows(int i) const {
    return (channel + (BY_TIME ? 0 : i)) * ROW + padded(token + (BY_TIME ? i : 0));
  }
};

constexpr int VECTORS = CHANNELS * TOKENS / VECTOR;

// dt after bias and softplus, and u; a token that does not exist has step 0.
__device__ __forceinline__ void stage_rows(float* dt_rows, float* u_rows, const IO* dt,
                                           const IO* u, const float* bias,
                                           const Segment& s, int tokens,
                                           long long dt_batch, long long dt_row,
                                           long long u_batch, long long u_row) {
  for (int v = threadIdx.x; v < VECTORS; v += THREADS) {
    const Place p(v, s, tokens);
    float step[VECTOR], input[VECTOR];
    fetch<WHOLE>(step, dt + p.offset(s, dt_batch, dt_row), p.count);
    fetch<WHOLE>(input, u + p.offset(s, u_batch, u_row), p.count);
#pragma unroll
    for (int i = 0; i < VECTOR; ++i) {
      const bool exists = i < p.count;
      if (bias && exists) step[i] += bias[s.channel + p.channel + (BY_TIME ? 0 : i)];
      if (SOFTPLUS) step[i] = softplus(step[i]);
      dt_rows[p.in_rows(i)] = exists ? step[i] : 0.f;
      u_rows[p.in_rows(i)] = input[i];
    }
  }
}

// B or C of the tile, transposed; tokens beyond the end are 0.
__device__ __forceinline__ void stage_projection(float* rows, const IO* p,
                                                 long long token_stride, int tokens) {
  constexpr int UNIT = WHOLE_BC ? VECTOR : 1;
  for (int v = threadIdx.x; v < TOKENS * STATE / UNIT; v += THREADS) {
    const int token = v / (STATE / UNIT), n = v % (STATE / UNIT) * UNIT;
    float x[VECTOR];
    if constexpr (WHOLE_BC)
      fetch<true>(x, p + token * token_stride + n, token < tokens ? VECTOR : 0);
    else
      x[0] = token < tokens ? to_float(p[token * token_stride + n]) : 0.f;
#pragma unroll
    for (int i = 0; i < UNIT; ++i) rows[(n + i) * ROW + padded(token)] = x[i];
  }
}

// What a stretch of time does to a state: h -> product h + sum.
struct Pair {
  float product, sum;
};

// `later` after `earlier`.
__device__ __forceinline__ Pair after(Pair later, Pair earlier) {
  return {later.product * earlier.product,
          fmaf(later.product, earlier.sum, later.sum)};
}

__device__ __forceinline__ Pair from_lane(Pair x, int lane) {
  return {__shfl_sync(SSM_FULL, x.product, lane), __shfl_sync(SSM_FULL, x.sum, lane)};
}

// The stretch of all lanes up to this one.
__device__ __forceinline__ Pair inclusive_scan(Pair x, int lane) {
#pragma unroll
  for (int by = 1; by < 32; by *= 2) {
    const Pair earlier = {__shfl_up_sync(SSM_FULL, x.product, by),
                          __shfl_up_sync(SSM_FULL, x.sum, by)};
    if (lane >= by) x = after(x, earlier);
  }
  return x;
}

// Lane 0 gets the stretch of all lanes, of which lane 31 is the first in time.
__device__ __forceinline__ Pair joined_back(Pair x, int lane) {
#pragma unroll
  for (int by = 1; by < 32; by *= 2) {
    const Pair earlier = {__shfl_down_sync(SSM_FULL, x.product, by),
                          __shfl_down_sync(SSM_FULL, x.sum, by)};
    if (lane + by < 32) x = after(x, earlier);
  }
  return x;
}

__device__ __forceinline__ void wait_for(const unsigned* flag) {
  while (ld_acquire(flag) == 0u) __nanosleep(64);
}

// Where the workspace speaks of a stretch, for one channel and warp.
struct Board {
  float* pairs;
  float* states;
  unsigned* flags;
  long long segments, channels;

  __device__ __forceinline__ long long at(long long segment, int d, int n) const {
    return (segment * channels + d) * STATE + n;
  }
  __device__ __forceinline__ unsigned* flag(int kind, long long segment, int d,
                                            int warp) const {
    return flags + ((kind * segments + segment) * channels + d) * WARPS + warp;
  }
};

// The state before this stretch, number `place` of its row: lane j reads the stretch j
// before it, lane 31 the state at the last multiple of WINDOW.
__device__ __forceinline__ void look_back(float (&start)[STATES], const Board& board,
                                          const float* initial, const Segment& s,
                                          long long place, int d, int warp, int lane) {
  const int since = static_cast<int>(place % WINDOW);
  const long long earlier = s.index - 1 - lane, base = s.index - since - 1;
  if (lane < since) wait_for(board.flag(0, earlier, d, warp));
  if (lane == 31 && place >= WINDOW) wait_for(board.flag(1, base, d, warp));
  __syncwarp();
  const float* const before =
      place >= WINDOW ? board.states + board.at(base, d, warp)
                      : initial ? initial + board.at(s.row, d, warp) : nullptr;
  const float* const pairs = board.pairs + 2 * board.at(earlier, d, warp);
#pragma unroll
  for (int i = 0; i < STATES; ++i) {
    const bool some = exists(warp + i * WARPS);
    Pair x = {lane == 31 ? 0.f : 1.f, 0.f};
    if (some && lane < since) x = {pairs[2 * i * WARPS], pairs[2 * i * WARPS + 1]};
    if (some && lane == 31 && before) x.sum = before[i * WARPS];
    start[i] = from_lane(joined_back(x, lane), 0).sum;
  }
}

// One channel: states of all tokens, then C h of this warp's states into `sums`.
__device__ __forceinline__ void channel(float* sums, const float* dt_row,
                                        const float* u_row, const float* B,
                                        const float* C, const float* A,
                                        const Board& board, const float* initial,
                                        float* last, const Segment& s, long long place,
                                        int d, int warp, int lane) {
  float dt[RUN], drive[RUN], h[STATES][RUN], product[STATES][RUN], y[RUN] = {};
  load(dt, dt_row + lane * (RUN + 4));
  load(drive, u_row + lane * (RUN + 4));
#pragma unroll
  for (int t = 0; t < RUN; ++t) drive[t] = dt[t] == 0.f ? 0.f : drive[t] * dt[t];
  Pair before[STATES], all[STATES];
#pragma unroll
  for (int i = 0; i < STATES; ++i) {
    const int n = exists(warp + i * WARPS) ? warp + i * WARPS : STATE - 1;
    const Number<1> rate =
        Number<1>{A[static_cast<long long>(d) * STATE + n]}.to_rate();
    float b[RUN];
    load(b, B + n * ROW + lane * (RUN + 4));
    Pair x = {1.f, 0.f};
#pragma unroll
    for (int t = 0; t < RUN; ++t) {
      const float decay = Number<1>::decay(rate, dt[t]).re;
      x = after({decay, drive[t] * b[t]}, x);
      product[i][t] = x.product, h[i][t] = x.sum;
    }
    x = inclusive_scan(x, lane);
    all[i] = from_lane(x, 31);
    before[i] = {__shfl_up_sync(SSM_FULL, x.product, 1),
                 __shfl_up_sync(SSM_FULL, x.sum, 1)};
    if (lane == 0) before[i] = {1.f, 0.f};
    if (lane == 0 && exists(warp + i * WARPS) && !s.last) {
      const long long at = 2 * board.at(s.index, d, n);
      board.pairs[at] = all[i].product;
      board.pairs[at + 1] = all[i].sum;
    }
  }
  if (lane == 0 && !s.last) st_release(board.flag(0, s.index, d, warp), 1u);

  float start[STATES];
  look_back(start, board, initial, s, place, d, warp, lane);
  const bool corner = place % WINDOW == WINDOW - 1 && !s.last;
#pragma unroll
  for (int i = 0; i < STATES; ++i) {
    const int n = warp + i * WARPS;
    if (!exists(n)) continue;
    const float end = fmaf(all[i].product, start[i], all[i].sum);
    if (lane == 0 && corner) board.states[board.at(s.index, d, n)] = end;
    if (lane == 0 && s.last) last[board.at(s.row, d, n)] = end;
    const float own = fmaf(before[i].product, start[i], before[i].sum);
    float c[RUN];
    load(c, C + n * ROW + lane * (RUN + 4));
#pragma unroll
    for (int t = 0; t < RUN; ++t)
      y[t] = fmaf(c[t], fmaf(product[i][t], own, h[i][t]), y[t]);
  }
  if (lane == 0 && corner) st_release(board.flag(1, s.index, d, warp), 1u);
  store(sums + warp * ROW + lane * (RUN + 4), y);
}

extern "C" __global__ void __launch_bounds__(32 * WARPS, 2)
    scan_lookback(const IO* __restrict__ u, const IO* __restrict__ dt,
                  const IO* __restrict__ z, const IO* __restrict__ B,
                  const IO* __restrict__ C, const float* __restrict__ A,
                  const float* __restrict__ D, const float* __restrict__ bias,
                  const float* __restrict__ initial, const long long* segments,
                  const long long* first, IO* y, float* last, float* pairs,
                  float* states, unsigned* flags, unsigned* ticket, int groups,
                  int channels, int chunks, long long count, long long length,
                  long long u_batch, long long u_row, long long dt_batch,
                  long long dt_row, long long z_batch, long long z_row,
                  long long y_batch, long long y_row, long long B_batch,
                  long long B_token, long long B_group, long long C_batch,
                  long long C_token, long long C_group) {
  SSM_DYN_SMEM(float, base);
  float* const dt_rows = base;
  float* const u_rows = dt_rows + CHANNELS * ROW;
  float* const B_rows = u_rows + CHANNELS * ROW;
  float* const C_rows = B_rows + STATE * ROW;
  float* const sums = C_rows + STATE * ROW;
  unsigned* const own = reinterpret_cast<unsigned*>(sums + WARPS * ROW);

  if (threadIdx.x == 0) *own = atomicAdd(ticket, 1u);
  __syncthreads();
  const Segment s = find<CHANNELS, PACKED>(*own, segments, chunks, TOKENS, length,
                                           groups, channels / groups);
  const long long place = s.index - (PACKED ? first[s.row] : s.row * chunks);
  const int tokens = static_cast<int>(s.end - s.begin);
  const Board board = {pairs, states, flags, count, channels};
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;

  stage_rows(dt_rows, u_rows, dt, u, bias, s, tokens, dt_batch, dt_row, u_batch, u_row);
  stage_projection(B_rows, B + s.batch * B_batch + s.begin * B_token + s.group * B_group,
                   B_token, tokens);
  stage_projection(C_rows, C + s.batch * C_batch + s.begin * C_token + s.group * C_group,
                   C_token, tokens);
  __syncthreads();
  for (int c = 0; c < s.channels; ++c) {
    channel(sums, dt_rows + c * ROW, u_rows + c * ROW, B_rows, C_rows, A, board, initial,
            last, s, place, s.channel + c, warp, lane);
    __syncthreads();
    for (int t = threadIdx.x; t < TOKENS; t += THREADS) {
      float sum = 0.f;
#pragma unroll
      for (int w = 0; w < WARPS; ++w) sum += sums[w * ROW + padded(t)];
      dt_rows[c * ROW + padded(t)] = sum;
    }
    __syncthreads();
  }
  for (int v = threadIdx.x; v < VECTORS; v += THREADS) {
    const Place p(v, s, tokens);
    if (p.count == 0) continue;
    float out[VECTOR], gate[VECTOR];
    if (GATED) fetch<WHOLE>(gate, z + p.offset(s, z_batch, z_row), p.count);
#pragma unroll
    for (int i = 0; i < VECTOR; ++i) {
      const int d = s.channel + p.channel + (BY_TIME ? 0 : i);
      out[i] = dt_rows[p.in_rows(i)];
      if (SKIP && i < p.count) out[i] = fmaf(D[d], u_rows[p.in_rows(i)], out[i]);
      if (GATED) out[i] *= silu(gate[i]);
    }
    IO* const to = y + p.offset(s, y_batch, y_row);
    if (WHOLE)
      store(to, out);
    else
      store_some(to, out, p.count);
  }
}
