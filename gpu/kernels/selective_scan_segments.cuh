// Which stretch of time and which channels a block of the selective scan owns.
#pragma once
#include "selective_scan.cuh"

// The stretch of time and the channels that a block owns.
struct Segment {
  long long index, row, batch, begin, end;
  int group, channel, channels;
  bool last;
};

// Blocks of WIDTH channels of a segment follow each other, `block` counts them all. In a pack, `segments`
// is rows of (row, begin, end, last); else row r is batch r, cut in `chunks` segments of
// `chunk` tokens each, the last of them shorter.
template <int WIDTH, bool PACK>
__device__ __forceinline__ Segment find(unsigned block, const long long* segments,
                                        int chunks, long long chunk, long long length,
                                        int groups, int channels_per_group) {
  const int tiles = (channels_per_group + WIDTH - 1) / WIDTH;
  const unsigned per_segment = static_cast<unsigned>(tiles) * groups;
  const unsigned index = block / per_segment;
  const int tile = static_cast<int>(block - index * per_segment);
  Segment s;
  s.index = index;
  s.group = tile / tiles;
  const int first = (tile - s.group * tiles) * WIDTH;
  s.channel = s.group * channels_per_group + first;
  s.channels = min(WIDTH, channels_per_group - first);
  if (PACK) {
    s.row = segments[4 * s.index];
    s.batch = 0;
    s.begin = segments[4 * s.index + 1];
    s.end = segments[4 * s.index + 2];
    s.last = segments[4 * s.index + 3] != 0;
    return s;
  }
  s.row = s.batch = index / chunks;
  const unsigned c = index - static_cast<unsigned>(s.row) * chunks;
  s.begin = c * chunk;
  s.end = min(s.begin + chunk, length);
  s.last = c + 1 == chunks;
  return s;
}
