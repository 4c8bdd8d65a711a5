// Keys and queries of a chunk of Mamba-3 (mamba3_scan.cu, which explains it) in their
// place in shared memory: with bias, rotated.
#pragma once
#include "mamba3_chunk.cuh"

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

// The sines of the pairs of a unit, as far as they turn. Those that do not are left alone,
// so that what is infinite stays in its coordinate.
struct Rotation {
  float sine[2], cosine[2];
  bool turned[2] = {false, false};

  // Where unit `unit`, of which one pair turns at least, stands after token t.
  __device__ __forceinline__ void turn(const Desk& desk, int t, int unit,
                                       const Sizes& n) {
    const float* const theta = desk.theta + t * n.pairs + 2 * unit;
    const float* const base = desk.base + (t >> n.shift) * n.pairs + 2 * unit;
    turned[0] = true, turned[1] = 2 * unit + 1 < n.pairs;
    sines_of(theta[0] + base[0], sine[0], cosine[0]);
    const int other = turned[1];
    sines_of(theta[other] + base[other], sine[1], cosine[1]);
  }

  template <Pairing PAIRING>
  __device__ __forceinline__ void operator()(Pairs<PAIRING>& x) const {
#pragma unroll
    for (int k = 0; k < 2; ++k) {
      const float a = x.first[k], b = x.second[k];
      x.first[k] = turned[k] ? a * cosine[k] - b * sine[k] : a;
      x.second[k] = turned[k] ? a * sine[k] + b * cosine[k] : b;
    }
  }
};

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

// Add the bias to a unit of keys, and of queries, and turn it.
template <Pairing PAIRING, bool QUERIES, bool TURNED>
__device__ __forceinline__ void rotate_unit(IO* row, int unit, int half,
                                            const Pairs<PAIRING> (&bias)[1 + QUERIES],
                                            const Rotation& rotation) {
#pragma unroll
  for (int queries = 0; queries <= QUERIES; ++queries) {
    Pairs<PAIRING> x;
    x.take(row + queries * ROWS * KEY_STRIDE, unit, half);
    x.add(bias[queries]);
    if (TURNED) rotation(x);
    x.put(row + queries * ROWS * KEY_STRIDE, unit, half);
  }
}

template <Pairing PAIRING, bool QUERIES>
__device__ __forceinline__ void take_bias(Pairs<PAIRING> (&bias)[1 + QUERIES],
                                          const float* from, int unit, int half) {
#pragma unroll
  for (int queries = 0; queries <= QUERIES; ++queries)
    bias[queries].take(from + queries * STATE, unit, half);
}

// `count` units from `first` on, of all tokens, on 2^log lanes.
template <Pairing PAIRING, bool QUERIES, bool TURNED>
__device__ __forceinline__ void rotate_units(const Desk& desk, int tokens, int first,
                                             int count, int log, const Sizes& n) {
  const int lane = threadIdx.x & ((1 << log) - 1), unit = first + lane;
  if (lane >= count) return;
  const int half = n.size / 2, begin = threadIdx.x >> log, step = THREADS >> log;
  Pairs<PAIRING> bias[1 + QUERIES];
  if (PAIRING == PAIRWISE && n.ranks == 1) {  // its bias stays in registers
    take_bias<PAIRING, QUERIES>(bias, desk.bias, unit, half);
    IO* row = desk.keys + begin * KEY_STRIDE;
#pragma unroll 1
    for (int t = begin; t < tokens; t += step, row += step * KEY_STRIDE) {
      Rotation rotation;
      if (TURNED) rotation.turn(desk, t, unit, n);
      rotate_unit<PAIRING, QUERIES, TURNED>(row, unit, half, bias, rotation);
    }
    return;
  }
#pragma unroll 1
  for (int t = begin; t < tokens; t += step) {
    Rotation rotation;
    if (TURNED) rotation.turn(desk, t, unit, n);
    IO* row = desk.keys + t * n.ranks * KEY_STRIDE;
    const float* from = desk.bias;
#pragma unroll 1
    for (int r = 0; r < n.ranks; ++r, row += KEY_STRIDE, from += 2 * STATE) {
      take_bias<PAIRING, QUERIES>(bias, from, unit, half);
      rotate_unit<PAIRING, QUERIES, TURNED>(row, unit, half, bias, rotation);
    }
  }
}

// Bring keys, and queries, into their place.
template <Pairing PAIRING, bool QUERIES>
__device__ __forceinline__ void rotate(const Desk& desk, int tokens, const Kept& kept,
                                       const Sizes& n) {
  if (kept.k) {
    keep_keys<PAIRING>(desk, tokens - 1, kept, n);
    __syncthreads();  // they have been read
  }
  const Places& p = *desk.places;
  rotate_units<PAIRING, QUERIES, true>(desk, tokens, 0, p.turned, p.turned_log, n);
  rotate_units<PAIRING, QUERIES, false>(desk, tokens, p.turned, p.others, p.others_log,
                                        n);
}
