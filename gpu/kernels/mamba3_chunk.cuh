// The prologue of the scan of Mamba-3 (mamba3_scan.cu, which explains it): a chunk from
// global to shared memory, its weights, and its angles.
#pragma once
#include "products.cuh"
#include "mamba3_turns.cuh"
#include "sums.cuh"

constexpr int WIDTH = 64;           // columns of headdim of a block
// Columns of a warp: as many as its registers have room for the state of.
constexpr int OWN = WIDE || STATE > 128 ? 16 : 32;
constexpr int WARPS = WIDTH / OWN, THREADS = 32 * WARPS;
// Ranks where kernels are compiled for their number; else 1, that nothing is divided by 0.
constexpr int FIXED = RANKS ? RANKS : 1;
constexpr int ROW_TILES = ROWS / 16, COLUMN_TILES = OWN / 16;
static_assert(ROWS <= 32, "a warp weighs the rows");
// Rows of numbers, padded so that neither rows nor columns of a tile meet in a bank.
constexpr int KEY_STRIDE = STATE + 8;
constexpr int VALUE_STRIDE = WIDTH + 8;
constexpr int SCORE_STRIDE = ROWS + (WIDE ? 4 : 8);
constexpr int OUT_STRIDE = WIDTH + 8;
constexpr int TURN_STRIDE = STATE / 2;

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
  // The width of the block's part of headdim; whether nothing of the sequence follows;
  // whether it is the first part; rows of angles that threads bring at once; tokens of the
  // segment.
  int width, last, leads, step, length;
  // Units of pairs: from the first on those that turn, from unit `others_from` on those
  // that do not, on 2^log lanes each.
  int turned, turned_log, others_from, others, others_log, unused[2];
};
constexpr int PLACES = sizeof(Places) / 4;  // in words
static_assert(PLACES % 4 == 0, "what follows is aligned");

// What stays the same from chunk to chunk.
struct Sizes {
  int ranks, tokens;     // of a chunk
  int size, pairs;       // of the state, and how many of its pairs are turned
  int width;             // of the block's part of headdim
  int shift;             // 2^shift tokens are a group in the sums of turns
  bool whole_keys, whole_values, whole_angles;  // rows are vectors of 16 bytes
};

struct Turner;

// What the threads of a block share. Sizes that the compiler does not know come last.
struct Desk {
  IO *keys, *queries;   // (ROWS, KEY_STRIDE)
  float* dt;            // of each token
  // Per row: the sum of log2 of decays so far (a number and what it lacks); weights in
  // scores of later tokens, for the state, for itself; the decay since the start of the
  // chunk.
  float *total, *rest, *weight, *end, *now, *decay;
  int* token;           // of each row
  float* norms;         // per warp and row: what it adds to a norm
  float* turned;        // per group of tokens and angle: the sum of turns
  // Of the chunk: its decay. Of the segment: the sum of log2 of decays; of the head: D.
  float *whole, *span, *D;
  Turner* turners;  // of each thread
  Places* places;
  IO* scores;           // (ROWS, SCORE_STRIDE)
  IO* values;           // (ROWS, VALUE_STRIDE), of any number of ranks
  float* bias;                         // (ranks, 2, STATE): of keys, of queries
  float *mix_x, *mix_z, *mix_o;        // (ranks, WIDTH)
  IO *x, *z;                           // (tokens of a chunk, VALUE_STRIDE)
  // Sines and cosines (tokens, 2, TURN_STRIDE); then outputs (ROWS, OUT_STRIDE) of any
  // number of ranks.
  float *sines, *out;
  IO* angles;                          // (tokens of a chunk, Turner::stride)

  __device__ __forceinline__ Desk(unsigned char* memory, const Sizes& n) {
    keys = reinterpret_cast<IO*>(memory), queries = keys + ROWS * KEY_STRIDE;
    dt = reinterpret_cast<float*>(queries + ROWS * KEY_STRIDE), total = dt + ROWS;
    rest = total + ROWS, weight = rest + ROWS, end = weight + ROWS, now = end + ROWS;
    decay = now + ROWS, token = reinterpret_cast<int*>(decay + ROWS);
    norms = reinterpret_cast<float*>(token + ROWS), turned = norms + WARPS * ROWS;
    whole = turned + THREADS;
    span = whole + 1, D = whole + 2, places = reinterpret_cast<Places*>(whole + 4);
    turners = reinterpret_cast<Turner*>(whole + 4 + PLACES);
    scores = reinterpret_cast<IO*>(whole + 4 + PLACES + 4 * THREADS);
    values = scores + ROWS * SCORE_STRIDE;
    bias = reinterpret_cast<float*>(values + (RANKS ? 0 : ROWS * VALUE_STRIDE));
    mix_x = bias + 2 * n.ranks * STATE;
    mix_z = mix_x + n.ranks * WIDTH, mix_o = mix_z + n.ranks * WIDTH;
    x = reinterpret_cast<IO*>(mix_o + n.ranks * WIDTH), z = x + n.tokens * VALUE_STRIDE;
    sines = out = reinterpret_cast<float*>(z + n.tokens * VALUE_STRIDE);
    // Where cosines will be, if no outputs lie there meanwhile.
    angles = reinterpret_cast<IO*>(
        RANKS ? sines + TURN_STRIDE
              : out + max(ROWS * OUT_STRIDE, 2 * n.tokens * TURN_STRIDE));
  }
};

// The token of a row; its rank.
__device__ __forceinline__ int token_of(const Desk& desk, int row) {
  return RANKS ? row / FIXED : desk.token[row];
}
__device__ __forceinline__ int rank_of(const Desk& desk, int row, const Sizes& n) {
  return RANKS ? row % FIXED : row - desk.token[row] * n.ranks;
}

// Rows that may be read, `step` elements apart.
struct Source {
  const IO* p;
  int step;
};

// The thread's number once more, for whole warps: what depends on it is computed where it
// is needed, instead of being kept in registers from the first chunk to the last.
__device__ __forceinline__ int thread_again() {
  return __shfl_sync(SSM_FULL, threadIdx.x, threadIdx.x % 32) & (THREADS - 1);
}

// Bring `rows` of `width` numbers; further ones, up to `most` rows of `padded` numbers,
// become 0. Vectors are asynchronous; a thread has those below each other.
__device__ __forceinline__ void bring(IO* to, int stride, const Source& from, int rows,
                                      int width, int most, int padded, bool whole) {
  constexpr int PER = per_vector<IO>();
  const int thread = thread_again();
  if (whole) {
    const int vectors = padded / PER, step = THREADS / vectors;
    const int first = thread / vectors, at = (thread - first * vectors) * PER;
    if (first >= step) return;
#pragma unroll 1
    for (int row = first; row < most; row += step)
      if (row < rows && at < width)
        cp_async16(to + row * stride + at, from.p + row * from.step + at);
      else
        *reinterpret_cast<uint4*>(to + row * stride + at) = make_uint4(0, 0, 0, 0);
  } else {
#pragma unroll 1
    for (int i = thread; i < most * padded; i += THREADS) {
      const int row = i / padded, at = i - row * padded;
      to[row * stride + at] = row < rows && at < width
                                  ? from.p[row * from.step + at]
                                  : from_float<IO>(0.f);
    }
  }
}

// Bring rows of x or z: a chunk of whole ones is worth a way of its own.
__device__ __forceinline__ void bring_values(IO* to, const Source& from, int rows,
                                             const Sizes& n) {
  constexpr int PER = per_vector<IO>(), VECTORS = WIDTH / PER, STEP = THREADS / VECTORS;
  constexpr int MOST = ROWS / FIXED;
  if (!RANKS || rows < MOST || n.width < WIDTH || !n.whole_values) {
    bring(to, VALUE_STRIDE, from, rows, n.width, n.tokens, WIDTH, n.whole_values);
    return;
  }
  const int thread = thread_again(), first = thread / VECTORS;
  const int at = thread % VECTORS * PER;
  if (MOST < STEP && first >= MOST) return;
  IO* const slot = to + first * VALUE_STRIDE + at;
  const IO* p = from.p + first * from.step + at;
#pragma unroll
  for (int row = 0; row < MOST; row += STEP, p += STEP * from.step)
    cp_async16(slot + row * VALUE_STRIDE, p);
}

// Bring the rows of keys or queries of a chunk: those of a token's ranks are `rank`
// elements apart.
__device__ __forceinline__ void bring_ranks(IO* to, const Desk& desk, const Source& from,
                                            int rank, int tokens, const Sizes& n) {
  constexpr int PER = per_vector<IO>(), VECTORS = STATE / PER, STEP = THREADS / VECTORS;
  const int thread = thread_again(), first = thread / VECTORS;
  const int at = thread % VECTORS * PER;
  if (RANKS && n.whole_keys && tokens == n.tokens && n.size == STATE) {
    // Rows that a thread has are STEP apart: of the same rank if that is a multiple.
    constexpr int AGAIN = STEP % FIXED ? FIXED / STEP : 1, ON = STEP * AGAIN / FIXED;
    IO* const slot = to + first * KEY_STRIDE + at;
    const IO* p = from.p + first / FIXED * from.step + first % FIXED * rank + at;
#pragma unroll
    for (int row = 0; row < ROWS; row += STEP * AGAIN, p += ON * from.step)
#pragma unroll
      for (int i = 0; i < AGAIN; ++i)
        cp_async16(slot + (row + i * STEP) * KEY_STRIDE, p + i * STEP * rank);
  } else if (n.whole_keys) {
#pragma unroll 1
    for (int row = first; row < ROWS; row += STEP) {
      const int t = token_of(desk, row), r = rank_of(desk, row, n);
      IO* const slot = to + row * KEY_STRIDE + at;
      if (at < n.size && t < tokens) cp_async16(slot, from.p + t * from.step + r * rank + at);
      else *reinterpret_cast<uint4*>(slot) = make_uint4(0, 0, 0, 0);
    }
  } else {
#pragma unroll 1
    for (int i = thread; i < ROWS * STATE; i += THREADS) {
      const int row = i / STATE, at = i % STATE;
      const int t = token_of(desk, row), r = rank_of(desk, row, n);
      to[row * KEY_STRIDE + at] = t < tokens && at < n.size
                                      ? from.p[t * from.step + r * rank + at]
                                      : from_float<IO>(0.f);
    }
  }
}

// dt, A and trap of one token, dt and trap of the one behind it, as they come; a token
// that does not exist has step 0.
struct Scalars {
  float dt = 0.f, A = 0.f, trap = 0.f, next_dt = 0.f, next_trap = 0.f;
};

// What the tokens of a chunk weigh, by one warp: a lane has a token, then a row.
__device__ __forceinline__ void weigh(const Desk& desk, const Scalars& s, int tokens,
                                      const Sizes& n) {
  constexpr int MOST = RANKS ? ROWS / FIXED : ROWS;  // tokens
  const int lane = threadIdx.x % 32;
  // Beyond 2^-256 all is 0; infinite sums would have no differences.
  const float log_decay = s.dt * s.A * LOG2_E;
  Sum sum = {lane >= tokens ? 0.f : log_decay < -256.f ? -256.f : log_decay, 0.f};
#pragma unroll
  for (int by = 1; by < MOST; by *= 2) {
    const Sum earlier = sum.from(by);
    if (lane >= by) sum = earlier.plus(sum);
  }
  const float all = __shfl_sync(SSM_FULL, sum.high, MOST - 1);
  const float lacks = __shfl_sync(SSM_FULL, sum.low, MOST - 1);
  // A token counts for itself, and in the steps of the token behind it.
  const float now = sigmoid(s.trap) * s.dt;
  const float weight = now + sigmoid(-s.next_trap) * s.next_dt;
  const float end = weight * ex2((all - sum.high) + (lacks - sum.low));
  const float decay = ex2(sum.high + sum.low);
  if (lane < n.tokens) desk.dt[lane] = s.dt;
  if (lane == 0) *desk.whole = ex2(all + lacks), *desk.span += all + lacks;
  const int row = min(lane, ROWS - 1), t = token_of(desk, row);
  const auto give = [&](float* to, float x) {
    const float found = RANKS == 1 ? x : __shfl_sync(SSM_FULL, x, t);
    if (row == lane) to[row] = found;
  };
  give(desk.total, sum.high);
  give(desk.rest, sum.low);
  give(desk.weight, weight);
  give(desk.end, end);
  give(desk.now, now);
  give(desk.decay, decay);
}

// The angle and the group of tokens that a thread adds up; `carry` is where the angle
// stands before the chunk, in turns. Registers have better use in between.
struct alignas(16) Turner {
  int angle, group;
  float carry;
  unsigned short row, at;  // of the first vector of angles that the thread brings

  // How far the angles of tokens are apart.
  __device__ __forceinline__ static int stride(const Sizes& n) {
    return RANKS ? 2 * TURN_STRIDE * 4 / static_cast<int>(sizeof(IO)) : n.pairs;
  }
  __device__ __forceinline__ static int groups(const Sizes& n) {
    return (n.tokens + (1 << n.shift) - 1) >> n.shift;
  }
  // A group beyond the last has nothing to do.
  __device__ __forceinline__ bool idle(const Sizes& n) const { return group >= groups(n); }

  __device__ __forceinline__ void bring(const Desk& desk, const Source& from, int tokens,
                                        const Sizes& n) const {
    if (n.whole_angles) {
#pragma unroll 1
      for (int t = row; t < tokens; t += desk.places->step)
        cp_async16(desk.angles + t * stride(n) + at, from.p + t * from.step + at);
    } else {
#pragma unroll 1
      for (int i = thread_again(); i < tokens * n.pairs; i += THREADS) {
        const int t = i / n.pairs, at = i - t * n.pairs;
        desk.angles[t * stride(n) + at] = from.p[t * from.step + at];
      }
    }
  }

  // Sums of turns within each group; they lie where sines will.
  __device__ __forceinline__ void add(const Desk& desk, int tokens,
                                      const Sizes& n) const {
    if (idle(n)) return;
    const int first = group << n.shift, end = min(tokens, (group + 1) << n.shift);
    const IO* angles = desk.angles + first * stride(n) + angle;
    float* to = desk.sines + first * 2 * TURN_STRIDE + angle;
    float sum = 0.f;
#pragma unroll 4
    for (int t = first; t < end; ++t, angles += stride(n), to += 2 * TURN_STRIDE) {
      sum = add_turns(sum, turn_of(*angles, desk.dt[t]));
      *to = sum;
    }
    desk.turned[group * n.pairs + angle] = sum;
  }

  // Where the angle stands before the group, and at each of its tokens; on to the next
  // chunk.
  __device__ __forceinline__ void advance(const Desk& desk, int tokens, const Sizes& n) {
    if (idle(n)) return;
    float base = 0.f, next = carry;
#pragma unroll 1
    for (int g = 0; g < groups(n); ++g) {
      if (g == group) base = next;
      next = add_turns(next, desk.turned[g * n.pairs + angle]);
    }
    carry = next;
    const int first = group << n.shift, end = min(tokens, (group + 1) << n.shift);
    float* at = desk.sines + first * 2 * TURN_STRIDE + angle;
#pragma unroll 4
    for (int t = first; t < end; ++t, at += 2 * TURN_STRIDE)
      sines_of(*at + base, at[0], at[TURN_STRIDE]);
  }
};
