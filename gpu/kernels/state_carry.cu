// States from segment to segment: what each of them starts from. Golden:
// ssmref/golden/mamba2.py::ssd, mamba3.py::siso and mimo.
//
//   state_carry   starts[s] = exp2(spans[s-1]) starts[s-1] + what s-1 has added
//
// A thread owns a number of the state of a row, and walks the row's segments; what was
// added is overwritten by what they start from. Of the first segment, `starts` has its
// end: it starts from the state of the call. Segments of row r begin at first[r], or at
// r * per_row where `first` is null.
//
// Memory: spans (segments, heads), starts (segments, heads, numbers of a head).
// No shared memory, no macros.
#include "segments.cuh"

#define THREADS 128

extern "C" __global__ void __launch_bounds__(THREADS)
    state_carry(float* __restrict__ starts, const float* __restrict__ spans,
                const long long* __restrict__ first, long long rows, int per_row,
                int heads, long long numbers) {
  const long long thread = blockIdx.x * static_cast<long long>(THREADS) + threadIdx.x;
  const long long all = heads * numbers;
  if (thread >= rows * all) return;
  const long long row = thread / all, number = thread - row * all;
  const Range range(first, row, per_row);
  float h = starts[range.begin * all + number];
  for (long long s = range.begin + 1; s < range.end; ++s) {
    float& here = starts[s * all + number];
    float next = 0.f;
    if (s + 1 < range.end)
      next = fmaf(ex2(spans[s * heads + number / numbers]), h, here);
    here = h;
    h = next;
  }
}
