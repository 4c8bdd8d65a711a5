// The prologue of the scan of Mamba-3 (mamba3_scan.cu, which explains it): a chunk from
// global to shared memory, its weights, its angles, and keys and queries in their place,
// with bias, rotated.
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
  // Units are two neighbouring pairs: those with a pair that turns, then the others, on
  // 2^log lanes each.
  int turned, turned_log, others, others_log;
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
#pragma unroll 1
    for (int row = first; row < most; row += step) {
      IO* const slot = to + row * stride + at;
      if (row < rows && at < width) cp_async16(slot, from.p + row * from.step + at);
      else *reinterpret_cast<uint4*>(slot) = make_uint4(0, 0, 0, 0);
    }
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
  constexpr int PER = per_vector<IO>(), VECTORS = STATE / PER;
  // t from.step + r rank, where the row is t ranks + r.
  const int step = from.step - n.ranks * rank;
  if (n.whole_keys) {
    const int at = threadIdx.x % VECTORS * PER;
    const bool there = at < n.size;
#pragma unroll 2
    for (int row = threadIdx.x / VECTORS; row < ROWS; row += THREADS / VECTORS) {
      const int t = desk.token[row];
      IO* const slot = to + row * KEY_STRIDE + at;
      if (there && t < tokens) cp_async16(slot, from.p + t * step + row * rank + at);
      else *reinterpret_cast<uint4*>(slot) = make_uint4(0, 0, 0, 0);
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

// How pairs lie in a row: neighbours; halves apart, whose rows begin at words or not.
enum Pairing { PAIRWISE, HALVED, HALVED_ODD };

// Two neighbouring pairs of coordinates of a row, from pair 2 `unit` on.
template <Pairing PAIRING>
struct Pairs {
  float first[2], second[2];

  template <class T>
  __device__ __forceinline__ void take(const T* row, int unit, int half) {
    if constexpr (PAIRING == PAIRWISE) {
      float x[4];
      load<4>(x, row + 4 * unit);
      first[0] = x[0], second[0] = x[1], first[1] = x[2], second[1] = x[3];
    } else if constexpr (PAIRING == HALVED) {
      load<2>(first, row + 2 * unit);
      load<2>(second, row + half + 2 * unit);
    } else {
      load_some<2>(first, row + 2 * unit, half - 2 * unit);
      load_some<2>(second, row + half + 2 * unit, half - 2 * unit);
    }
  }

  __device__ __forceinline__ void put(IO* row, int unit, int half) const {
    if constexpr (PAIRING == PAIRWISE) {
      const float x[4] = {first[0], second[0], first[1], second[1]};
      store<4>(row + 4 * unit, x);
    } else if constexpr (PAIRING == HALVED) {
      store<2>(row + 2 * unit, first);
      store<2>(row + half + 2 * unit, second);
    } else {
      store_some<2>(row + 2 * unit, first, half - 2 * unit);
      store_some<2>(row + half + 2 * unit, second, half - 2 * unit);
    }
  }

  __device__ __forceinline__ void add(const Pairs& other) {
#pragma unroll
    for (int k = 0; k < 2; ++k)
      first[k] += other.first[k], second[k] += other.second[k];
  }

  // As `put`, to a row that begins anywhere.
  __device__ __forceinline__ void keep(float* row, int unit, int half) const {
#pragma unroll
    for (int k = 0; k < 2; ++k) {
      const int i = 2 * unit + k;
      if (i >= half) continue;
      row[PAIRING == PAIRWISE ? 2 * i : i] = first[k];
      row[PAIRING == PAIRWISE ? 2 * i + 1 : i + half] = second[k];
    }
  }
};

// The sines of the pairs of a unit.
struct Rotation {
  float sine[2] = {0.f, 0.f}, cosine[2] = {1.f, 1.f};

  __device__ __forceinline__ void turn(const Desk& desk, int t, int unit,
                                       const Sizes& n) {
    const float* const theta = desk.theta + t * n.pairs + 2 * unit;
    const float* const base = desk.base + (t >> n.shift) * n.pairs + 2 * unit;
    sincos_turns(theta[0] + base[0], sine[0], cosine[0]);
    if (2 * unit + 1 < n.pairs) sincos_turns(theta[1] + base[1], sine[1], cosine[1]);
  }

  template <Pairing PAIRING>
  __device__ __forceinline__ void operator()(Pairs<PAIRING>& x) const {
#pragma unroll
    for (int k = 0; k < 2; ++k) {
      const float a = x.first[k], b = x.second[k];
      x.first[k] = a * cosine[k] - b * sine[k];
      x.second[k] = a * sine[k] + b * cosine[k];
    }
  }
};

// Add the bias to a unit of the keys, and queries, of a token, and turn it.
template <Pairing PAIRING, bool QUERIES, bool TURNED>
__device__ __forceinline__ void rotate_unit(const Desk& desk, int t, int unit,
                                            const Sizes& n) {
  const int half = n.size / 2;
  Rotation rotation;
  if (TURNED) rotation.turn(desk, t, unit, n);
  IO* row = desk.keys + t * n.ranks * KEY_STRIDE;
  const float *bias = desk.bias, *const end = bias + 2 * n.ranks * STATE;
#pragma unroll 1
  for (; bias < end; row += KEY_STRIDE, bias += 2 * STATE) {
#pragma unroll
    for (int queries = 0; queries <= QUERIES; ++queries) {
      Pairs<PAIRING> x, b;
      x.take(row + queries * ROWS * KEY_STRIDE, unit, half);
      b.take(bias + queries * STATE, unit, half);
      x.add(b);
      if (TURNED) rotation(x);
      x.put(row + queries * ROWS * KEY_STRIDE, unit, half);
    }
  }
}

// Where the keys of the last token go to: (ranks, size), ranks `plane` apart; null if
// nowhere.
struct Kept {
  float* k;
  int plane;
};

// The keys of token t as `rotate` leaves them, but not rounded.
template <Pairing PAIRING>
__device__ __forceinline__ void keep_keys(const Desk& desk, int t, const Kept& kept,
                                          const Sizes& n) {
  const int units = (n.size + 3) / 4;
#pragma unroll 1
  for (int i = threadIdx.x; i < n.ranks * units; i += THREADS) {
    const int r = i / units, unit = i - r * units;
    Rotation rotation;
    if (2 * unit < n.pairs) rotation.turn(desk, t, unit, n);
    Pairs<PAIRING> x, b;
    x.take(desk.keys + (t * n.ranks + r) * KEY_STRIDE, unit, n.size / 2);
    b.take(desk.bias + 2 * r * STATE, unit, n.size / 2);
    x.add(b);
    rotation(x);
    x.keep(kept.k + r * kept.plane, unit, n.size / 2);
  }
}

// `count` units from `first` on, of all tokens, on 2^log lanes.
template <Pairing PAIRING, bool QUERIES, bool TURNED>
__device__ __forceinline__ void rotate_units(const Desk& desk, int tokens, int first,
                                             int count, int log, const Sizes& n) {
  const int lane = threadIdx.x & ((1 << log) - 1);
  if (lane >= count) return;
#pragma unroll 1
  for (int t = threadIdx.x >> log; t < tokens; t += THREADS >> log)
    rotate_unit<PAIRING, QUERIES, TURNED>(desk, t, first + lane, n);
}

// Bring keys, and queries, into their place.
template <Pairing PAIRING, bool QUERIES>
__device__ __forceinline__ void rotate(const Desk& desk, int tokens, const Kept& kept,
                                       const Sizes& n) {
  if (kept.k) {
    keep_keys<PAIRING>(desk, tokens - 1, kept, n);
    __syncthreads();  // they have been read
  }
  rotate_units<PAIRING, QUERIES, true>(desk, tokens, 0, n.turned, n.turned_log, n);
  rotate_units<PAIRING, QUERIES, false>(desk, tokens, n.turned, n.others, n.others_log,
                                        n);
}
