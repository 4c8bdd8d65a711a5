// Which thread runs next.
//
// Fair: each ready thread in turn. Greedy: one warp alone, its lanes in random order,
// until all of them wait, then any other one. Where a barrier is missing, the fair
// order often gives the right result all the same; the greedy one runs far ahead.
#pragma once

#include <cstdint>
#include <vector>

namespace ssm {

// Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014.
class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed) {}
  std::uint64_t next() {
    std::uint64_t z = state_ += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
  }
  // A number below a bound that is small.
  unsigned below(unsigned bound) {
    return static_cast<unsigned>((next() >> 32) * bound >> 32);
  }

 private:
  std::uint64_t state_;
};

// The threads that could run: a mask of lanes for each warp of the resident blocks.
class Schedule {
 public:
  Schedule(unsigned warps, bool greedy, std::uint64_t seed)
      : ready_(warps, 0), greedy_(greedy), random_(seed) {}

  void add(unsigned warp, unsigned lane) { ready_[warp] |= 1u << lane; }
  void remove(unsigned warp, unsigned lane) { ready_[warp] &= ~(1u << lane); }

  // Choose a thread; false if there is none. `polling`: the last one only asked.
  bool choose(bool polling = false) {
    return greedy_ ? choose_greedy(polling) : choose_fair();
  }
  unsigned warp() const { return warp_; }
  unsigned lane() const { return lane_; }

 private:
  bool choose_fair() {
    // Lanes beyond the one that ran, then the next warps, at last this one again.
    unsigned after = lane_ == 31 ? 0 : ready_[warp_] & ~0u << (lane_ + 1);
    for (std::size_t step = 0; !after; ++step) {
      if (step == ready_.size()) return false;
      warp_ = warp_ + 1 == ready_.size() ? 0 : warp_ + 1;
      after = ready_[warp_];
    }
    lane_ = static_cast<unsigned>(__builtin_ctz(after));
    return true;
  }

  bool choose_greedy(bool polling) {
    if ((polling || !ready_[warp_]) && !choose_warp()) return false;
    unsigned skip =
        random_.below(static_cast<unsigned>(__builtin_popcount(ready_[warp_])));
    unsigned lanes = ready_[warp_];
    while (skip--) lanes &= lanes - 1;
    lane_ = static_cast<unsigned>(__builtin_ctz(lanes));
    return true;
  }

  bool choose_warp() {
    unsigned candidates = 0;
    for (unsigned lanes : ready_) candidates += lanes != 0;
    if (!candidates) return false;
    unsigned skip = random_.below(candidates);
    for (warp_ = 0; !ready_[warp_] || skip; ++warp_) skip -= ready_[warp_] != 0;
    return true;
  }

  std::vector<unsigned> ready_;
  bool greedy_;
  Random random_;
  unsigned warp_ = 0, lane_ = 31;
};

}  // namespace ssm
