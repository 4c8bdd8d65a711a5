// The tiles of the time-sequential scan (selective_scan.cu, which explains them): from
// global memory to float32 in shared memory, and y back.
#pragma once
#include "selective_scan_segments.cuh"

using Value = Number<PARTS>;

constexpr int CHANNELS = THREADS / LANES * ROWS;
constexpr int PADDED = STATES * LANES;  // STATE, rounded up
constexpr int VECTOR = per_vector<IO>();
constexpr int VECTORS = TILE * CHANNELS / VECTOR;
constexpr int OWN = (VECTORS + THREADS - 1) / THREADS;
constexpr int UNIT = WHOLE_BC ? per_vector<BC>() : 1;
constexpr int UNITS = TILE * STATE * PARTS / UNIT;

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
