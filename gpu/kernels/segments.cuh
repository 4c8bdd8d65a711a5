// Which stretch of time a block owns, of a batch or of a pack.
#pragma once
#include "port.cuh"

// A stretch of a sequence. `first` and `last` say that nothing of the sequence is before
// it or behind it.
struct Segment {
  long long index, row, batch, begin, end;
  bool first, last;
};

// In a pack, `table` is rows of (row, begin, end, last); else row r is batch r, cut in
// `per_row` segments of `size` tokens, the last of them shorter.
__device__ __forceinline__ Segment find_segment(unsigned index, const long long* table,
                                                int per_row, long long size,
                                                long long length) {
  Segment s;
  s.index = index;
  if (table) {
    const long long* const own = table + 4 * s.index;
    s.row = own[0], s.batch = 0, s.begin = own[1], s.end = own[2];
    s.first = index == 0 || own[-4] != s.row;
    s.last = own[3] != 0;
  } else {
    const int within = index % per_row;
    s.row = s.batch = index / per_row;
    s.begin = within * size;
    s.end = min(s.begin + size, length);
    s.first = within == 0;
    s.last = within + 1 == per_row;
  }
  return s;
}

// The segments of a row.
struct Range {
  long long begin, end;

  __device__ __forceinline__ Range(const long long* first, long long row, int per_row)
      : begin(first ? first[row] : row * per_row),
        end(first ? first[row + 1] : begin + per_row) {}
};
