// A chunk of the scan of Mamba-2 (ssd_scan.cu, which explains it): from global to shared
// memory, and what its tokens weigh.
#pragma once
#include "activations.cuh"
#include "products.cuh"
#include "segments.cuh"
#include "sums.cuh"

constexpr int THREADS = 128, WARPS = THREADS / 32;
constexpr int WIDTH = 64, OWN = WIDTH / WARPS;  // columns of a block, and of a warp
constexpr int ROW_TILES = ROWS / 16;
constexpr int PER_LANE = ROWS > 32 ? ROWS / 32 : 1;  // tokens of a lane
// Rows of numbers, padded so that neither rows nor columns of a tile meet in a bank.
constexpr int KEY_STRIDE = STATE + 8;
constexpr int VALUE_STRIDE = WIDTH + 8;
constexpr int SCORE_STRIDE = ROWS + (WIDE ? 4 : 8);

// What the tokens of a chunk do, one number each: the sum of log2 of decays so far and
// what it lacks; the weight of the token, now and at the end of the chunk; the decay
// since the start. Of the whole chunk: its decay, and log2 of all since the segment began.
struct Weights {
  float *total, *rest, *step, *end, *decay, *whole;

  static constexpr int NUMBERS = 5 * ROWS + 4;
  __device__ __forceinline__ explicit Weights(float* p)
      : total(p), rest(total + ROWS), step(rest + ROWS), end(step + ROWS),
        decay(end + ROWS), whole(decay + ROWS) {}
};

// What the threads of a block share.
struct Desk {
  IO *keys, *queries;  // B and C: (ROWS, KEY_STRIDE)
  IO* scores;          // (ROWS, SCORE_STRIDE)
  IO *x, *z;           // (ROWS, VALUE_STRIDE); z is there only if there are gates
  float* weights;      // of this chunk and of the next, in turns
  float* skip;         // D: (WIDTH)
  // Where each warp's state goes, and the span: until then registers have better use.
  float** last;

  __device__ __forceinline__ explicit Desk(unsigned char* memory) {
    weights = reinterpret_cast<float*>(memory);
    skip = weights + 2 * Weights::NUMBERS;
    last = reinterpret_cast<float**>(skip + WIDTH);
    keys = reinterpret_cast<IO*>(last + WARPS + 2);
    queries = keys + ROWS * KEY_STRIDE, scores = queries + ROWS * KEY_STRIDE;
    x = scores + ROWS * SCORE_STRIDE, z = x + ROWS * VALUE_STRIDE;
  }
  __device__ __forceinline__ Weights weighed(int turn) const {
    return Weights(weights + turn * Weights::NUMBERS);
  }
};

// What a thread reads of an array's part of a segment, from its first row of the next
// chunk on: `token` elements from row to row. Functions that read a chunk move it on.
struct Track {
  const IO* p;
  long long token;

  __device__ __forceinline__ Track(const IO* p, const Segment& s, long long batch,
                                   long long token, int row, long long within)
      : p(p ? p + s.batch * batch + (s.begin + row) * token + within : nullptr),
        token(token) {}
};

// Vectors of 16 bytes: in a row of B or C, and in a row of a warp's columns of x or z;
// how many rows of each threads bring at once, and of which each is the first.
constexpr int PER = per_vector<IO>();
constexpr int KEY_VECTORS = STATE / PER, KEYS_AT_ONCE = THREADS / KEY_VECTORS;
constexpr int VALUE_VECTORS = OWN / PER, VALUES_AT_ONCE = 32 / VALUE_VECTORS;

// Bring a vector of which the first `count` numbers exist; all else becomes 0.
__device__ __forceinline__ void bring(IO* to, const IO* p, int count, bool whole) {
  if (count <= 0) {
    *reinterpret_cast<uint4*>(to) = make_uint4(0, 0, 0, 0);
  } else if (whole) {
    cp_async16(to, p);
  } else {
#pragma unroll 1
    for (int k = 0; k < PER; ++k) to[k] = k < count ? p[k] : from_float<IO>(0.f);
  }
}

// Bring `tokens` rows of `size` numbers, of B or of C.
__device__ __forceinline__ void bring_rows(IO* to, Track& from, int tokens, int size,
                                           bool whole) {
  const int at = threadIdx.x % KEY_VECTORS * PER;
  const int first = threadIdx.x / KEY_VECTORS;
  const long long step = KEYS_AT_ONCE * from.token;
  to += first * KEY_STRIDE + at;
#pragma unroll 2
  for (int row = 0; row < ROWS; row += KEYS_AT_ONCE, from.p += step)
    bring(to + row * KEY_STRIDE, from.p, first + row < tokens ? size - at : 0, whole);
}

// Bring `tokens` rows of a warp's columns of x or z, of which `columns` exist.
__device__ __forceinline__ void bring_columns(IO* to, Track& from, int tokens,
                                              int columns, bool whole) {
  const int lane = threadIdx.x % 32, at = lane % VALUE_VECTORS * PER;
  const int first = lane / VALUE_VECTORS;
  const long long step = VALUES_AT_ONCE * from.token;
  to += first * VALUE_STRIDE + threadIdx.x / 32 * OWN + at;
#pragma unroll 2
  for (int row = 0; row < ROWS; row += VALUES_AT_ONCE, from.p += step)
    bring(to + row * VALUE_STRIDE, from.p, first + row < tokens ? columns - at : 0, whole);
}

// The steps of a head.
struct Pace {
  float A, bias, low, high;
  int with_softplus;

  __device__ __forceinline__ float step(float raw) const {
    float dt = raw + bias;
    if (with_softplus) dt = softplus(dt);
    return dt < low ? low : dt > high ? high : dt;  // NaN stays
  }
  // Beyond 2^-256 all is 0; infinite sums would have no differences.
  __device__ __forceinline__ float log_decay(float dt) const {
    const float log = dt * A * LOG2_E;
    return log < -256.f ? -256.f : log;
  }
};

// The tokens of a chunk that a lane of the weighing warp has: dt as it comes.
struct Raw {
  float dt[PER_LANE];

  __device__ __forceinline__ void take(Track& from, long long left) {
#pragma unroll
    for (int k = 0; k < PER_LANE; ++k) {
      const int t = 32 * k + threadIdx.x % 32;
      dt[k] = t < left ? to_float(from.p[32 * k * from.token]) : 0.f;
    }
    from.p += ROWS * from.token;
  }
};

// Weigh all tokens of a chunk, by one warp; those that do not exist do nothing. Log2 of
// decays `before` the chunk is added up.
__device__ __forceinline__ void weigh(const Weights& w, const Raw& raw, const Pace& pace,
                                      int tokens, float before) {
  const int lane = threadIdx.x % 32;
  Sum sums[PER_LANE], carried = {0.f, 0.f};
  float dt[PER_LANE];
#pragma unroll
  for (int k = 0; k < PER_LANE; ++k) {
    const bool there = 32 * k + lane < tokens;
    dt[k] = there ? pace.step(raw.dt[k]) : 0.f;
    Sum sum = {there ? pace.log_decay(dt[k]) : 0.f, 0.f};
#pragma unroll
    for (int by = 1; by < 32; by *= 2) {
      const Sum earlier = sum.from(by);
      if (lane >= by) sum = earlier.plus(sum);
    }
    sums[k] = carried.plus(sum);
    carried = {__shfl_sync(SSM_FULL, sums[k].high, 31),
               __shfl_sync(SSM_FULL, sums[k].low, 31)};
  }
#pragma unroll
  for (int k = 0; k < PER_LANE; ++k) {
    const int t = 32 * k + lane;
    if (t >= ROWS) continue;
    const float left = (carried.high - sums[k].high) + (carried.low - sums[k].low);
    w.total[t] = sums[k].high;
    w.rest[t] = sums[k].low;
    w.step[t] = dt[k];
    w.end[t] = dt[k] * ex2(left);
    w.decay[t] = ex2(sums[k].high + sums[k].low);
  }
  if (lane == 0) {
    w.whole[0] = ex2(carried.high + carried.low);
    w.whole[1] = before + (carried.high + carried.low);
  }
}
