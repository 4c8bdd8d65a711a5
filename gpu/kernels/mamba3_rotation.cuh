// Keys and queries of a chunk of Mamba-3 (mamba3_scan.cu, which explains it) in their
// place in shared memory: with bias, rotated.
#pragma once
#include "mamba3_chunk.cuh"

constexpr int UNIT = 4;  // pairs that a thread turns at a time
// Lanes of a row, at most, by their exponent: eight rows or more are turned at once.
constexpr int MOST_LANES = WARPS == 2 ? 3 : 4;
static_assert(THREADS >> MOST_LANES == 8 && RANKS <= 8, "of as many ranks");

// The coordinates of a pair in a row: neighbours, or halves apart.
__device__ __forceinline__ int first_of(int pair) { return PAIRWISE ? 2 * pair : pair; }
__device__ __forceinline__ int second_of(int pair, int half) {
  return PAIRWISE ? 2 * pair + 1 : pair + half;
}

// A pair of a row with bias, turned if it does turn: what is infinite stays in its
// coordinate if not.
struct Pair {
  float first, second;

  __device__ __forceinline__ Pair(const Desk& desk, const IO* row, const float* bias,
                                  int t, int pair, const Sizes& n) {
    const int one = first_of(pair), other = second_of(pair, n.size / 2);
    first = to_float(row[one]) + bias[one];
    second = to_float(row[other]) + bias[other];
    if (pair >= n.pairs) return;
    const float* const at = desk.sines + t * 2 * TURN_STRIDE + pair;
    const float sine = at[0], cosine = at[TURN_STRIDE], a = first, b = second;
    first = a * cosine - b * sine;
    second = a * sine + b * cosine;
  }
};

// Where the keys of the last token go to: (ranks, size), ranks `plane` apart; null if
// nowhere.
struct Kept {
  float* k;
  int plane;
};

// The keys of token t as `rotate` leaves them, but not rounded.
__device__ __forceinline__ void keep_keys(const Desk& desk, int t, const Kept& kept,
                                          const Sizes& n) {
  const int half = n.size / 2;
#pragma unroll 1
  for (int i = thread_again(); i < n.ranks * half; i += THREADS) {
    const int r = i / half, at = i - r * half;
    const Pair pair(desk, desk.keys + (t * n.ranks + r) * KEY_STRIDE,
                    desk.bias + 2 * r * STATE, t, at, n);
    kept.k[r * kept.plane + first_of(at)] = pair.first;
    kept.k[r * kept.plane + second_of(at, half)] = pair.second;
  }
}

// Neighbouring pairs of a row, from pair `at` on.
struct Unit {
  float first[UNIT], second[UNIT];

  template <class T>
  __device__ __forceinline__ void take(const T* row, int at, int half) {
    if constexpr (PAIRWISE) {
      float x[2 * UNIT];
      load<2 * UNIT>(x, row + 2 * at);
#pragma unroll
      for (int k = 0; k < UNIT; ++k) first[k] = x[2 * k], second[k] = x[2 * k + 1];
    } else {
      load<UNIT>(first, row + at);
      load<UNIT>(second, row + half + at);
    }
  }

  __device__ __forceinline__ void put(IO* row, int at, int half) const {
    if constexpr (PAIRWISE) {
      float x[2 * UNIT];
#pragma unroll
      for (int k = 0; k < UNIT; ++k) x[2 * k] = first[k], x[2 * k + 1] = second[k];
      store<2 * UNIT>(row + 2 * at, x);
    } else {
      store<UNIT>(row + at, first);
      store<UNIT>(row + half + at, second);
    }
  }

  __device__ __forceinline__ void add(const Unit& other) {
#pragma unroll
    for (int k = 0; k < UNIT; ++k)
      first[k] += other.first[k], second[k] += other.second[k];
  }

  __device__ __forceinline__ void turn(const float (&sine)[UNIT],
                                       const float (&cosine)[UNIT]) {
#pragma unroll
    for (int k = 0; k < UNIT; ++k) {
      const float a = first[k], b = second[k];
      first[k] = a * cosine[k] - b * sine[k];
      second[k] = a * sine[k] + b * cosine[k];
    }
  }
};

// The biases of a unit: of keys, of queries.
struct Biases {
  Unit of[1 + OUTPUT];

  __device__ __forceinline__ void take(const Desk& desk, int rank, int at, int half) {
#pragma unroll
    for (int i = 0; i <= OUTPUT; ++i)
      of[i].take(desk.bias + (2 * rank + i) * STATE, at, half);
  }
};

// `count` units from pair `first` on, of all rows, on 2^log lanes: so few that a thread has
// rows of one rank, if ranks are known; its biases are in registers.
template <bool TURNED>
__device__ __forceinline__ void rotate_units(const Desk& desk, int tokens, int first,
                                             int count, int log, const Sizes& n) {
  const int thread = thread_again(), half = n.size / 2;
#pragma unroll 1
  for (int unit = thread & ((1 << log) - 1); unit < count; unit += 1 << log) {
    const int at = first + UNIT * unit;
    int row = thread >> log;
    Biases biases;
    if (RANKS) biases.take(desk, row % FIXED, at, half);
#pragma unroll 1
    for (; row < tokens * n.ranks; row += THREADS >> log) {
      float sine[UNIT] = {}, cosine[UNIT] = {};
      if (TURNED) {
        const float* const turned =
            desk.sines + token_of(desk, row) * 2 * TURN_STRIDE + at;
        load<UNIT>(sine, turned);
        load<UNIT>(cosine, turned + TURN_STRIDE);
      }
      if (!RANKS) biases.take(desk, rank_of(desk, row, n), at, half);
#pragma unroll
      for (int i = 0; i <= OUTPUT; ++i) {
        IO* const to = desk.keys + (row + i * ROWS) * KEY_STRIDE;
        Unit x;
        x.take(to, at, half);
        x.add(biases.of[i]);
        if (TURNED) x.turn(sine, cosine);
        x.put(to, at, half);
      }
    }
  }
}

// Pairs from `first` to `end`, one by one.
__device__ __forceinline__ void rotate_pairs(const Desk& desk, int tokens, int first,
                                             int end, const Sizes& n) {
  const int width = end - first;
#pragma unroll 1
  for (int i = thread_again(); i < tokens * n.ranks * width; i += THREADS) {
    const int row = i / width, at = first + i - row * width, half = n.size / 2;
    const int t = token_of(desk, row), r = rank_of(desk, row, n);
#pragma unroll 1
    for (int k = 0; k <= OUTPUT; ++k) {
      IO* const to = desk.keys + (row + k * ROWS) * KEY_STRIDE;
      const Pair pair(desk, to, desk.bias + (2 * r + k) * STATE, t, at, n);
      to[first_of(at)] = from_float<IO>(pair.first);
      to[second_of(at, half)] = from_float<IO>(pair.second);
    }
  }
}

// Bring keys, and queries, into their place.
__device__ __forceinline__ void rotate(const Desk& desk, int tokens, const Kept& kept,
                                       const Sizes& n) {
  if (kept.k) {
    keep_keys(desk, tokens - 1, kept, n);
    __syncthreads();  // they have been read
  }
  const Places& p = *desk.places;
  const int others = p.others_from, most = others + p.others;
  rotate_units<true>(desk, tokens, 0, p.turned, p.turned_log, n);
  rotate_units<false>(desk, tokens, others * UNIT, p.others, p.others_log, n);
  if (p.turned < others) rotate_pairs(desk, tokens, p.turned * UNIT, others * UNIT, n);
  if (most * UNIT < n.size / 2) rotate_pairs(desk, tokens, most * UNIT, n.size / 2, n);
}
