// Collectives of a warp: shuffles, votes, matches. See `meet`.
#pragma once

#include <cstring>

#include "runtime.h"

namespace ssm {

// Each lane has its value in in[0..1] and the lane that it reads in in[2]. What comes
// from outside of the mask is undefined on a GPU, and a NaN here.
inline void gather(Warp& warp, unsigned mask) {
  for (unsigned lane = 0; lane < WARP; ++lane) {
    if (!(mask >> lane & 1)) continue;
    Thread& reader = *warp.lanes[lane];
    const unsigned from = reader.in[2];
    const bool defined = mask >> from & 1;
    for (int word = 0; word < 2; ++word)
      reader.out[word] = defined ? warp.lanes[from]->in[word] : ~0u;
  }
}

template <class T>
inline T exchange(unsigned mask, T value, unsigned from, const char* what, Site site) {
  static_assert(sizeof(T) <= 8, "shuffles move 4 or 8 bytes");
  std::memcpy(current->in, &value, sizeof value);
  current->in[2] = from;
  meet(mask, what, gather, site);
  std::memcpy(&value, current->out, sizeof value);
  return value;
}

// Lanes are in segments of `width`; who would read beyond its own keeps its value.
inline unsigned segment(int width) {
  return current->lane & ~(static_cast<unsigned>(width) - 1);
}

inline void ballot(Warp& warp, unsigned mask) {
  unsigned votes = 0;
  for (unsigned lane = 0; lane < WARP; ++lane)
    if (mask >> lane & 1 && warp.lanes[lane]->in[0]) votes |= 1u << lane;
  for (unsigned lane = 0; lane < WARP; ++lane)
    if (mask >> lane & 1) warp.lanes[lane]->out[0] = votes;
}

inline unsigned vote(unsigned mask, bool yes, const char* what, Site site) {
  current->in[0] = yes;
  meet(mask, what, ballot, site);
  return current->out[0];
}

inline void match(Warp& warp, unsigned mask) {
  for (unsigned lane = 0; lane < WARP; ++lane) {
    if (!(mask >> lane & 1)) continue;
    unsigned same = 0;
    for (unsigned other = 0; other < WARP; ++other)
      if (mask >> other & 1 &&
          !std::memcmp(warp.lanes[lane]->in, warp.lanes[other]->in, 8))
        same |= 1u << other;
    warp.lanes[lane]->out[0] = same;
  }
}

}  // namespace ssm

template <class T>
inline T __shfl_sync(unsigned mask, T value, int from, int width = 32,
                     ssm::Site site = ssm::Site::here()) {
  const unsigned offset = static_cast<unsigned>(from) % static_cast<unsigned>(width);
  return ssm::exchange(mask, value, ssm::segment(width) + offset, "__shfl_sync", site);
}

template <class T>
inline T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32,
                        ssm::Site site = ssm::Site::here()) {
  const unsigned lane = ssm::current->lane;
  const bool inside = lane >= ssm::segment(width) + delta;
  return ssm::exchange(mask, value, inside ? lane - delta : lane, "__shfl_up_sync",
                       site);
}

template <class T>
inline T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32,
                          ssm::Site site = ssm::Site::here()) {
  const unsigned lane = ssm::current->lane;
  const bool inside = lane + delta < ssm::segment(width) + static_cast<unsigned>(width);
  return ssm::exchange(mask, value, inside ? lane + delta : lane, "__shfl_down_sync",
                       site);
}

// Unlike the others, xor may read a lower segment; a higher one is out of bounds.
template <class T>
inline T __shfl_xor_sync(unsigned mask, T value, int bits, int width = 32,
                         ssm::Site site = ssm::Site::here()) {
  const unsigned lane = ssm::current->lane;
  const unsigned from = lane ^ static_cast<unsigned>(bits);
  const bool inside = from < ssm::segment(width) + static_cast<unsigned>(width);
  return ssm::exchange(mask, value, inside ? from : lane, "__shfl_xor_sync", site);
}

inline unsigned __ballot_sync(unsigned mask, int yes,
                              ssm::Site site = ssm::Site::here()) {
  return ssm::vote(mask, yes, "__ballot_sync", site);
}
inline int __any_sync(unsigned mask, int yes, ssm::Site site = ssm::Site::here()) {
  return ssm::vote(mask, yes, "__any_sync", site) != 0;
}
inline int __all_sync(unsigned mask, int yes, ssm::Site site = ssm::Site::here()) {
  return ssm::vote(mask, yes, "__all_sync", site) == mask;
}

template <class T>
inline unsigned __match_any_sync(unsigned mask, T value,
                                 ssm::Site site = ssm::Site::here()) {
  static_assert(sizeof(T) <= 8, "matches compare 4 or 8 bytes");
  std::memset(ssm::current->in, 0, 8);
  std::memcpy(ssm::current->in, &value, sizeof value);
  ssm::meet(mask, "__match_any_sync", ssm::match, site);
  return ssm::current->out[0];
}

inline void __syncwarp(unsigned mask = 0xffffffffu,
                       ssm::Site site = ssm::Site::here()) {
  ssm::meet(mask, "__syncwarp", nullptr, site);
}
inline void __syncthreads(ssm::Site site = ssm::Site::here()) {
  ssm::wait_for_block(site);
}
