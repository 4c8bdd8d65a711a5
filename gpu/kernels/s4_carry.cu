// S4 and S4D: carry states from part to part of a sequence.
// golden: ssmref/golden/s4.py::s4 and ssmref/golden/s4d.py::s4d, cut in time
//
//   start of part 0 = initial state
//   start of part k + 1 = A_bar^longest (start of part k) + (end of part k from zeros)
//
// All parts of a sequence but its last one have `longest` tokens. `states` (parts,
// channels, state) holds the ends and gets the starts. `firsts` (sequences + 1) says
// where the parts of each sequence begin; where it is null each has `cuts` parts.
//
// s4_carry_diagonal: a thread owns a state; power (channels, state).
// s4_carry_dense: a block owns a channel of a sequence, its threads the rows of real
//   numbers; power (channels, 2 state, 2 state), transposed: [column][row]. A state that
//   is 0 takes no part in a product, which an overflown power would make NaN.
// Shared memory of s4_carry_dense: two states, 4 state floats.
#include "complex.cuh"

#define THREADS 128

struct Parts {
  long long first, last;
};
__device__ __forceinline__ Parts parts_of(int sequence, const long long* firsts,
                                          int cuts) {
  if (firsts != nullptr) return {firsts[sequence], firsts[sequence + 1]};
  return {static_cast<long long>(sequence) * cuts, (sequence + 1LL) * cuts};
}

extern "C" __global__ void __launch_bounds__(THREADS)
    s4_carry_diagonal(float2* __restrict__ states, const float2* __restrict__ initial,
                      const float2* __restrict__ power,
                      const long long* __restrict__ firsts, int cuts, int size,
                      int sequences) {
  const long long index = static_cast<long long>(blockIdx.x) * THREADS + threadIdx.x;
  if (index >= static_cast<long long>(sequences) * size) return;  // no barrier follows
  const int sequence = static_cast<int>(index / size), own = static_cast<int>(index % size);
  const Parts parts = parts_of(sequence, firsts, cuts);
  const float2 a = power[own];
  float2 x = initial != nullptr ? initial[index] : complex(0.f, 0.f);
  for (long long p = parts.first; p < parts.last; ++p) {
    float2& place = states[p * size + own];
    const float2 end = p + 1 < parts.last ? place : x;
    place = x;
    x = x.x == 0.f && x.y == 0.f ? end : plus_times(end, a, x);
  }
}

extern "C" __global__ void __launch_bounds__(THREADS)
    s4_carry_dense(float* __restrict__ states, const float* __restrict__ initial,
                   const float* __restrict__ power, const long long* __restrict__ firsts,
                   int cuts, int channels, int rows) {
  SSM_DYN_SMEM(float, both);
  const int sequence = blockIdx.x / channels, channel = blockIdx.x % channels;
  const Parts parts = parts_of(sequence, firsts, cuts);
  const long long size = static_cast<long long>(channels) * rows;
  const long long own = static_cast<long long>(channel) * rows;
  const float* const matrix = power + own * rows;
  for (int i = threadIdx.x; i < rows; i += THREADS)
    both[i] = initial != nullptr ? initial[sequence * size + own + i] : 0.f;
  for (long long p = parts.first; p < parts.last; ++p) {
    const int turn = (p - parts.first) % 2;
    const float* const x = both + turn * rows;
    float* const next = both + (1 - turn) * rows;
    float* const place = states + p * size + own;
    const bool goes_on = p + 1 < parts.last;
    __syncthreads();
    for (int i = threadIdx.x; i < rows; i += THREADS) {
      float total = goes_on ? place[i] : 0.f;
      for (int j = 0; j < (goes_on ? rows : 0); ++j)
        if (x[j] != 0.f)
          total = fmaf(matrix[static_cast<long long>(j) * rows + i], x[j], total);
      next[i] = total;
      place[i] = x[i];
    }
  }
}
