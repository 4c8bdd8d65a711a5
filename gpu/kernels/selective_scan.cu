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
// Macros: IO (u, dt, z, y) and BC (B, C): float, bf16, f16; STATE (N), PARTS (2: complex), STATES,
// LANES, ROWS, THREADS, TILE; BY_TIME, PACKED, FIXED_B, FIXED_C, SOFTPLUS, GATED, SKIP;
// WHOLE (vectors of u, dt, z, y are aligned and never ragged) and WHOLE_BC.
#include "selective_scan_segments.cuh"

using Value = Number<PARTS>;

constexpr int CHANNELS = THREADS / LANES * ROWS;
constexpr int PADDED = STATES * LANES;  // STATE, rounded up
constexpr int VECTOR = per_vector<IO>();
constexpr int VECTORS = TILE * CHANNELS / VECTOR;
constexpr int OWN = (VECTORS + THREADS - 1) / THREADS;
constexpr int UNIT = WHOLE_BC ? per_vector<BC>() : 1;
constexpr int UNITS = TILE * STATE * PARTS / UNIT;
constexpr int TOKENS = 4;  // of which sums over lanes are taken together
constexpr int UNROLL = PARTS * STATES * ROWS <= 8 ? 2 : 1;
// Blocks that an SM has to have room for: 28 warps of 72 registers.
constexpr int BLOCKS = PARTS * STATES * ROWS <= 4 ? 896 / THREADS : 1;

// Strides in floats, padded so that neither reading by token nor writing by vector
// meets in a bank.
constexpr int PAIR_STRIDE = 2 * CHANNELS + (BY_TIME ? 2 * ROWS : 0);
constexpr int SUM_STRIDE = CHANNELS + (BY_TIME ? 9 : 8);
constexpr int BC_STRIDE = PADDED * PARTS;

static_assert(PADDED >= STATE && CHANNELS % 8 == 0 && TILE % 8 == 0, "sizes");
static_assert(!WHOLE_BC || STATE * PARTS % UNIT == 0, "vectors of B and C within a token");

struct Shared {
  uint4* dt;  // slots of vectors: VECTORS each
  uint4* u;
  uint4* z;
  BC* b;  // slots of units: TILE * STATE * PARTS numbers each
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
  s.c = s.b + (FIXED_B ? 0 : TILE * STATE * PARTS);
  return s;
}

// Where the first vector of this thread lies in a tile; its k-th is k STEPs further, in
// tokens (or in channels, BY_TIME).
struct Place {
  int token, channel;
};

constexpr int PER_ROW = (BY_TIME ? TILE : CHANNELS) / VECTOR;
constexpr int STEP = THREADS / PER_ROW;
static_assert(THREADS % PER_ROW == 0, "a thread's vectors lie below each other");

__device__ __forceinline__ Place own_place(int k) {
  const int row = threadIdx.x / PER_ROW + k * STEP;
  const int within = threadIdx.x % PER_ROW * VECTOR;
  return BY_TIME ? Place{within, row} : Place{row, within};
}

// How many numbers of a vector exist in a tile of `tokens` tokens.
__device__ __forceinline__ int count_at(const Place& p, const Segment& s, int tokens) {
  const int rows = BY_TIME ? s.channels - p.channel : tokens - p.token;
  const int numbers = BY_TIME ? tokens - p.token : s.channels - p.channel;
  return rows > 0 ? max(0, min(VECTOR, numbers)) : 0;
}

// The first vector of this thread in the segment's first tile.
template <class T>
__device__ __forceinline__ T* own_start(T* p, long long batch, long long row,
                                        const Segment& s) {
  const Place own = own_place(0);
  const long long t = s.begin + own.token, d = s.channel + own.channel;
  return p + s.batch * batch + (BY_TIME ? d * row + t : t * row + d);
}

__device__ __forceinline__ long long tile_stride(long long row) {
  return BY_TIME ? TILE : TILE * row;
}

__device__ __forceinline__ void copy(uint4* slot, const IO* from, int count) {
  if (WHOLE) {
    cp_async16(slot, from);
  } else {
    IO* const to = reinterpret_cast<IO*>(slot);
#pragma unroll
    for (int i = 0; i < VECTOR; ++i)
      if (i < count) to[i] = from[i];
  }
}

// Units of B and C: the first UNITS are those of B, unless it is fixed.
constexpr int KINDS = (FIXED_B ? 0 : 1) + (FIXED_C ? 0 : 1);

template <bool READ>
struct Units {
  static constexpr int COUNT = UNITS * (READ ? KINDS : FIXED_B ? 0 : 1);
  static constexpr int OWN = (COUNT + THREADS - 1) / THREADS;

  int unit, first, token, number;
  bool of_c, some;

  __device__ __forceinline__ explicit Units(int k) {
    unit = k * THREADS + threadIdx.x;
    some = unit < COUNT;
    of_c = FIXED_B || unit >= UNITS;
    first = (unit - (of_c && !FIXED_B ? UNITS : 0)) * UNIT;
    token = first / (STATE * PARTS);
    number = first - token * STATE * PARTS;
  }
};

// A vector out of its slot.
__device__ __forceinline__ void take(float (&x)[VECTOR], const uint4& slot) {
  load(x, reinterpret_cast<const IO*>(&slot));
}

// dt and dt u of one vector, for all threads. A token or channel that does not exist
// has step 0: decay 1, no drive.
__device__ __forceinline__ void spread_steps(const Shared& s, const Place& p, int count,
                                             const uint4& raw_dt, const uint4& raw_u) {
  float pairs[2 * VECTOR] = {};
  if (count > 0) {
    float dt[VECTOR], u[VECTOR];
    take(dt, raw_dt);
    take(u, raw_u);
#pragma unroll
    for (int i = 0; i < VECTOR; ++i) {
      float step = dt[i] + s.bias[p.channel + (BY_TIME ? 0 : i)];
      if (SOFTPLUS) step = softplus(step);
      if (WHOLE || i < count) pairs[2 * i] = step, pairs[2 * i + 1] = step * u[i];
    }
  }
  float* const to = s.pairs + p.token * PAIR_STRIDE + 2 * p.channel;
  if (BY_TIME) {
#pragma unroll
    for (int i = 0; i < VECTOR; ++i) {
      const float pair[2] = {pairs[2 * i], pairs[2 * i + 1]};
      store(to + i * PAIR_STRIDE, pair);
    }
  } else {
    store(to, pairs);
  }
}

// y of one vector from C h, u and z.
__device__ __forceinline__ void finish(IO* y, const Shared& s, const Place& p,
                                       int count, const uint4& raw_u,
                                       const uint4& raw_z) {
  float u[VECTOR], z[VECTOR], out[VECTOR];
  take(u, raw_u);
  if (GATED) take(z, raw_z);
  const float* const sums = s.sums + p.token * SUM_STRIDE + p.channel;
  if (BY_TIME) {
#pragma unroll
    for (int i = 0; i < VECTOR; ++i) out[i] = sums[i * SUM_STRIDE];
  } else {
    load(out, sums);
  }
#pragma unroll
  for (int i = 0; i < VECTOR; ++i) {
    out[i] = output<PARTS>(out[i]);
    if (SKIP) out[i] = fmaf(s.D[p.channel + (BY_TIME ? 0 : i)], u[i], out[i]);
    if (GATED) out[i] *= silu(z[i]);
  }
  if (WHOLE)
    store(y, out);
  else
    store_some(y, out, count);
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

// This thread's vectors of what comes per token, in the current tile.
struct Rows {
  const IO* p;
  long long row;

  __device__ __forceinline__ Rows(const IO* start, long long batch, long long row,
                                  const Segment& s)
      : p(own_start(start, batch, row, s)), row(row) {}
  __device__ __forceinline__ const IO* vector(int k) const { return p + k * STEP * row; }
  __device__ __forceinline__ void advance() { p += tile_stride(row); }
};

// B or C of the current tile, from this block's group on.
struct Projection {
  const BC* p;
  long long token;

  __device__ __forceinline__ Projection(const BC* start, long long batch,
                                        long long token, long long group,
                                        const Segment& s)
      : p(start + s.batch * batch + s.begin * token + s.group * group), token(token) {}
  __device__ __forceinline__ void advance() { p += TILE * token; }
};

struct Inputs {
  Rows u, dt, z;
  Projection B, C;

  __device__ __forceinline__ void advance() {
    u.advance(), dt.advance(), z.advance(), B.advance(), C.advance();
  }
};

// Issues the copies of a tile of `tokens` tokens.
template <bool READ>
__device__ __forceinline__ void copy_tile(const Shared& s, const Segment& seg,
                                          const Inputs& in, int tokens) {
#pragma unroll
  for (int k = 0; k < OWN; ++k) {
    const int v = k * THREADS + threadIdx.x;
    const int count = v < VECTORS ? count_at(own_place(k), seg, tokens) : 0;
    if (count == 0) continue;
    copy(s.dt + v, in.dt.vector(k), count);
    copy(s.u + v, in.u.vector(k), count);
    if (READ && GATED) copy(s.z + v, in.z.vector(k), count);
  }
#pragma unroll
  for (int k = 0; k < Units<READ>::OWN; ++k) {
    const Units<READ> x(k);
    if (!x.some || x.token >= tokens) continue;
    const Projection& from = x.of_c ? in.C : in.B;
    const BC* const p = from.p + x.token * from.token + x.number;
    BC* const slot = (x.of_c ? s.c : s.b) + x.first;
    if (WHOLE_BC)
      cp_async16(slot, p);
    else
      *slot = *p;
  }
  cp_async_commit();
}

// Makes this thread's numbers of a tile float32 for all threads.
template <bool READ>
__device__ __forceinline__ void spread_tile(const Shared& s, const Segment& seg,
                                            int tokens, uint4 (&raw_u)[OWN],
                                            uint4 (&raw_z)[OWN]) {
#pragma unroll
  for (int k = 0; k < OWN; ++k) {
    const int v = k * THREADS + threadIdx.x;
    if (v >= VECTORS) continue;
    const Place p = own_place(k);
    raw_u[k] = s.u[v];
    if (READ && GATED) raw_z[k] = s.z[v];
    spread_steps(s, p, count_at(p, seg, tokens), s.dt[v], raw_u[k]);
  }
#pragma unroll
  for (int k = 0; k < Units<READ>::OWN; ++k) {
    const Units<READ> x(k);
    if (!x.some) continue;
    const BC* const slot = (x.of_c ? s.c : s.b) + x.first;
    float* const to = (x.of_c ? s.C : s.B) + x.token * BC_STRIDE + x.number;
    float numbers[UNIT] = {};
    if (x.token < tokens) {
      if constexpr (WHOLE_BC)
        load(numbers, slot);
      else
        numbers[0] = to_float(*slot);
    }
    if constexpr (WHOLE_BC && BC_STRIDE % 4 == 0) {
      store(to, numbers);
    } else {
#pragma unroll
      for (int i = 0; i < UNIT; ++i) to[i] = numbers[i];
    }
  }
}

// The channels of the block: bias and skip, in shared memory; seen after a barrier.
__device__ __forceinline__ void stage_channels(const Shared& s, const Segment& seg,
                                               const float* bias, const float* D) {
  for (int c = threadIdx.x; c < CHANNELS; c += THREADS) {
    const bool real = c < seg.channels;
    s.bias[c] = real && bias != nullptr ? bias[seg.channel + c] : 0.f;
    s.D[c] = SKIP && real && D != nullptr ? D[seg.channel + c] : 0.f;
  }
  __syncthreads();
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
  if (READ || PARTS == 2) return;
#pragma unroll
  for (int r = 0; r < ROWS; ++r)
#pragma unroll
    for (int i = 0; i < STATES; ++i)
      span[r][i] = Value::decay(x.rate[r][i], elapsed[r]);
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
