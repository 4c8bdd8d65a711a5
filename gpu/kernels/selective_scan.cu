// Mamba-1 selective scan, time-sequential. Golden: ssmref/golden/mamba1.py::selective_scan
//
//   dt[t] = softplus(dt[t] + bias)
//   h[t] = exp(dt[t] A) h[t-1] + dt[t] B[t] u[t]
//   y[t] = (C[t] h[t] + D u[t]) silu(z[t])
//
// scan_forward   y and the last state of every row
// scan_states    for rows cut into segments: what a segment adds to the state, and the
//                product of its decays; scan_carry (selective_scan_carry.cu) makes the
//                start states from them, then scan_forward runs all segments at once
//
// Who owns what. A block owns CHANNELS channels of one group and one segment of one row,
// and walks it in tiles of TILE tokens. LANES neighbouring lanes share ROWS channels;
// each keeps STATES states of each in registers. Blocks of the same segment follow each
// other, so that B and C come from L2.
//
// A tile: every thread copies its own 16-byte vectors of u, dt, z, B, C to shared memory
// while the tile before is computed (so no barrier guards these), makes dt, dt u, B and C
// float32 for all, walks the states, and leaves C h to the owner of the vector for skip
// and gate. Sums over lanes are transposed: 4 tokens in 3 shuffles for 4 lanes.
//
// Memory. Rows of u, dt, z, y are tokens of contiguous channels, or with BY_TIME channels
// of contiguous tokens; strides of batch and rows are free. B, C: states of a token and
// group are contiguous, other strides free; with FIXED_B, FIXED_C (channels, N). A
// (channels, N), D and bias (channels); states (segments, channels, N).
//
// Shared memory: `Shared` in selective_scan_tiles.cuh; its size is computed in
// _mamba1_operands.py.
//
// Macros: IO (u, dt, z, y) and BC (B, C): float, bf16, f16; STATE (N), PARTS (2: complex,
// as pairs of floats); STATES, LANES, ROWS, THREADS, TILE; BY_TIME, PACKED, FIXED_B,
// FIXED_C, SOFTPLUS, GATED, SKIP; WHOLE (vectors of u, dt, z, y are aligned and never
// ragged) and WHOLE_BC (those of B and C within a token and group).
#include "selective_scan_tiles.cuh"

constexpr int TOKENS = 4;  // of which sums over lanes are taken together
constexpr int UNROLL = PARTS * STATES * ROWS <= 4 ? 2 : 1;
// Warps that an SM has registers for: 32 of 64 registers (28 of 72 with two vectors of
// a thread), or 20 of 96 where rows are fewer (one channel for a lane), which leaves more
// instructions under way in each. Addresses of single numbers take more.
constexpr int WARPS_PER_SM =
    !(WHOLE && WHOLE_BC) ? (PARTS * STATES * ROWS > 4 ? 12 : 16)
                         : ROWS == 1 ? 20 : OWN > 1 ? 28 : 32;
constexpr int BLOCKS = PARTS * STATES * ROWS > 8 ? 1 : 32 * WARPS_PER_SM / THREADS;

// Sums over LANES lanes of TOKENS tokens: of y, lane q keeps those of tokens q, q +
// LANES, ... (with more lanes than tokens, the first TOKENS lanes).
constexpr int KEPT = LANES >= TOKENS ? 1 : TOKENS / LANES;

__device__ __forceinline__ void sum_over_lanes(float (&kept)[KEPT],
                                               const float (&y)[TOKENS], int q) {
  if constexpr (LANES == 1) {
#pragma unroll
    for (int j = 0; j < TOKENS; ++j) kept[j] = y[j];
  } else {
    float half[2];
#pragma unroll
    for (int j = 0; j < 2; ++j) {
      const float mine = q & 1 ? y[2 * j + 1] : y[2 * j];
      const float other = q & 1 ? y[2 * j] : y[2 * j + 1];
      half[j] = mine + __shfl_xor_sync(SSM_FULL, other, 1);
    }
    if constexpr (LANES == 2) {
      kept[0] = half[0], kept[1] = half[1];
    } else {
      const float mine = q & 2 ? half[1] : half[0];
      const float other = q & 2 ? half[0] : half[1];
      kept[0] = mine + __shfl_xor_sync(SSM_FULL, other, 2);
#pragma unroll
      for (int lane = 4; lane < LANES; lane *= 2)
        kept[0] += __shfl_xor_sync(SSM_FULL, kept[0], lane);
    }
  }
}

__device__ __forceinline__ void keep_sums(const Shared& s, int token, int channel,
                                          const float (&y)[TOKENS], int q) {
  float kept[KEPT];
  sum_over_lanes(kept, y, q);
#pragma unroll
  for (int k = 0; k < KEPT; ++k)
    if (LANES <= TOKENS || q < TOKENS)
      s.sums[(token + q + k * LANES) * SUM_STRIDE + channel] = kept[k];
}

// The states of this lane: of ROWS channels, STATES each from number q STATES on.
struct States {
  Value rate[ROWS][STATES], h[ROWS][STATES];
#if FIXED_B
  Value b[ROWS][STATES];
#endif
#if FIXED_C
  Value c[ROWS][STATES];
#endif
};

__device__ __forceinline__ bool exists(int channel, int n, const Segment& s) {
  return channel < s.channels && (PADDED == STATE || n < STATE);
}

__device__ __forceinline__ void start_states(States& x, const Segment& s,
                                             const float* A, const BC* B, const BC* C,
                                             const float* start, int channel, int q,
                                             int channels) {
#pragma unroll
  for (int r = 0; r < ROWS; ++r)
#pragma unroll
    for (int i = 0; i < STATES; ++i) {
      const int n = q * STATES + i;
      const bool real = exists(channel + r, n, s);
      const long long at = (s.channel + channel + r) * static_cast<long long>(STATE) + n;
      const long long all = static_cast<long long>(channels) * STATE;
      x.rate[r][i] = real ? number_at<PARTS>(A + at * PARTS).to_rate() : Value{};
      x.h[r][i] = real && start != nullptr
                      ? number_at<PARTS>(start + (s.index * all + at) * PARTS)
                      : Value{};
#if FIXED_B
      x.b[r][i] = real ? number_at<PARTS>(B + at * PARTS) : Value{};
#endif
#if FIXED_C
      x.c[r][i] = real ? number_at<PARTS>(C + at * PARTS) : Value{};
#endif
    }
}

__device__ __forceinline__ void store_states(float* to, long long index,
                                             const Value (&x)[ROWS][STATES],
                                             const Segment& s, int channel, int q,
                                             int channels) {
#pragma unroll
  for (int r = 0; r < ROWS; ++r)
#pragma unroll
    for (int i = 0; i < STATES; ++i) {
      const int n = q * STATES + i;
      if (!exists(channel + r, n, s)) continue;
      const long long row = index * channels + s.channel + channel + r;
      store_number<PARTS>(to + (row * STATE + n) * PARTS, x[r][i]);
    }
}

// TOKENS tokens from `token` on: states, and C h where READ.
template <bool READ>
__device__ __forceinline__ void walk(States& x, const Shared& s, int token, int channel,
                                     int q, float (&y)[ROWS][TOKENS],
                                     float (&elapsed)[ROWS],
                                     Value (&span)[ROWS][STATES]) {
#pragma unroll
  for (int j = 0; j < TOKENS; ++j) {
    float pairs[2 * ROWS];
    load(pairs, s.pairs + (token + j) * PAIR_STRIDE + 2 * channel);
    Value b[STATES], c[STATES];
    const int at = (token + j) * BC_STRIDE + q * STATES * PARTS;
    if (!FIXED_B) load_numbers(b, s.B + at);
    if (READ && !FIXED_C) load_numbers(c, s.C + at);
#pragma unroll
    for (int r = 0; r < ROWS; ++r) {
      const float dt = pairs[2 * r], drive = pairs[2 * r + 1];
      y[r][j] = 0.f;
      elapsed[r] += dt;
#pragma unroll
      for (int i = 0; i < STATES; ++i) {
        const Value decay = Value::decay(x.rate[r][i], dt);
#if FIXED_B
        b[i] = x.b[r][i];
#endif
#if FIXED_C
        c[i] = x.c[r][i];
#endif
        x.h[r][i].advance(decay, drive, b[i]);
        if (READ && (PADDED == STATE || q * STATES + i < STATE))
          y[r][j] = x.h[r][i].read(c[i], y[r][j]);
        if (!READ && PARTS == 2) span[r][i] = span[r][i].times(decay);
      }
    }
  }
}

__device__ __forceinline__ int tokens_of(long long left) {
  return left < TILE ? static_cast<int>(left) : TILE;
}

// All tokens of a segment. READ: y, else the product of decays in `span`.
template <bool READ>
__device__ __forceinline__ void run(Inputs& in, const Shared& s, const Segment& seg,
                                    States& x, IO* y, long long y_row, int channel,
                                    int q, Value (&span)[ROWS][STATES]) {
  float elapsed[ROWS] = {};
  long long left = seg.end - seg.begin;
  if (left > 0) copy_tile<READ>(s, seg, in, tokens_of(left));
  while (left > 0) {
    const int tokens = tokens_of(left);
    uint4 raw_u[OWN], raw_z[OWN];
    cp_async_wait<0>();
    spread_tile<READ>(s, seg, tokens, raw_u, raw_z);
    __syncthreads();
    left -= TILE;
    in.advance();
    if (left > 0) copy_tile<READ>(s, seg, in, tokens_of(left));
    float in_tile[ROWS] = {};
#pragma unroll 1
    for (int t = 0; t < tokens; t += TOKENS * UNROLL) {
#pragma unroll
      for (int k = 0; k < UNROLL; ++k) {
        float sums[ROWS][TOKENS];
        walk<READ>(x, s, t + k * TOKENS, channel, q, sums, in_tile, span);
        if (READ) {
#pragma unroll
          for (int r = 0; r < ROWS; ++r)
            keep_sums(s, t + k * TOKENS, channel + r, sums[r], q);
        }
      }
    }
#pragma unroll
    for (int r = 0; r < ROWS; ++r) elapsed[r] += in_tile[r];
    __syncthreads();
    if (!READ) continue;
#pragma unroll
    for (int k = 0; k < OWN; ++k) {
      const Place p = own_place(k);
      const int v = k * THREADS + threadIdx.x;
      const int count = v < VECTORS ? count_at(p, seg, tokens) : 0;
      if (count > 0) finish(y + k * STEP * y_row, s, p, count, raw_u[k], raw_z[k]);
    }
    y += tile_stride(y_row);
  }
  if constexpr (!READ && PARTS == 1) {
#pragma unroll
    for (int r = 0; r < ROWS; ++r)
#pragma unroll
      for (int i = 0; i < STATES; ++i)
        span[r][i] = Value::decay(x.rate[r][i], elapsed[r]);
  }
}

extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS)
    scan_forward(const IO* __restrict__ u, const IO* __restrict__ dt,
                 const IO* __restrict__ z, const BC* __restrict__ B,
                 const BC* __restrict__ C, const float* __restrict__ A,
                 const float* __restrict__ D, const float* __restrict__ bias,
                 const float* __restrict__ start, const long long* segments, IO* y,
                 float* last, int groups, int channels, int chunks, long long chunk,
                 long long length, long long u_batch, long long u_row,
                 long long dt_batch, long long dt_row, long long z_batch,
                 long long z_row, long long y_batch, long long y_row,
                 long long B_batch, long long B_token, long long B_group,
                 long long C_batch, long long C_token, long long C_group) {
  SSM_DYN_SMEM(unsigned char, base);
  const Shared s = carve(base);
  const Segment seg = find<CHANNELS, PACKED>(blockIdx.x, segments, chunks, chunk, length,
                                             groups, channels / groups);
  Inputs in = {Rows(u, u_batch, u_row, seg), Rows(dt, dt_batch, dt_row, seg),
               Rows(z, z_batch, z_row, seg),
               Projection(B, B_batch, B_token, B_group, seg),
               Projection(C, C_batch, C_token, C_group, seg)};
  const int q = threadIdx.x % LANES, channel = threadIdx.x / LANES * ROWS;
  stage_channels(s, seg, bias, D);
  States x;
  Value span[ROWS][STATES];
  start_states(x, seg, A, B, C, start, channel, q, channels);
  run<true>(in, s, seg, x, own_start(y, y_batch, y_row, seg), y_row, channel, q, span);
  if (seg.last) store_states(last, seg.row, x.h, seg, channel, q, channels);
}

extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS)
    scan_states(const IO* __restrict__ u, const IO* __restrict__ dt,
                const BC* __restrict__ B, const float* __restrict__ A,
                const float* __restrict__ bias, const long long* segments,
                float* added, float* spans, int groups, int channels, int chunks,
                long long chunk, long long length, long long u_batch, long long u_row,
                long long dt_batch, long long dt_row, long long B_batch,
                long long B_token, long long B_group) {
  SSM_DYN_SMEM(unsigned char, base);
  const Shared s = carve(base);
  const Segment seg = find<CHANNELS, PACKED>(blockIdx.x, segments, chunks, chunk, length,
                                             groups, channels / groups);
  if (seg.last) return;  // all threads of the block; nothing follows
  Inputs in = {Rows(u, u_batch, u_row, seg), Rows(dt, dt_batch, dt_row, seg),
               Rows(u, 0, 0, seg), Projection(B, B_batch, B_token, B_group, seg),
               Projection(B, 0, 0, 0, seg)};
  const int q = threadIdx.x % LANES, channel = threadIdx.x / LANES * ROWS;
  stage_channels(s, seg, bias, nullptr);
  States x;
  Value span[ROWS][STATES];
#pragma unroll
  for (int r = 0; r < ROWS; ++r)
#pragma unroll
    for (int i = 0; i < STATES; ++i) span[r][i] = Value{1.f};
  start_states(x, seg, A, B, B, nullptr, channel, q, channels);
  run<false>(in, s, seg, x, nullptr, 0, channel, q, span);
  store_states(added, seg.index, x.h, seg, channel, q, channels);
  store_states(spans, seg.index, span, seg, channel, q, channels);
}
