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
// of contiguous tokens; batch and row strides are free. B, C: a token's groups and states
// are contiguous; with FIXED_B, FIXED_C (channels, N). A (channels, N), D and bias
// (channels); states (segments, channels, N). With PACKED, segments is rows of (row,
// begin, end, last); else row r is batch r, cut every `chunk` tokens.
//
// Shared memory (bytes()): private slots, then dt and dt u, C h, B, C, bias, D.
//
// Macros: IO (u, dt, z, y) and BC (B, C): float, bf16, f16; N, PARTS (2: complex), STATES,
// LANES, ROWS, THREADS, TILE; BY_TIME, PACKED, FIXED_B, FIXED_C, SOFTPLUS, GATED, SKIP;
// WHOLE (vectors of u, dt, z, y are aligned and never ragged) and WHOLE_BC.
#include "selective_scan.cuh"

using Value = Number<PARTS>;

constexpr int CHANNELS = THREADS / LANES * ROWS;
constexpr int PADDED = STATES * LANES;  // N, rounded up
constexpr int VECTOR = per_vector<IO>();
constexpr int VECTORS = TILE * CHANNELS / VECTOR;
constexpr int OWN = (VECTORS + THREADS - 1) / THREADS;
constexpr int UNIT = WHOLE_BC ? per_vector<BC>() : 1;
constexpr int UNITS = TILE * N * PARTS / UNIT;
constexpr int OWN_UNITS = (UNITS + THREADS - 1) / THREADS;
constexpr int TOKENS = 4;  // of which sums over lanes are taken together

// Strides in floats, padded so that neither reading by token nor writing by vector
// meets in a bank.
constexpr int PAIR_STRIDE = 2 * CHANNELS + (BY_TIME ? 2 * ROWS : 0);
constexpr int SUM_STRIDE = CHANNELS + 8;
constexpr int BC_STRIDE = PADDED * PARTS;

static_assert(PADDED >= N && CHANNELS % 8 == 0 && TILE % 8 == 0, "sizes");
static_assert(!WHOLE_BC || N * PARTS % UNIT == 0, "vectors of B and C within a token");

struct Shared {
  uint4* dt;  // slots of vectors: VECTORS each
  uint4* u;
  uint4* z;
  BC* b;  // slots of units: TILE * N * PARTS numbers each
  BC* c;
  float* pairs;  // (TILE, CHANNELS, 2): dt, dt u
  float* sums;   // (TILE, CHANNELS): C h
  float* B;      // (TILE, PADDED, PARTS)
  float* C;
  float* bias;  // (CHANNELS)
  float* D;
};

__device__ __forceinline__ Shared carve(unsigned char* base) {
  Shared s;
  s.dt = reinterpret_cast<uint4*>(base);
  s.u = s.dt + VECTORS;
  s.z = s.u + VECTORS;
  s.pairs = reinterpret_cast<float*>(s.z + (GATED ? VECTORS : 0));
  s.B = s.pairs + TILE * PAIR_STRIDE;
  s.C = s.B + (FIXED_B ? 0 : TILE * BC_STRIDE);
  s.sums = s.C + (FIXED_C ? 0 : TILE * BC_STRIDE);
  s.bias = s.sums + TILE * SUM_STRIDE;
  s.D = s.bias + CHANNELS;
  s.b = reinterpret_cast<BC*>(s.D + CHANNELS);
  s.c = s.b + (FIXED_B ? 0 : TILE * N * PARTS);
  return s;
}

// The stretch of time and the channels that a block owns.
struct Segment {
  long long index, row, batch, begin, end;
  int group, channel, channels;
  bool last;
};

__device__ __forceinline__ Segment find(const long long* segments, int chunks,
                                        long long chunk, long long length, int groups,
                                        int channels_per_group) {
  const int tiles = (channels_per_group + CHANNELS - 1) / CHANNELS;
  const unsigned per_segment = static_cast<unsigned>(tiles) * groups;
  const unsigned index = blockIdx.x / per_segment;
  const int tile = static_cast<int>(blockIdx.x - index * per_segment);
  Segment s;
  s.index = index;
  s.group = tile / tiles;
  const int first = (tile - s.group * tiles) * CHANNELS;
  s.channel = s.group * channels_per_group + first;
  s.channels = min(CHANNELS, channels_per_group - first);
#if PACKED
  s.row = segments[4 * s.index];
  s.batch = 0;
  s.begin = segments[4 * s.index + 1];
  s.end = segments[4 * s.index + 2];
  s.last = segments[4 * s.index + 3] != 0;
#else
  s.row = s.batch = index / chunks;
  const unsigned c = index - static_cast<unsigned>(s.row) * chunks;
  s.begin = c * chunk;
  s.end = min(s.begin + chunk, length);
  s.last = c + 1 == chunks;
#endif
  return s;
}

// Where vector `own` of this thread lies in a tile, and how many of its numbers exist.
struct Place {
  int token, channel, count;
};

__device__ __forceinline__ Place place(int own, const Segment& s, int tokens) {
  const int v = own * THREADS + threadIdx.x;
  Place p;
  if (BY_TIME) {
    p.channel = v / (TILE / VECTOR);
    p.token = v % (TILE / VECTOR) * VECTOR;
    p.count = p.channel < s.channels ? tokens - p.token : 0;
  } else {
    p.token = v / (CHANNELS / VECTOR);
    p.channel = v % (CHANNELS / VECTOR) * VECTOR;
    p.count = p.token < tokens ? s.channels - p.channel : 0;
  }
  p.count = v < VECTORS ? max(0, min(VECTOR, p.count)) : 0;
  return p;
}

// Start of a vector in global memory; `stride` is that of rows.
__device__ __forceinline__ long long offset(const Place& p, const Segment& s,
                                            long long time, long long batch_stride,
                                            long long stride) {
  const long long t = time + p.token, d = s.channel + p.channel;
  return s.batch * batch_stride + (BY_TIME ? d * stride + t : t * stride + d);
}

__device__ __forceinline__ void copy(uint4* slot, const IO* from, int count) {
  if (WHOLE) {
    if (count > 0) cp_async16(slot, from);
  } else {
    IO* const to = reinterpret_cast<IO*>(slot);
#pragma unroll
    for (int i = 0; i < VECTOR; ++i)
      if (i < count) to[i] = from[i];
  }
}

__device__ __forceinline__ void copy_unit(BC* slot, const BC* from) {
  if (WHOLE_BC)
    cp_async16(slot, from);
  else
    *slot = *from;
}

// Copies this thread's units of B or C of a tile into its slots.
__device__ __forceinline__ void copy_units(BC* slots, const BC* from, long long stride,
                                           int tokens) {
#pragma unroll
  for (int k = 0; k < OWN_UNITS; ++k) {
    const int unit = k * THREADS + threadIdx.x, first = unit * UNIT;
    const int token = first / (N * PARTS);
    if (unit < UNITS && token < tokens)
      copy_unit(slots + first, from + token * stride + (first - token * N * PARTS));
  }
}

// Makes this thread's units float32 for all threads; tokens beyond the end are 0.
__device__ __forceinline__ void spread_units(float* to, const BC* slots, int tokens) {
#pragma unroll
  for (int k = 0; k < OWN_UNITS; ++k) {
    const int unit = k * THREADS + threadIdx.x, first = unit * UNIT;
    const int token = first / (N * PARTS), n = first - token * N * PARTS;
    if (unit >= UNITS) continue;
#pragma unroll
    for (int i = 0; i < UNIT; ++i)
      to[token * BC_STRIDE + n + i] = token < tokens ? to_float(slots[first + i]) : 0.f;
  }
}

// A vector out of its slot; numbers that do not exist are 0.
__device__ __forceinline__ void take(float (&x)[VECTOR], const uint4& slot, int count) {
  load(x, reinterpret_cast<const IO*>(&slot));
#pragma unroll
  for (int i = 0; i < VECTOR; ++i)
    if (i >= count) x[i] = 0.f;
}

// dt and dt u of one vector, for all threads. A token or channel that does not exist
// has step 0: decay 1, no drive.
__device__ __forceinline__ void spread_steps(const Shared& s, const Place& p,
                                             const uint4& raw_dt, const uint4& raw_u) {
  float dt[VECTOR], u[VECTOR];
  take(dt, raw_dt, p.count);
  take(u, raw_u, p.count);
#pragma unroll
  for (int i = 0; i < VECTOR; ++i) {
    const int token = p.token + (BY_TIME ? i : 0);
    const int channel = p.channel + (BY_TIME ? 0 : i);
    float step = dt[i] + s.bias[channel];
    if (SOFTPLUS) step = softplus(step);
    if (i >= p.count) step = 0.f;
    float* const pair = s.pairs + token * PAIR_STRIDE + 2 * channel;
    pair[0] = step;
    pair[1] = step * u[i];
  }
}

// y of one vector from C h, u and z.
__device__ __forceinline__ void finish(IO* y, const Shared& s, const Place& p,
                                       const uint4& raw_u, const uint4& raw_z) {
  float u[VECTOR], z[VECTOR], out[VECTOR];
  take(u, raw_u, p.count);
  if (GATED) take(z, raw_z, p.count);
#pragma unroll
  for (int i = 0; i < VECTOR; ++i) {
    const int token = p.token + (BY_TIME ? i : 0);
    const int channel = p.channel + (BY_TIME ? 0 : i);
    out[i] = output<PARTS>(s.sums[token * SUM_STRIDE + channel]);
    if (SKIP) out[i] = fmaf(s.D[channel], u[i], out[i]);
    if (GATED) out[i] *= silu(z[i]);
  }
  if (WHOLE) {
    if (p.count > 0) store(y, out);
  } else {
    store_some(y, out, p.count);
  }
}

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
  return channel < s.channels && (PADDED == N || n < N);
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
      const long long at = (s.channel + channel + r) * static_cast<long long>(N) + n;
      const long long all = static_cast<long long>(channels) * N;
      x.rate[r][i] = real ? Value::rate(A + at * PARTS) : Value{};
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
      store_number<PARTS>(to + (row * N + n) * PARTS, x[r][i]);
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
        if (READ) y[r][j] = x.h[r][i].read(c[i], y[r][j]);
        if (!READ && PARTS == 2) span[r][i] = span[r][i].times(decay);
      }
    }
  }
}

// Issues the copies of the tile that starts at `time`.
template <bool READ>
__device__ __forceinline__ void copy_tile(const Shared& s, const Segment& seg,
                                          long long time, const IO* u, const IO* dt,
                                          const IO* z, const BC* B, const BC* C,
                                          long long u_batch, long long u_row,
                                          long long dt_batch, long long dt_row,
                                          long long z_batch, long long z_row,
                                          long long B_batch, long long B_token,
                                          long long C_batch, long long C_token) {
  const int tokens = static_cast<int>(min(static_cast<long long>(TILE), seg.end - time));
#pragma unroll
  for (int k = 0; k < OWN; ++k) {
    const Place p = place(k, seg, tokens);
    const int v = k * THREADS + threadIdx.x;
    if (p.count == 0) continue;
    copy(s.dt + v, dt + offset(p, seg, time, dt_batch, dt_row), p.count);
    copy(s.u + v, u + offset(p, seg, time, u_batch, u_row), p.count);
    if (READ && GATED) copy(s.z + v, z + offset(p, seg, time, z_batch, z_row), p.count);
  }
  const long long group = static_cast<long long>(seg.group) * N * PARTS;
  if (!FIXED_B)
    copy_units(s.b, B + seg.batch * B_batch + time * B_token + group, B_token, tokens);
  if (READ && !FIXED_C)
    copy_units(s.c, C + seg.batch * C_batch + time * C_token + group, C_token, tokens);
  cp_async_commit();
}
