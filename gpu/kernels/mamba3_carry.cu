// The turns of Mamba-3 from segment to segment: what each of them starts from. Golden:
// ssmref/golden/mamba3.py::siso and mimo.
//
//   mamba3_turns         turns[s] = sum over the segment of tanh(angles) dt / 2, modulo 1
//   mamba3_carry_turns   turns[s] = angle of the state + sum of turns[0 .. s-1], in turns
//
// Turns: a block owns a segment of a head; lanes own angles, warps every fourth token.
// Carry: a thread owns an angle of a row, and walks the row's segments; sums are overwritten
// by what they start from. Segments of row r begin at first[r], or at r * per_row where
// `first` is null.
//
// Memory: angles (batch, length, heads, pairs) and dt (batch, length, heads) with strides
// of batch and time; angle (rows, heads, pairs) or null; turns (segments, heads, pairs).
// Shared memory: a float for each thread. Macros: IO (float, bf16, f16).
#include "port.cuh"
#include "mamba3_turns.cuh"

#define THREADS 128
constexpr int WARPS = THREADS / 32;

extern "C" __global__ void __launch_bounds__(THREADS)
    mamba3_turns(const IO* __restrict__ angles, const IO* __restrict__ dt,
                 long long angles_batch, long long angles_token, long long dt_batch,
                 long long dt_token, const long long* __restrict__ segments,
                 float* __restrict__ turns, long long length, long long segment,
                 int per_row, int heads, int pairs) {
  SSM_DYN_SMEM(float, sums);
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, head = blockIdx.x % heads;
  const Segment s =
      find_segment(blockIdx.x / heads, segments, per_row, segment, length);
  dt += s.batch * dt_batch + head;
  angles += s.batch * angles_batch + static_cast<long long>(head) * pairs;
  turns += (s.index * heads + head) * pairs;
  for (int first = 0; first < pairs; first += 32) {
    const int i = first + lane;
    float sum = 0.f;
    if (i < pairs)
#pragma unroll 4
      for (long long t = s.begin + warp; t < s.end; t += WARPS)
        sum = add_turns(sum, turn_of(angles[t * angles_token + i],
                                     to_float(dt[t * dt_token])));
    sums[threadIdx.x] = sum;
    __syncthreads();
    if (warp == 0 && i < pairs) {
      for (int w = 1; w < WARPS; ++w) sum = add_turns(sum, sums[w * 32 + lane]);
      turns[i] = sum;
    }
    __syncthreads();  // sums may be written again
  }
}

extern "C" __global__ void __launch_bounds__(THREADS)
    mamba3_carry_turns(const float* __restrict__ angle, float* __restrict__ turns,
                       const long long* __restrict__ first, long long rows, int per_row,
                       long long numbers) {
  const long long thread = blockIdx.x * static_cast<long long>(THREADS) + threadIdx.x;
  if (thread >= rows * numbers) return;
  const long long row = thread / numbers, number = thread - row * numbers;
  const Range range(first, row, per_row);
  float start = angle ? to_turns(angle[thread]) : 0.f;
  for (long long s = range.begin; s < range.end; ++s) {
    float& here = turns[s * numbers + number];
    const float turned = here;
    here = start;
    start = add_turns(start, turned);
  }
}
