// Causal attention, blocks of queries over blocks of keys, on tensor cores. Golden:
// ssmref/golden/attention.py::attention, in the form of attention_blocked.
//
//   m' = max(m, max_s scores[s])                      s in the block
//   total = e^(m - m') total + sum_s e^(scores[s] - m')
//   y = e^(m - m') y + sum_s e^(scores[s] - m') v[s]
//
// A block owns QUERIES queries of a head, and walks over the keys that they see, KEYS at a
// time; those with most keys come first. A warp owns 16 queries: they are fragments in
// registers (or in shared memory, where there is no room), as are their scores, which are
// the left factor of the values as they are. Only blocks on the diagonal are masked, and
// of these a warp leaves out what none of its queries sees.
//
// While keys are multiplied the values of their block fly, and while values are the next
// keys do: two places, of which one is read and the other filled.
//
// Infinite values and NaN on the diagonal are no factors of a product, which would bring
// them to queries that do not see them: they are added at the end. A float that is split
// in two parts has no infinity: where the outputs are not finite, all is done once more,
// with such care in all blocks.
//
// Queries are rotated here, once; keys were (attention_cache.cu). A negative scale turns
// the queries around (`direction`), so that the largest product is the largest score.
//
// Layout: q (batch, length, heads, headdim), k (batch, cached + length, kv_heads, headdim),
// v alike, valuedim wide: batch and time have strides of their own; y (batch, length,
// heads, valuedim). In a pack, `table` has for each block of queries: where its sequence
// begins, where it begins itself and where it ends.
// Shared memory: queries (QUERIES, KEY_STRIDE) unless HELD; keys (KEYS, KEY_STRIDE); values
// (KEYS, VALUE_STRIDE); what a warp has found that is infinite; Kept. Keys and values are
// first the place of queries, and last that of outputs (QUERIES, VALUE_STRIDE).
// Macros: IO (float, bf16, f16), PARTS (of a number in products: 2 for exact float, else
// 1), SIZE (16, 64, 128, 256: headdim and valuedim, padded).
#include "port.cuh"
#include "attention_rotary.cuh"
#include "attention_tiles.cuh"

// The queries of a block: token `begin` and `count` - 1 more, of a sequence that begins at
// `first`.
struct Queries {
  long long batch, first, begin;
  int count;
};

// What is needed at the end again: until then registers have better use.
struct Kept {
  Queries queries;
  long long diagonal;  // from which key on infinite values are no factors
};

// The last queries of all rows see most, and come first.
__device__ __forceinline__ Queries find_queries(int index, const long long* table,
                                                int batch, int per_row,
                                                long long length) {
  if (table) {
    const long long* const own = table + 3 * static_cast<long long>(index);
    return {0, own[0], own[1], static_cast<int>(own[2] - own[1])};
  }
  const long long begin = static_cast<long long>(per_row - 1 - index / batch) * QUERIES;
  return {index % batch, 0, begin,
          static_cast<int>(min(static_cast<long long>(QUERIES), length - begin))};
}

template <bool VALUE>
struct Constant {
  static constexpr bool value = VALUE;
};

// Turn queries in their place by their positions, the first at `position`.
__device__ __forceinline__ void turn_queries(IO* queries, const Rotary& turn,
                                             long long position, float direction,
                                             int headdim) {
  const int pairs = turn.dim / 2;
#pragma unroll 1
  for (int i = threadIdx.x; i < QUERIES * pairs; i += THREADS) {
    IO* const row = queries + i / pairs * KEY_STRIDE;
    IO &a = row[turn.first(i % pairs)], &b = row[turn.second(i % pairs)];
    float sine, cosine;
    turn.sincos(position + i / pairs, i % pairs, sine, cosine);
    const float x = direction * to_float(a), y = direction * to_float(b);
    a = from_float<IO>(x * cosine - y * sine), b = from_float<IO>(x * sine + y * cosine);
  }
  if (direction == 1.f) return;
  const int rest = headdim - turn.dim;
#pragma unroll 1
  for (int i = threadIdx.x; i < QUERIES * rest; i += THREADS) {
    IO& a = queries[i / rest * KEY_STRIDE + turn.dim + i % rest];
    a = from_float<IO>(direction * to_float(a));
  }
}

// 16 queries of a warp: fragments, or where they lie.
struct Rows {
  Left held[HELD ? STEPS : 1];
  const IO* p;

  __device__ __forceinline__ explicit Rows(const IO* p) : p(p) {
    if (HELD)
#pragma unroll
      for (int i = 0; i < STEPS; ++i)
        rows_in_state(held[HELD ? i : 0], p + 16 * i, KEY_STRIDE);
  }

  // Products with a tile of keys. If MASKED, row r sees `seen` + r of them, and infinity
  // is as in a product of whole numbers.
  template <bool MASKED>
  __device__ __forceinline__ void score(float (&scores)[KEYS / 8][4], const IO* keys,
                                        int seen) const {
    // Queries in shared memory need no loop that is unrolled, nor registers for that.
    constexpr int AT_ONCE = HELD ? STEPS : 2;
#pragma unroll AT_ONCE
    for (int i = 0; i < STEPS; ++i) {
      Left a;
      if (HELD) a = held[HELD ? i : 0];
      else rows_in_state(a, p + 16 * i, KEY_STRIDE);
#pragma unroll
      for (int j = 0; j < KEYS / 16; ++j) {
        if (MASKED && 16 * j >= seen + 15) continue;
        Right b[2];
        columns_in_state(b, keys + 16 * j * KEY_STRIDE + 16 * i, KEY_STRIDE);
        multiply(scores[2 * j], a, b[0]);
        multiply(scores[2 * j + 1], a, b[1]);
      }
    }
    if (!MASKED) return;
    if (SPLIT) mend(scores, p, keys);
    const int lane = threadIdx.x % 32, least = seen + lane / 4 - lane % 4 * 2;
#pragma unroll
    for (int n = 0; n < KEYS / 8; ++n)
#pragma unroll
      for (int j = 0; j < 4; ++j)
        if (8 * n + j % 2 >= least + j / 2 * 8) scores[n][j] = __uint_as_float(0xff800000u);
  }
};

// Add to outputs what is infinite or NaN among the values that a query sees, from value
// `diagonal` on; the first query sees `before` and its own.
__device__ __forceinline__ void add_infinite(IO* rows, const IO* v, long long step,
                                             long long diagonal, long long before,
                                             int count, int width) {
#pragma unroll 1
  for (int i = threadIdx.x; i < count * width; i += THREADS) {
    const int row = i / width, at = i % width;
    IO& y = rows[row * VALUE_STRIDE + at];
#pragma unroll 1
    for (long long s = diagonal; s <= before + row; ++s) {
      const float x = to_float(v[s * step + at]);
      if (!is_finite(x)) y = from_float<IO>(to_float(y) + x);
    }
  }
}

// Rows from shared memory to y.
__device__ __forceinline__ void give(IO* y, long long step, const IO* rows, int count,
                                     int width, bool whole) {
  constexpr int PER = per_vector<IO>(), VECTORS = SIZE / PER;
  if (whole) {
#pragma unroll
    for (int i = threadIdx.x; i < QUERIES * VECTORS; i += THREADS) {
      const int row = i / VECTORS, at = i % VECTORS * PER;
      if (row < count && at < width)
        *reinterpret_cast<uint4*>(y + row * step + at) =
            *reinterpret_cast<const uint4*>(rows + row * VALUE_STRIDE + at);
    }
  } else {
#pragma unroll 1
    for (int i = threadIdx.x; i < count * width; i += THREADS)
      y[i / width * step + i % width] = rows[i / width * VALUE_STRIDE + i % width];
  }
}

// Two blocks on a multiprocessor have all its registers.
extern "C" __global__ void __launch_bounds__(THREADS, 2) attention_forward(
    const IO* __restrict__ q, const IO* __restrict__ k, const IO* __restrict__ v,
    long long q_batch, long long q_token, long long k_batch, long long k_token,
    long long v_batch, long long v_token, const long long* __restrict__ table,
    const float* __restrict__ high, const float* __restrict__ low, IO* __restrict__ y,
    long long length, long long cached, int batch, int per_row, int heads, int kv_heads,
    int headdim, int valuedim, int rotary, int interleaved, int whole_queries, int whole_keys,
    int whole_values, int whole_outputs, float direction, float steep) {
  SSM_DYN_SMEM(IO, memory);
  IO* const keys = memory + (HELD ? 0 : QUERIES * KEY_STRIDE);
  IO* const values = keys + KEYS * KEY_STRIDE;
  int* const infinite = reinterpret_cast<int*>(values + KEYS * VALUE_STRIDE);
  Kept* const kept = reinterpret_cast<Kept*>(infinite + QUERIES / 16);
  const int head = blockIdx.x % heads, group = head / (heads / kv_heads);
  const Queries own = find_queries(blockIdx.x / heads, table, batch, per_row, length);
  const int warp = threadIdx.x / 32;
  if (threadIdx.x == 0) kept->queries = own;

  // The first query sees `before` keys and its own.
  const long long before = own.begin - own.first + cached, all = before + own.count;
  const IO* const from_q = q + own.batch * q_batch + own.begin * q_token +
                           static_cast<long long>(head) * headdim;
  const IO* const from_k = k + own.batch * k_batch + own.first * k_token +
                           static_cast<long long>(group) * headdim;
  const IO* const from_v = v + own.batch * v_batch + own.first * v_token +
                           static_cast<long long>(group) * valuedim;
  const auto bring_keys = [&](auto masked, long long at) {
    const bool whole = !decltype(masked)::value || whole_keys;
    const int rows = static_cast<int>(min(static_cast<long long>(KEYS), all - at));
    if (rows > 0)
      bring<KEYS>(keys, KEY_STRIDE, from_k + at * k_token, k_token, rows, headdim, whole);
    cp_async_commit();
  };
  const auto bring_values = [&](auto masked, long long at) {
    const bool whole = !decltype(masked)::value || whole_values;
    const int rows = static_cast<int>(min(static_cast<long long>(KEYS), all - at));
    bring<KEYS>(values, VALUE_STRIDE, from_v + at * v_token, v_token, rows, valuedim,
                whole);
    cp_async_commit();
  };

  bring<QUERIES>(memory, KEY_STRIDE, from_q, q_token, own.count, headdim,
                 whole_queries != 0);
  cp_async_commit();
  cp_async_wait<0>();
  __syncthreads();  // queries
  if (rotary || direction != 1.f) {
    turn_queries(memory, {high, low, rotary, interleaved != 0}, before, direction, headdim);
    __syncthreads();  // queries, turned
  }
  const Rows rows(memory + 16 * warp * KEY_STRIDE);
  if (HELD) __syncthreads();  // the place of queries is free
  Softmax softmax;

  const auto walk = [&](auto masked, long long at) {
    constexpr bool MASKED = decltype(masked)::value;
    // So many keys of the tile are seen by the first query of the warp.
    const long long most = KEYS;
    const int seen = MASKED ? static_cast<int>(min(before - at, most)) + 1 + 16 * warp : KEYS;
    const bool any = !MASKED || seen + 15 > 0;
    cp_async_wait<0>();
    __syncthreads();  // keys; the place of values is free
    bring_values(masked, at);
    float scores[KEYS / 8][4] = {};
    if (any) rows.score<MASKED>(scores, keys, seen);
    cp_async_wait<0>();
    __syncthreads();  // values; the place of keys is free
    bring_keys(masked, at + KEYS);
    if (MASKED) {
      const bool found = __any_sync(SSM_FULL, without_infinite(values));
      if (found && threadIdx.x % 32 == 0) infinite[warp] = 1;
      __syncthreads();  // values, all finite
    }
    if (!any) return;
    softmax.weigh(scores, steep);
    softmax.add<MASKED>(scores, values, seen);
  };
  // With care all blocks are as those on the diagonal, which take rows of any width, and
  // numbers that are infinite.
  bool careful = !whole_keys || !whole_values;
  while (true) {
    if (threadIdx.x % 32 == 0) infinite[warp] = 0;
    bring_keys(Constant<true>(), 0);
    long long at = 0;
    if (!careful)
#pragma unroll 1
      for (; at + KEYS <= before + 1; at += KEYS) walk(Constant<false>(), at);
    if (threadIdx.x == 0) kept->diagonal = at;
#pragma unroll 1
    for (; at < all; at += KEYS) walk(Constant<true>(), at);
    if (!SPLIT || careful) break;
    cp_async_wait<0>();
    __syncthreads();  // nobody reads keys or values, or what was found
    const bool finite = softmax.finite();
    if (threadIdx.x % 32 == 0) infinite[warp] |= finite ? 0 : 2;
    __syncthreads();  // whether all is finite
    for (int i = 0; i < QUERIES / 16; ++i) careful |= infinite[i] & 2;
    if (!careful) break;
    __syncthreads();  // everybody knows
    softmax = Softmax();
  }

  cp_async_wait<0>();
  __syncthreads();  // nobody reads keys or values
  softmax.put(keys + 16 * warp * VALUE_STRIDE);
  __syncthreads();  // outputs
  const Queries mine = kept->queries;
  int found = 0;
  for (int i = 0; i < QUERIES / 16; ++i) found |= infinite[i];
  if (found) {
    const IO* const all_v = v + mine.batch * v_batch + mine.first * v_token +
                            static_cast<long long>(group) * valuedim;
    add_infinite(keys, all_v, v_token, kept->diagonal, mine.begin - mine.first + cached,
                 mine.count, valuedim);
    __syncthreads();  // outputs with what is infinite
  }
  const long long step = static_cast<long long>(heads) * valuedim;
  give(y + (mine.batch * length + mine.begin) * step + static_cast<long long>(head) * valuedim,
       step, keys, mine.count, valuedim, whole_outputs != 0);
}
