// One token of attention: it is put behind the cache and looks at all of it. Golden:
// ssmref/golden/attention.py::attention_step.
//
//   w[s] = exp(scale q k[s] - max)       s = 0 ... cached
//   y = sum_s w[s] v[s] / sum_s w[s]
//
// The cache is read once: what a block reads it writes to the longer cache as well. A
// block owns `span` keys of a key head, and GROUP of the query heads that share it; a team
// of LANES lanes owns a key at a time, then a value at a time, VEC numbers of it per lane
// and access. Where there are several parts of a cache, a block leaves the sum of values,
// the largest score and the sum of weights, and attention_combine joins the parts in
// order: always the same bits.
//
// Layout: q (batch, heads, headdim), k (batch, kv_heads, headdim), v alike, valuedim wide:
// rows of the batch have strides of their own; old_k, old_v (batch, cached, kv_heads, size);
// next_k, next_v (batch, cached + 1, kv_heads, size); y (batch, heads, valuedim); sums
// (batch, heads, parts, valuedim), tops and totals (batch, heads, parts).
// Shared memory, floats: queries (GROUP, width), scores (GROUP, span), values of the warps
// (WARPS, GROUP, width), the new key (width), top and total (2, GROUP); width is headdim or
// valuedim, whatever is more, in whole vectors.
// Macros: IO (float, bf16, f16), VEC (4, or 1 where rows are not aligned), LANES (4 to 32),
// MOST (vectors of a lane: a power of two), GROUP.
#include "port.cuh"
#include "activations.cuh"
#include "attention_rotary.cuh"
#include "lanes.cuh"
#include "teams.cuh"

constexpr int THREADS = 128, WARPS = THREADS / 32;
constexpr int TEAMS = THREADS / LANES;
// Rows that a team loads at a time, so that loads hide each other.
constexpr int FLIGHT = MOST >= 4 ? 1 : 4 / MOST;
constexpr float NOTHING = -3.402823466e38f;

struct Desk {
  float *queries, *scores, *values, *key, *top, *total;

  __device__ __forceinline__ Desk(float* memory, int width, int span) {
    queries = memory, scores = queries + GROUP * width;
    values = scores + GROUP * span, key = values + WARPS * GROUP * width;
    top = key + width, total = top + GROUP;
  }
};

// Rows of a cache, of the parts that a block owns: old ones, and the new one in shared
// memory; where they go.
struct Cached {
  const float* old;
  float* next;
  const float* last;  // the row of the new token
  long long step;     // from row to row
  int size;

  // Numbers [at, at + VEC) of row s; put where they belong as well.
  __device__ __forceinline__ void take(float (&x)[VEC], long long s, long long cached,
                                       int at, bool keep) const {
    if (s < cached) load_lanes<VEC>(x, old + s * step + at);
    else load_lanes<VEC>(x, last + at);
    if (keep) store_lanes<VEC>(next + s * step + at, x);
  }
};

// Scores of the keys [begin, end), in units of log2.
__device__ __forceinline__ void score(const Desk& desk, const Cached& keys, long long begin,
                                      long long end, long long cached, int width, int span,
                                      bool keep) {
  const int lane = threadIdx.x % LANES, team = threadIdx.x / LANES;
  const int count = static_cast<int>(end - begin);
  float queries[GROUP][MOST][VEC];
#pragma unroll
  for (int r = 0; r < GROUP; ++r)
#pragma unroll
    for (int m = 0; m < MOST; ++m) {
      const int at = (m * LANES + lane) * VEC;
      fill(queries[r][m], 0.f);
      if (at < keys.size) load_lanes<VEC>(queries[r][m], desk.queries + r * width + at);
    }
#pragma unroll 1
  for (int first = 0; first < count; first += TEAMS * FLIGHT) {
    float x[FLIGHT][MOST][VEC];
#pragma unroll
    for (int f = 0; f < FLIGHT; ++f)
#pragma unroll
      for (int m = 0; m < MOST; ++m) {
        const int s = first + f * TEAMS + team, at = (m * LANES + lane) * VEC;
        fill(x[f][m], 0.f);
        if (s < count && at < keys.size) keys.take(x[f][m], begin + s, cached, at, keep);
      }
#pragma unroll
    for (int f = 0; f < FLIGHT; ++f)
#pragma unroll
      for (int r = 0; r < GROUP; ++r) {
        float sum = 0.f;
#pragma unroll
        for (int m = 0; m < MOST; ++m)
#pragma unroll
          for (int i = 0; i < VEC; ++i) sum = fmaf(queries[r][m][i], x[f][m][i], sum);
        sum = team_sum<LANES>(sum);
        const int s = first + f * TEAMS + team;
        if (lane == 0 && s < count) desk.scores[r * span + s] = sum;
      }
  }
}

// Scores become weights, a query for each warp at a time.
__device__ __forceinline__ void weigh(const Desk& desk, int count, int span) {
  const int lane = threadIdx.x % 32;
#pragma unroll 1
  for (int r = threadIdx.x / 32; r < GROUP; r += WARPS) {
    float* const own = desk.scores + r * span;
    float most = NOTHING, sum = 0.f;
    for (int s = lane; s < count; s += 32) most = fmaxf(most, own[s]);
#pragma unroll
    for (int by = 16; by > 0; by /= 2)
      most = fmaxf(most, __shfl_xor_sync(SSM_FULL, most, by));
    for (int s = lane; s < count; s += 32) {
      own[s] = ex2(own[s] - most);
      sum += own[s];
    }
    sum = team_sum<32>(sum);
    if (lane == 0) desk.top[r] = most, desk.total[r] = sum;
  }
}

// The sum of weights times values [begin, end): of each warp, in shared memory.
__device__ __forceinline__ void add(const Desk& desk, const Cached& values, long long begin,
                                    long long end, long long cached, int width, int span,
                                    bool keep) {
  const int lane = threadIdx.x % LANES, team = threadIdx.x / LANES;
  const int count = static_cast<int>(end - begin);
  float sums[GROUP][MOST][VEC] = {};
#pragma unroll 1
  for (int first = team; first < count; first += TEAMS * FLIGHT) {
    float x[FLIGHT][MOST][VEC];
#pragma unroll
    for (int f = 0; f < FLIGHT; ++f)
#pragma unroll
      for (int m = 0; m < MOST; ++m) {
        const int s = first + f * TEAMS, at = (m * LANES + lane) * VEC;
        fill(x[f][m], 0.f);
        if (s < count && at < values.size)
          values.take(x[f][m], begin + s, cached, at, keep);
      }
#pragma unroll
    for (int f = 0; f < FLIGHT; ++f)
#pragma unroll
      for (int r = 0; r < GROUP; ++r) {
        const int s = first + f * TEAMS;
        const float weight = s < count ? desk.scores[r * span + s] : 0.f;
#pragma unroll
        for (int m = 0; m < MOST; ++m)
#pragma unroll
          for (int i = 0; i < VEC; ++i)
            sums[r][m][i] = fmaf(weight, x[f][m][i], sums[r][m][i]);
      }
  }
#pragma unroll
  for (int r = 0; r < GROUP; ++r)
#pragma unroll
    for (int m = 0; m < MOST; ++m)
#pragma unroll
      for (int i = 0; i < VEC; ++i) {
        float sum = sums[r][m][i];
#pragma unroll
        for (int by = LANES; by < 32; by *= 2) sum += __shfl_xor_sync(SSM_FULL, sum, by);
        const int at = (m * LANES + lane) * VEC + i;
        if (threadIdx.x % 32 < LANES && at < values.size)
          desk.values[(threadIdx.x / 32 * GROUP + r) * width + at] = sum;
      }
}

extern "C" __global__ void __launch_bounds__(THREADS, 4) attention_step(
    const IO* __restrict__ q, const IO* __restrict__ k, const IO* __restrict__ v,
    long long q_row, long long k_row, long long v_row, const float* __restrict__ old_k,
    const float* __restrict__ old_v, const float* __restrict__ high,
    const float* __restrict__ low, float* __restrict__ next_k, float* __restrict__ next_v,
    IO* __restrict__ y, float* __restrict__ sums, float* __restrict__ tops,
    float* __restrict__ totals, long long cached, int parts, int span, int heads,
    int kv_heads, int headdim, int valuedim, int rotary, int interleaved, float scale) {
  SSM_DYN_SMEM(float, memory);
  const int width = (max(headdim, valuedim) + VEC - 1) / VEC * VEC;
  const Desk desk(memory, width, span);
  const int shared_by = heads / kv_heads, passes = (shared_by + GROUP - 1) / GROUP;
  const int part = blockIdx.x % parts, pass = blockIdx.x / parts % passes;
  const long long row = blockIdx.x / parts / passes;  // of batch and key heads
  const long long batch = row / kv_heads;
  const int group = static_cast<int>(row % kv_heads);
  const int head = group * shared_by + pass * GROUP, own = min(GROUP, shared_by - pass * GROUP);
  const long long begin = static_cast<long long>(part) * span;
  const long long end = min(begin + span, cached + 1);
  const Rotary turn{high, low, rotary, interleaved != 0};

  const auto place = [&](float* to, const IO* from, float factor) {
    for (int j = threadIdx.x; j < width; j += THREADS)
      to[j] = j >= headdim ? 0.f
              : factor * (j < rotary ? turn.turned(from, cached, j) : to_float(from[j]));
  };
  const long long line = static_cast<long long>(kv_heads);
  const IO* const new_v = v + batch * v_row + static_cast<long long>(group) * valuedim;
  for (int r = 0; r < GROUP; ++r)
    place(desk.queries + r * width,
          q + batch * q_row + static_cast<long long>(head + min(r, own - 1)) * headdim,
          scale * LOG2_E);
  place(desk.key, k + batch * k_row + static_cast<long long>(group) * headdim, 1.f);
  __syncthreads();  // queries and the new key

  const Cached keys{old_k + (batch * cached * line + group) * headdim,
                    next_k + (batch * (cached + 1) * line + group) * headdim, desk.key,
                    line * headdim, headdim};
  score(desk, keys, begin, end, cached, width, span, pass == 0);
  __syncthreads();  // scores; the new key is in its place
  weigh(desk, static_cast<int>(end - begin), span);
  for (int j = threadIdx.x; j < valuedim; j += THREADS) desk.key[j] = to_float(new_v[j]);
  __syncthreads();  // weights, and the new value
  const Cached values{old_v + (batch * cached * line + group) * valuedim,
                      next_v + (batch * (cached + 1) * line + group) * valuedim, desk.key,
                      line * valuedim, valuedim};
  add(desk, values, begin, end, cached, width, span, pass == 0);
  __syncthreads();  // the sums of all warps

  const long long first = batch * heads + head;
  for (int i = threadIdx.x; i < own * valuedim; i += THREADS) {
    const int r = i / valuedim, j = i % valuedim;
    float sum = 0.f;
#pragma unroll
    for (int w = 0; w < WARPS; ++w) sum += desk.values[(w * GROUP + r) * width + j];
    if (parts == 1) y[(first + r) * valuedim + j] = from_float<IO>(sum / desk.total[r]);
    else sums[((first + r) * parts + part) * valuedim + j] = sum;
  }
  if (parts > 1 && static_cast<int>(threadIdx.x) < own) {
    const long long to = (first + threadIdx.x) * parts + part;
    tops[to] = desk.top[threadIdx.x], totals[to] = desk.total[threadIdx.x];
  }
}

// Joins the parts of a query head, a block for each.
extern "C" __global__ void __launch_bounds__(THREADS) attention_combine(
    const float* __restrict__ sums, const float* __restrict__ tops,
    const float* __restrict__ totals, IO* __restrict__ y, int parts, int valuedim) {
  const long long row = blockIdx.x;
  float most = NOTHING, total = 0.f;
  for (int p = 0; p < parts; ++p) most = fmaxf(most, tops[row * parts + p]);
  for (int p = 0; p < parts; ++p)
    total = fmaf(ex2(tops[row * parts + p] - most), totals[row * parts + p], total);
  for (int j = threadIdx.x; j < valuedim; j += THREADS) {
    float sum = 0.f;
#pragma unroll 4
    for (int p = 0; p < parts; ++p)
      sum = fmaf(ex2(tops[row * parts + p] - most),
                 sums[(row * parts + p) * valuedim + j], sum);
    y[row * valuedim + j] = from_float<IO>(sum / total);
  }
}
