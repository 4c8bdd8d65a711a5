// What both runtimes check when lanes of a warp meet.
#pragma once

#include <cstring>

#include "runtime.h"

namespace ssm {

inline bool mean_the_same(const Thread& a, const Thread& b) {
  return a.mask == b.mask && a.site.line == b.site.line &&
         (a.what == b.what || !std::strcmp(a.what, b.what));
}

[[noreturn]] inline void disagree(const Thread& a, const Thread& b) {
  fail(a.site,
       "%s with mask %08x of lane %u meets %s with mask %08x of lane %u in line %d",
       a.what, a.mask, a.lane, b.what, b.mask, b.lane, b.site.line);
}

// Whether a lane that the mask names is there; fails where it never will be.
inline bool is_there(const Thread& thread, unsigned lane) {
  const Thread* other = thread.warp->lanes[lane];
  if (!other)
    fail(thread.site, "the mask %08x of %s names lane %u, which does not exist",
         thread.mask, thread.what, lane);
  if (other->state == State::exited)
    fail(thread.site, "the mask %08x of %s names lane %u, which has exited",
         thread.mask, thread.what, lane);
  if (other->state != State::at_collective) return false;
  if (mean_the_same(thread, *other)) return true;
  // It may be with others first, unless it waits for this lane as well.
  if (other->mask >> thread.lane & 1) disagree(thread, *other);
  return false;
}

// Whether all lanes of the mask are there. The next lane is the likeliest to be
// missing.
inline bool complete(const Thread& thread) {
  for (unsigned step = 1; step < WARP; ++step) {
    const unsigned lane = (thread.lane + step) % WARP;
    if (thread.mask >> lane & 1 && !is_there(thread, lane)) return false;
  }
  return true;
}

}  // namespace ssm
