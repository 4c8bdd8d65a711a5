// Mamba-1 selective scan, from segment to segment. Golden:
// ssmref/golden/mamba1.py::selective_scan
//
//   start[0] = initial state         start[k] = span[k-1] start[k-1] + added[k-1]
//
// A thread owns one number of the state of one row and walks the row's segments; a
// warp reads 32 neighbouring numbers. `added` is overwritten by the start states.
// Segments of row r begin at first[r], or at r * chunks where `first` is null.
//
// Memory: initial (rows, numbers) or null; added, span (segments, numbers). No shared
// memory. Macros: PARTS (2: complex numbers, as pairs of floats), THREADS.
#include "selective_scan.cuh"

using Value = Number<PARTS>;

extern "C" __global__ void __launch_bounds__(THREADS)
    scan_carry(const float* __restrict__ initial, float* added,
               const float* __restrict__ spans, const long long* first, long long rows,
               int chunks, long long numbers) {
  const long long thread = blockIdx.x * static_cast<long long>(THREADS) + threadIdx.x;
  if (thread >= rows * numbers) return;
  const long long row = thread / numbers, number = thread - row * numbers;
  const long long begin = first ? first[row] : row * chunks;
  const long long end = first ? first[row + 1] : begin + chunks;
  Value h = initial ? number_at<PARTS>(initial + thread * PARTS) : Value{};
  for (long long k = begin; k < end; ++k) {
    const long long at = (k * numbers + number) * PARTS;
    if (k + 1 == end) {  // nothing follows: nothing was summed
      store_number<PARTS>(added + at, h);
    } else {
      Value next = number_at<PARTS>(added + at);
      const Value span = number_at<PARTS>(spans + at);
      store_number<PARTS>(added + at, h);
      h.advance(span, 1.f, next);
    }
  }
}
