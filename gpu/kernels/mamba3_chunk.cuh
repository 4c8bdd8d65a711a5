// The prologue of the scan of Mamba-3 (mamba3_scan.cu, which explains it): a chunk from
// global to shared memory, its weights, and its angles.
#pragma once
#include "products.cuh"
#include "mamba3_turns.cuh"
#include "sums.cuh"

constexpr int THREADS = 128, WARPS = THREADS / 32;
constexpr int WIDTH = 64;           // columns of headdim of a block
constexpr int ROW_TILES = ROWS / 16;
// Rows of numbers, padded so that neither rows nor columns of a tile meet in a bank.
constexpr int KEY_STRIDE = STATE + 8;
constexpr int VALUE_STRIDE = WIDTH + 8;
constexpr int SCORE_STRIDE = ROWS + (WIDE ? 4 : 8);
constexpr int OUT_STRIDE = WIDTH + 8;
constexpr int TOKENS = ROWS + 4;    // room for those of a chunk, and the one behind it

// Where a block reads and writes in global memory: x to z and y, raw from the first token
// of its segment on. All threads need the same addresses, and few at a time: registers
// are for sums.
struct Places {
  const IO *x, *dt, *A, *B, *C, *trap, *angles, *z;
  const float* norm_weight;
  IO* y;
  float* raw;
  // States after the sequence, and of the segment where there is no output.
  float *angle, *ssm, *k, *v, *span;
  // Units are two neighbouring pairs: those with a pair that turns, then the others, on
  // 2^log lanes each.
  int turned, turned_log, others, others_log;
};
constexpr int PLACES = sizeof(Places) / 4;  // in words
static_assert(PLACES % 4 == 0, "what follows is aligned");

// What the threads of a block share. Sizes that depend on the call come last.
struct Desk {
  IO *keys, *queries;   // (ROWS, KEY_STRIDE)
  // Per token: its step, log2 of its decay and the sum of these so far (a number and
  // what it lacks), its weight for itself, and that of the token before it.
  float *dt, *log_decay, *total, *rest, *now, *before;
  // Per row: the sum and its rest again; weights in scores, for the state, for itself; the
  // decay since the start of the chunk.
  float *row_total, *row_rest, *row_weight, *row_end, *row_now, *row_decay;
  int* token;           // of each row
  float *turned, *base; // per group of tokens and angle: sum within, sum before
  float* decay;         // of the chunk: as it is, and its log2
  Places* places;
  // One after the other in the same place: sums of turns (tokens, pairs); scores (ROWS,
  // SCORE_STRIDE) and values (ROWS, VALUE_STRIDE); outputs (ROWS, OUT_STRIDE).
  float *theta, *out;
  IO *scores, *values;
  float* bias;                         // (ranks, 2, STATE): of keys, of queries
  float *mix_x, *mix_z, *mix_o;        // (ranks, WIDTH)
  IO *x, *z;                           // (tokens of a chunk, VALUE_STRIDE)
  IO* angles;                          // (tokens of a chunk, pairs)

  __device__ __forceinline__ Desk(unsigned char* memory, int ranks, int tokens,
                                  int pairs) {
    keys = reinterpret_cast<IO*>(memory), queries = keys + ROWS * KEY_STRIDE;
    dt = reinterpret_cast<float*>(queries + ROWS * KEY_STRIDE);
    log_decay = dt + TOKENS, total = log_decay + TOKENS, rest = total + TOKENS;
    now = rest + TOKENS, before = now + TOKENS, row_total = before + TOKENS;
    row_rest = row_total + ROWS, row_weight = row_rest + ROWS;
    row_end = row_weight + ROWS, row_now = row_end + ROWS, row_decay = row_now + ROWS;
    token = reinterpret_cast<int*>(row_decay + ROWS);
    turned = reinterpret_cast<float*>(token + ROWS), base = turned + THREADS;
    decay = base + THREADS, places = reinterpret_cast<Places*>(decay + 4);
    theta = out = decay + 4 + PLACES;
    scores = reinterpret_cast<IO*>(out), values = scores + ROWS * SCORE_STRIDE;
    bias = out + max(PRODUCTS, (tokens * pairs + 3) / 4 * 4);
    mix_x = bias + 2 * ranks * STATE;
    mix_z = mix_x + ranks * WIDTH, mix_o = mix_z + ranks * WIDTH;
    x = reinterpret_cast<IO*>(mix_o + ranks * WIDTH), z = x + tokens * VALUE_STRIDE;
    angles = z + tokens * VALUE_STRIDE;
  }

  // Room for scores and values, or outputs, in words.
  static constexpr int SCORED = ROWS * (SCORE_STRIDE + VALUE_STRIDE) / (WIDE ? 1 : 2);
  static constexpr int PRODUCTS =
      SCORED > ROWS * OUT_STRIDE ? SCORED : ROWS * OUT_STRIDE;
};

// What stays the same from chunk to chunk.
struct Sizes {
  int ranks, tokens;     // of a chunk
  int size, pairs;       // of the state, and how many of its pairs are turned
  int width;             // of the block's part of headdim
  int shift;             // 2^shift tokens are a group in the sums of turns
  bool whole_keys, whole_values, whole_angles;  // rows are vectors of 16 bytes
};

// Rows that may be read, `step` elements apart.
struct Source {
  const IO* p;
  int step;
};

// Bring `rows` of `width` numbers; further ones, up to `most` rows of `padded` numbers,
// become 0. Vectors are asynchronous; a thread has those below each other.
__device__ __forceinline__ void bring(IO* to, int stride, const Source& from, int rows,
                                      int width, int most, int padded, bool whole) {
  constexpr int PER = per_vector<IO>();
  if (whole) {
    const int vectors = padded / PER, step = THREADS / vectors;
    const int first = static_cast<int>(threadIdx.x) / vectors;
    const int at = (threadIdx.x - first * vectors) * PER;
    if (first >= step) return;
    IO* slot = to + first * stride + at;
    const IO* p = from.p + first * from.step + at;
    if (rows == most && width == padded) {
#pragma unroll (OUTPUT ? 4 : 2)
      for (int row = first; row < most;
           row += step, slot += step * stride, p += step * from.step)
        cp_async16(slot, p);
      return;
    }
#pragma unroll 1
    for (int row = first; row < most;
         row += step, slot += step * stride, p += step * from.step)
      if (row < rows && at < width) cp_async16(slot, p);
      else *reinterpret_cast<uint4*>(slot) = make_uint4(0, 0, 0, 0);
  } else {
#pragma unroll 1
    for (int i = threadIdx.x; i < most * padded; i += THREADS) {
      const int row = i / padded, at = i - row * padded;
      to[row * stride + at] = row < rows && at < width
                                  ? from.p[row * from.step + at]
                                  : from_float<IO>(0.f);
    }
  }
}

// Bring the rows of keys or queries of a chunk: those of a token's ranks are `rank`
// elements apart.
__device__ __forceinline__ void bring_ranks(IO* to, const Desk& desk, const Source& from,
                                            int rank, int tokens, const Sizes& n) {
  constexpr int PER = per_vector<IO>(), VECTORS = STATE / PER, STEP = THREADS / VECTORS;
  // t from.step + r rank, where the row is t ranks + r.
  const int step = from.step - n.ranks * rank;
  if (n.whole_keys) {
    const int first = threadIdx.x / VECTORS, at = threadIdx.x % VECTORS * PER;
    IO* const slot = to + first * KEY_STRIDE + at;
    const IO* const p = from.p + first * rank + at;
    const int* const token = desk.token + first;
    if (tokens * n.ranks == ROWS && n.size == STATE) {
#pragma unroll (OUTPUT ? ROWS / STEP : 2)
      for (int row = 0; row < ROWS; row += STEP)
        cp_async16(slot + row * KEY_STRIDE, p + token[row] * step + row * rank);
      return;
    }
    const bool there = at < n.size;
#pragma unroll 2
    for (int row = 0; row < ROWS; row += STEP) {
      const int t = token[row];
      if (there && t < tokens)
        cp_async16(slot + row * KEY_STRIDE, p + t * step + row * rank);
      else
        *reinterpret_cast<uint4*>(slot + row * KEY_STRIDE) = make_uint4(0, 0, 0, 0);
    }
  } else {
#pragma unroll 1
    for (int i = threadIdx.x; i < ROWS * STATE; i += THREADS) {
      const int row = i / STATE, at = i % STATE, t = desk.token[row];
      to[row * KEY_STRIDE + at] = t < tokens && at < n.size
                                      ? from.p[t * step + row * rank + at]
                                      : from_float<IO>(0.f);
    }
  }
}

// dt, A and trap of one token, as they come; a token that does not exist has step 0.
struct Scalars {
  float dt = 0.f, A = 0.f, trap = 0.f;
};

// What a token does to the state, by the thread of that number.
__device__ __forceinline__ void note(const Desk& desk, const Scalars& s, int tokens) {
  const int t = threadIdx.x;
  if (t > tokens) return;
  // Beyond 2^-256 all is 0; infinite sums would have no differences.
  const float log_decay = s.dt * s.A * LOG2_E;
  desk.dt[t] = s.dt;
  desk.log_decay[t] = t == tokens ? 0.f : log_decay < -256.f ? -256.f : log_decay;
  desk.now[t] = sigmoid(s.trap) * s.dt;
  desk.before[t] = sigmoid(-s.trap) * s.dt;
}

// Sums of log_decay up to each token, by one warp.
__device__ __forceinline__ void add_decays(const Desk& desk, int tokens) {
  const int lane = threadIdx.x % 32;
  Sum carried = {0.f, 0.f};
#pragma unroll 1
  for (int first = 0; first < tokens; first += 32) {
    const int t = first + lane;
    Sum sum = {t < tokens ? desk.log_decay[t] : 0.f, 0.f};
#pragma unroll
    for (int by = 1; by < 32; by *= 2) {
      const Sum earlier = sum.from(by);
      if (lane >= by) sum = earlier.plus(sum);
    }
    sum = carried.plus(sum);
    if (t < tokens) desk.total[t] = sum.high, desk.rest[t] = sum.low;
    carried = {__shfl_sync(SSM_FULL, sum.high, 31), __shfl_sync(SSM_FULL, sum.low, 31)};
  }
  if (lane == 0) {
    desk.decay[0] = ex2(carried.high + carried.low);
    desk.decay[1] = carried.high + carried.low;
  }
}

// The weights of each row of the chunk, by the thread of that number.
__device__ __forceinline__ void spread_weights(const Desk& desk, int tokens) {
  const int row = threadIdx.x;
  if (row >= ROWS) return;
  const int t = desk.token[row];
  const bool there = t < tokens;
  const int last = tokens - 1, at = min(t, last);
  const float total = desk.total[at], rest = desk.rest[at];
  // A token counts for itself, and in the steps of the token behind it.
  const float now = there ? desk.now[t] : 0.f;
  const float weight = there ? now + desk.before[t + 1] : 0.f;
  const float left = (desk.total[last] - total) + (desk.rest[last] - rest);
  desk.row_total[row] = total;
  desk.row_rest[row] = rest;
  desk.row_weight[row] = weight;
  desk.row_now[row] = now;
  desk.row_end[row] = there ? weight * ex2(left) : 0.f;
  desk.row_decay[row] = there ? ex2(total + rest) : 0.f;
}

// The angle and the group of tokens that a thread adds up; `carry` is where the angle
// stands before the chunk, in turns.
struct Turner {
  int angle, group, groups;
  float carry;

  __device__ __forceinline__ explicit Turner(const Sizes& n) : carry(0.f) {
    groups = (n.tokens + (1 << n.shift) - 1) >> n.shift;
    group = n.pairs ? static_cast<int>(threadIdx.x) / n.pairs : groups;
    angle = n.pairs ? static_cast<int>(threadIdx.x) % n.pairs : 0;
  }

  // Sums of turns within each group.
  __device__ __forceinline__ void add(const Desk& desk, int tokens,
                                      const Sizes& n) const {
    if (group >= groups) return;
    const int first = group << n.shift, end = min(tokens, (group + 1) << n.shift);
    float sum = 0.f;
#pragma unroll 4
    for (int t = first; t < end; ++t) {
      const int at = t * n.pairs + angle;
      sum = add_turns(sum, turn_of(desk.angles[at], desk.dt[t]));
      desk.theta[at] = sum;
    }
    desk.turned[group * n.pairs + angle] = sum;
  }

  // Where the angle stands before each group; on to the next chunk.
  __device__ __forceinline__ void advance(const Desk& desk, const Sizes& n) {
    if (group >= groups) return;
#pragma unroll 1
    for (int g = 0; g < groups; ++g) {
      if (g == group) desk.base[g * n.pairs + angle] = carry;
      carry = add_turns(carry, desk.turned[g * n.pairs + angle]);
    }
  }
};
