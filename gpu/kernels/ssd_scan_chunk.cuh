// A chunk of the scan of Mamba-2 (ssd_scan.cu, which explains it): from global to shared
// memory, and what its tokens weigh.
#pragma once
#include "activations.cuh"
#include "products.cuh"
#include "segments.cuh"
#include "sums.cuh"

constexpr int THREADS = 128, WARPS = THREADS / 32;
// Columns of a head that a block has, and a warp of it; warps that share a head.
constexpr int WIDTH = 64, OWN = WIDTH / WARPS * HEADS, SHARERS = WARPS / HEADS;
constexpr int ROW_TILES = ROWS / 16, COLUMN_TILES = OWN / 16;
constexpr int PER_LANE = ROWS > 32 ? ROWS / 32 : 1;  // tokens of a lane
// Rows of numbers, padded so that neither rows nor columns of a tile meet in a bank.
constexpr int KEY_STRIDE = STATE + 8;
constexpr int VALUE_STRIDE = WIDTH + 8;
constexpr int SCORE_STRIDE = ROWS + (WIDE ? 4 : 8);

// What the tokens of a chunk do, one number each: the sum of log2 of decays so far and
// what it lacks; the weight of the token, now and at the end of the chunk; the decay
// since the start. Of the whole chunk: its decay.
struct Weights {
  float *total, *rest, *step, *end, *decay, *whole;

  static constexpr int NUMBERS = 5 * ROWS + 4;
  __device__ __forceinline__ explicit Weights(float* p)
      : total(p), rest(total + ROWS), step(rest + ROWS), end(step + ROWS),
        decay(end + ROWS), whole(decay + ROWS) {}
};

// Arrays that a thread reads or writes, chunk by chunk.
enum { OF_X, OF_DT, OF_B, OF_C, OF_Z, OF_Y, TRACKS };

// The steps of a head, and the sum of log2 of decays since the segment began.
struct Pace {
  float A, bias, low, high;
  int with_softplus;
  float spent;

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

// Where a warp's state goes, and the span of its head; columns of the warp that exist,
// tokens of the last chunk, and whether numbers of a chunk had no room in float16.
struct Ending {
  float *state, *span;
  int columns;
  short tokens, lost;
};

// What the threads of a block share: also what registers have better use for.
struct Desk {
  IO *keys, *queries;  // B and C: (ROWS, KEY_STRIDE)
  IO* scores;          // (HEADS, ROWS, SCORE_STRIDE)
  // (HEADS, ROWS, VALUE_STRIDE) of this chunk and of the next, in turns; z is there only
  // if there are gates.
  IO *x, *z;
  float* weights;  // of this chunk and of the next, in turns
  float* skip;     // D: (HEADS, WIDTH)
  Pace* paces;     // (HEADS)
  // What becomes of each warp in the end, and where each thread is in arrays (Track).
  Ending* endings;
  long long* tracks;

  __device__ __forceinline__ explicit Desk(unsigned char* memory) {
    weights = reinterpret_cast<float*>(memory);
    skip = weights + 2 * HEADS * Weights::NUMBERS;
    paces = reinterpret_cast<Pace*>(skip + HEADS * WIDTH);
    endings = reinterpret_cast<Ending*>(paces + 2);
    tracks = reinterpret_cast<long long*>(endings + WARPS);
    keys = reinterpret_cast<IO*>(tracks + TRACKS * THREADS);
    queries = keys + ROWS * KEY_STRIDE, scores = queries + ROWS * KEY_STRIDE;
    x = scores + HEADS * ROWS * SCORE_STRIDE, z = x + 2 * HEADS * ROWS * VALUE_STRIDE;
  }
  __device__ __forceinline__ Weights weighed(int turn, int head) const {
    return Weights(weights + (turn * HEADS + head) * Weights::NUMBERS);
  }
  // The first of a warp's columns, of x or z.
  __device__ __forceinline__ static IO* columns(IO* values, int turn) {
    const int warp = threadIdx.x / 32, row = (turn * HEADS + warp / SHARERS) * ROWS;
    return values + row * VALUE_STRIDE + warp % SHARERS * OWN;
  }
};

// What a thread has of an array's part of a segment, from its first row on: `token`
// elements from row to row.
template <class T>
struct Track {
  T* array;
  long long* at;
  long long token;

  __device__ __forceinline__ Track(const Desk& desk, int which, T* array,
                                   const Segment& s, long long batch, long long token,
                                   int row, long long within)
      : array(array), at(desk.tracks + which * THREADS + threadIdx.x), token(token) {
    *at = s.batch * batch + (s.begin + row) * token + within;
  }
  // Its first row of the next chunk.
  __device__ __forceinline__ T* next() const {
    const long long now = *at;
    *at = now + ROWS * token;
    return array + now;
  }
};
using Source = Track<const IO>;

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

// Bring `tokens` rows of a chunk, AT_ONCE a time, of which a thread begins with row
// `first`: of its vector exist `count` numbers.
template <int AT_ONCE, int STRIDE>
__device__ __forceinline__ void bring_rows(IO* to, const Source& from, int first,
                                           int tokens, int count, bool whole) {
  if (AT_ONCE > ROWS && first >= ROWS) return;
  const IO* p = from.next();
  if (whole && tokens == ROWS && count > 0) {
#pragma unroll
    for (int row = 0; row < ROWS; row += AT_ONCE, p += AT_ONCE * from.token)
      cp_async16(to + row * STRIDE, p);
  } else {
#pragma unroll 1
    for (int row = 0; row < ROWS; row += AT_ONCE, p += AT_ONCE * from.token)
      bring(to + row * STRIDE, p, first + row < tokens ? count : 0, whole);
  }
}

// Bring rows of `size` numbers, of B or of C.
__device__ __forceinline__ void bring_keys(IO* to, const Source& from, int tokens, int size,
                                           bool whole) {
  const int at = threadIdx.x % KEY_VECTORS * PER, first = threadIdx.x / KEY_VECTORS;
  bring_rows<KEYS_AT_ONCE, KEY_STRIDE>(to + first * KEY_STRIDE + at, from, first, tokens,
                                       size - at, whole);
}

// Bring rows of a warp's columns of x or z, of which `columns` exist.
__device__ __forceinline__ void bring_values(IO* to, const Source& from, int tokens,
                                             int columns, bool whole) {
  const int lane = threadIdx.x % 32, at = lane % VALUE_VECTORS * PER;
  const int first = lane / VALUE_VECTORS;
  bring_rows<VALUES_AT_ONCE, VALUE_STRIDE>(to + first * VALUE_STRIDE + at, from, first,
                                           tokens, columns - at, whole);
}

// The tokens of a chunk that a lane of the weighing warp has: dt as it comes.
struct Raw {
  float dt[HEADS][PER_LANE];

  __device__ __forceinline__ void take(const Source& from, int tokens) {
    const IO* const p = from.next();
#pragma unroll
    for (int k = 0; k < PER_LANE; ++k)
#pragma unroll
      for (int head = 0; head < HEADS; ++head) {
        const int t = 32 * k + threadIdx.x % 32;
        dt[head][k] = t < tokens ? to_float(p[32 * k * from.token + head]) : 0.f;
      }
  }
};

// Weigh all tokens of a chunk of a head, by one warp; those that do not exist do nothing.
__device__ __forceinline__ void weigh(const Weights& w, const float (&raw)[PER_LANE],
                                      Pace& pace, int tokens) {
  const int lane = threadIdx.x % 32;
  Sum sums[PER_LANE], carried = {0.f, 0.f};
  float dt[PER_LANE];
#pragma unroll
  for (int k = 0; k < PER_LANE; ++k) {
    const bool there = 32 * k + lane < tokens;
    dt[k] = there ? pace.step(raw[k]) : 0.f;
    Sum sum = {there ? pace.log_decay(dt[k]) : 0.f, 0.f};
#pragma unroll
    for (int by = 1; by < 32; by *= 2) {
      const Sum earlier = sum.from(by);
      if (lane >= by) sum = earlier.plus(sum);
    }
    sums[k] = k ? carried.plus(sum) : sum;
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
    *w.whole = ex2(carried.high + carried.low);
    pace.spent += carried.high + carried.low;
  }
}
