// S4 and S4D: the recurrence over parts of sequences, one token at a time.
// golden: ssmref/golden/s4.py::s4 and ssmref/golden/s4d.py::s4d
//
//   x[t] = decay x[t-1] + drive u[t] - sum_r G[r] Re(F[r] x[t-1])
//   y[t] = Re(2 C x[t]) + D u[t]
//
// LANES lanes own a channel (`diagonal.cuh`), a block THREADS / LANES channels of one
// part. The low-rank term needs a sum over the lanes for every token. Outputs wait until
// as many tokens as lanes (at most 8) are there: their sums then cost one exchange each.
//
// A part is a stretch of one sequence. It begins with `starts` (parts, channels, state;
// null: zeros). With READ it writes y, and the last part of each sequence its state to
// `ends` (sequences, channels, state); else every part but the last of its sequence
// writes to `ends` (parts, channels, state) what it ends with. Parts are given by `table`
// (parts, 4: first, last, sequence, whether it is the last one); where that is null every
// sequence has `length` tokens and `cuts` parts of `longest` tokens.
//
// u, y: (tokens, channels), IO; a warp reads neighbouring channels. The arithmetic
// decides, 8 instructions and more per state, so that 16-byte loads would not show.
// Shared memory: u and y of TILE tokens, (2, TILE, PITCH) floats.
// Macros: IO, RANKS, LANES, PAIRS, WIDE, READ.
#include "diagonal.cuh"

#define THREADS 256
// Blocks of an SM, so that registers suffice: few more would not hide more.
#define RESIDENT (RANKS > 1 || PAIRS > 4 ? 1 : 2)
constexpr int CHANNELS = THREADS / LANES;
constexpr int TILE = LANES >= 4 ? 32 : 8;
constexpr int PITCH = CHANNELS + 4;  // lanes write different tokens to different banks
constexpr int GROUP = LANES < 8 ? LANES : 8;
constexpr int COPIES = TILE * CHANNELS / THREADS;

struct Part {
  long long first, last;
  int sequence;
  bool ends;
};

__device__ __forceinline__ Part part_of(int p, const long long* table, int cuts,
                                        long long length, long long longest) {
  if (table != nullptr) {
    const long long* row = table + 4LL * p;
    return {row[0], row[1], static_cast<int>(row[2]), row[3] != 0};
  }
  const int sequence = p / cuts, k = p % cuts;
  const long long first = k * longest;
  const long long last = first + longest < length ? first + longest : length;
  const long long begin = sequence * length;
  return {begin + first, begin + last, sequence, k == cuts - 1};
}

// Token g of a group is summed over the lanes; lane l gets token l % GROUP.
__device__ __forceinline__ float sum_group(float (&y)[GROUP], int lane) {
#pragma unroll
  for (int half = GROUP / 2; half > 0; half /= 2) {
    const bool upper = lane & half;
#pragma unroll
    for (int i = 0; i < half; ++i) {
      const float kept = upper ? y[i + half] : y[i], sent = upper ? y[i] : y[i + half];
      y[i] = kept + __shfl_xor_sync(SSM_FULL, sent, half);
    }
  }
  float total = y[0];
#pragma unroll
  for (int far = GROUP; far < LANES; far *= 2)
    total += __shfl_xor_sync(SSM_FULL, total, far);
  return total;
}

extern "C" __global__ void __launch_bounds__(THREADS, RESIDENT)
    s4_scan(const IO* __restrict__ u, IO* __restrict__ y,
            const float2* __restrict__ planes, const float* __restrict__ D,
            const float2* __restrict__ starts, float2* __restrict__ ends,
            const long long* __restrict__ table, int channels, int state, int cuts,
            long long length, long long longest) {
  SSM_DYN_SMEM(float, U);
  float* const Y = U + TILE * PITCH;
  const int blocks = (channels + CHANNELS - 1) / CHANNELS;
  const int p = blockIdx.x / blocks, front = blockIdx.x % blocks * CHANNELS;
  const Part part = part_of(p, table, cuts, length, longest);
  if (!READ && part.ends) return;  // the whole block

  const int lane = threadIdx.x % LANES, own = threadIdx.x / LANES;
  const int channel = front + own;
  const bool exists = channel < channels;
  const long long size = static_cast<long long>(channels) * state;
  const long long row = static_cast<long long>(channel) * state;
  System system;
  system.load(planes, channel, channels, state, lane, exists);
  float2 x[PAIRS];
  load_row(x, exists && starts != nullptr ? starts + p * size + row : nullptr, lane,
           state);

  // Every thread copies the same places of each tile; all are of one channel, since
  // CHANNELS divides THREADS.
  const int column = threadIdx.x % CHANNELS, line = threadIdx.x / CHANNELS;
  const bool copies = front + column < channels;
  const float skip = READ && D != nullptr && copies ? D[front + column] : 0.f;
  float next[COPIES];
  auto fetch = [&](long long from) {
#pragma unroll
    for (int i = 0; i < COPIES; ++i) {
      const long long t = from + line + i * LANES;
      next[i] = copies && t < part.last
                    ? to_float(u[t * channels + front + column])
                    : 0.f;
    }
  };
  fetch(part.first);
  for (long long from = part.first; from < part.last; from += TILE) {
#pragma unroll
    for (int i = 0; i < COPIES; ++i) U[(line + i * LANES) * PITCH + column] = next[i];
    __syncthreads();
    fetch(from + TILE);
    const int tokens = part.last - from < TILE ? static_cast<int>(part.last - from) : TILE;
    for (int t = 0; t < tokens; t += GROUP) {
      float group[GROUP];
#pragma unroll
      for (int g = 0; g < GROUP; ++g) {
        group[g] = 0.f;
        if (t + g < tokens) system.advance(x, U[(t + g) * PITCH + own]);
        if (READ) group[g] = system.output(x);
      }
      if (READ) {
        const float total = sum_group(group, lane);
        if (lane < GROUP) Y[(t + lane) * PITCH + own] = total;
      }
    }
    __syncthreads();
    if constexpr (READ) {
#pragma unroll
      for (int i = 0; i < COPIES; ++i) {
        const int t = line + i * LANES, at = t * PITCH + column;
        if (copies && t < tokens)
          y[(from + t) * channels + front + column] =
              from_float<IO>(fmaf(skip, U[at], Y[at]));
      }
    }
  }
  if (!exists || (READ && !part.ends)) return;
  store_row(ends + (READ ? part.sequence : p) * size + row, x, lane, state);
}
