// What a kernel on the host knows of the launch that it is part of.
//
// A CUDA thread is a fiber (runtime.cpp) or, to look for races, a thread of the system
// (threads.cpp). A kernel cannot tell which: it calls the functions at the end of this
// file. `current` is the CUDA thread that runs.
#pragma once

#include <cstddef>
#include <cstdint>

#ifdef SSM_THREADS
#define SSM_CURRENT __thread
#else
#define SSM_CURRENT
#endif

struct uint3 {
  unsigned x, y, z;
};

namespace ssm {

constexpr unsigned WARP = 32;

// Where in a kernel something happens. A default argument, so that it is the caller's.
struct Site {
  const char* file;
  int line;
  static constexpr Site here(const char* file = __builtin_FILE(),
                             int line = __builtin_LINE()) {
    return {file, line};
  }
};

// A launch, as Python fills it in. `message` is what went wrong, "" if nothing did.
struct Launch {
  uint3 grid, block;
  std::uint64_t shared;    // bytes of shared memory per block
  std::uint32_t resident;  // blocks that are in work at once
  std::uint32_t greedy;    // a warp runs alone until it has to wait
  std::uint64_t seed;      // of the greedy schedule
  std::uint64_t patience;  // rounds of waiting until it counts as livelock
  void** arguments;
  void (*body)(void** arguments);
  char message[1024];
  std::uint64_t switches;  // how often one thread gave way to another
};

struct Warp;
struct Block;
struct Copies;  // those of cp.async that are under way

enum class State : std::uint8_t { ready, at_barrier, at_collective, exited };

// One CUDA thread. What a collective takes from a lane and gives to it is in `in` and
// `out`; the lane that comes last does the work for all of them.
struct Thread {
  uint3 index;
  unsigned number, lane;
  Warp* warp;
  Block* block;
  State state;
  Site site;         // where it waits
  const char* what;  // in which collective
  unsigned mask;
  alignas(16) std::uint32_t in[8];
  alignas(16) std::uint32_t out[8];
  Copies* copies;
  void* context;  // of the fiber
};

struct Block {
  uint3 index;
  unsigned char* shared;
};

// Lanes that do not exist are null.
struct Warp {
  Thread* lanes[WARP];
};

using Work = void (*)(Warp& warp, unsigned mask);

extern SSM_CURRENT Thread* current;
extern const Launch* launched;

// End the launch with a message, which gets the place and the thread.
[[noreturn]] void fail(Site site, const char* format, ...)
    __attribute__((format(printf, 2, 3)));

// Wait for all threads of the block.
void wait_for_block(Site site);

// Wait for all lanes of `mask`; the last one does the work.
void meet(unsigned mask, const char* what, Work work, Site site);

// Let others run: this thread polls for something that another one does.
void pause(Site site);

// Something happened that a polling thread may have waited for.
void progress();

int run(Launch& launch);

}  // namespace ssm
