// Runs a launch on threads of the system, one per CUDA thread, for ThreadSanitizer.
//
// This file is not instrumented: its own locks must not order what the kernel does.
// What a barrier or a collective orders is said by `in_order` alone, so that a race is
// seen whenever it could be one.

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <thread>
#include <vector>

#include "collective.h"
#include "copies.h"
#include "runtime.h"
#include "shared.h"

extern "C" {
void __tsan_acquire(void* token);
void __tsan_release(void* token);
}

namespace ssm {

__thread Thread* current = nullptr;
const Launch* launched = nullptr;
char fences;

namespace {

constexpr int STATUS = 66;  // that of ThreadSanitizer, too

// A mutex that ThreadSanitizer does not see.
class Lock {
 public:
  void lock() {
    while (taken_.test_and_set(std::memory_order_acquire)) std::this_thread::yield();
  }
  void unlock() { taken_.clear(std::memory_order_release); }

 private:
  std::atomic_flag taken_ = ATOMIC_FLAG_INIT;
};

struct Worker : Thread {
  std::atomic<int> waiting{0};
  Copies own_copies;

  void sleep() {
    while (waiting.load(std::memory_order_acquire))
      syscall(SYS_futex, &waiting, FUTEX_WAIT_PRIVATE, 1, nullptr, nullptr, 0);
  }
  void wake() {
    state = State::ready;
    waiting.store(0, std::memory_order_release);
    syscall(SYS_futex, &waiting, FUTEX_WAKE_PRIVATE, 1, nullptr, nullptr, 0);
  }
};

struct Slot : Block {
  Lock lock;
  std::vector<std::unique_ptr<Worker>> threads;
  std::vector<Warp> warps;
  unsigned live = 0, at_barrier = 0;
  Shared memory;
};

Worker& worker(Thread& thread) { return static_cast<Worker&>(thread); }
Slot& slot_of(const Thread& thread) { return static_cast<Slot&>(*thread.block); }

uint3 position(std::uint64_t number, const uint3& size) {
  return {static_cast<unsigned>(number % size.x),
          static_cast<unsigned>(number / size.x % size.y),
          static_cast<unsigned>(number / size.x / size.y)};
}

// All that the threads of a meeting did before comes before all that they do after it.
// They released on arrival; the last one does this and they acquire on departure.
void in_order(const std::vector<Thread*>& together) {
  for (Thread* thread : together) __tsan_acquire(thread->in);
  for (Thread* thread : together) __tsan_release(thread->out);
}

void depart() {
  worker(*current).sleep();
  __tsan_acquire(current->out);
}

void open_barrier(Slot& slot) {
  std::vector<Thread*> together;
  for (const auto& thread : slot.threads)
    if (thread->state == State::at_barrier) together.push_back(thread.get());
  slot.at_barrier = 0;
  in_order(together);
  for (Thread* thread : together) worker(*thread).wake();
}

void leave() {
  Slot& slot = slot_of(*current);
  current->copies->check_finished();
  slot.lock.lock();
  current->state = State::exited;
  for (const Thread* lane : current->warp->lanes)
    if (lane && lane->state == State::at_collective && lane->mask >> current->lane & 1)
      fail(lane->site, "the mask %08x of %s names lane %u, which has exited",
           lane->mask, lane->what, current->lane);
  if (--slot.live && slot.at_barrier == slot.live) open_barrier(slot);
  slot.lock.unlock();
}

void work(Worker* me, const Launch* launch) {
  current = me;
  launch->body(launch->arguments);
  leave();
}

std::unique_ptr<Slot> furnished(const Launch& launch, std::uint64_t number) {
  auto slot = std::make_unique<Slot>();
  const unsigned count = launch.block.x * launch.block.y * launch.block.z;
  slot->index = position(number, launch.grid);
  slot->memory.resize(launch.shared);
  slot->shared = slot->memory.fresh();
  slot->warps.assign((count + WARP - 1) / WARP, Warp{});
  slot->live = count;
  for (unsigned i = 0; i < count; ++i) {
    auto thread = std::make_unique<Worker>();
    thread->index = position(i, launch.block);
    thread->number = i;
    thread->lane = i % WARP;
    thread->warp = &slot->warps[i / WARP];
    thread->block = slot.get();
    thread->copies = &thread->own_copies;
    thread->warp->lanes[thread->lane] = thread.get();
    slot->threads.push_back(std::move(thread));
  }
  return slot;
}

void run_together(const Launch& launch, std::uint64_t first, std::uint64_t end) {
  std::vector<std::unique_ptr<Slot>> slots;
  std::vector<std::thread> threads;
  for (std::uint64_t number = first; number < end; ++number)
    slots.push_back(furnished(launch, number));
  for (const auto& slot : slots)
    for (const auto& thread : slot->threads)
      threads.emplace_back(work, thread.get(), &launch);
  for (std::thread& thread : threads) thread.join();
  for (const auto& slot : slots)
    if (const char* side = slot->memory.overrun()) {
      std::fprintf(stderr, "wrote %s its shared memory\n", side);
      _exit(STATUS);
    }
}

}  // namespace

void fail(Site site, const char* format, ...) {
  char text[1024];
  va_list values;
  va_start(values, format);
  std::vsnprintf(text, sizeof text, format, values);
  va_end(values);
  std::fprintf(stderr, "%s:%d: %s (block %u,%u,%u, thread %u)\n", site.file, site.line,
               text, current->block->index.x, current->block->index.y,
               current->block->index.z, current->number);
  _exit(STATUS);
}

void progress() {}

void pause(Site) { std::this_thread::yield(); }

void wait_for_block(Site site) {
  Slot& slot = slot_of(*current);
  slot.lock.lock();
  for (const auto& thread : slot.threads)
    if (thread->state == State::at_barrier && thread->site.line != site.line)
      fail(site,
           "threads of a block meet at different __syncthreads: thread %u waits"
           " in line %d",
           thread->number, thread->site.line);
  current->site = site;
  current->state = State::at_barrier;
  worker(*current).waiting.store(1);
  __tsan_release(current->in);
  if (++slot.at_barrier == slot.live) open_barrier(slot);
  slot.lock.unlock();
  depart();
}

void meet(unsigned mask, const char* what, Work work, Site site) {
  Slot& slot = slot_of(*current);
  current->mask = mask;
  current->what = what;
  if (!(mask >> current->lane & 1))
    fail(site, "a lane calls %s with mask %08x, which does not name it", what, mask);
  slot.lock.lock();
  current->site = site;
  current->state = State::at_collective;
  worker(*current).waiting.store(1);
  __tsan_release(current->in);
  if (complete(*current)) {
    std::vector<Thread*> together;
    for (unsigned lane = 0; lane < WARP; ++lane)
      if (mask >> lane & 1) together.push_back(current->warp->lanes[lane]);
    for (Thread* thread : together) __tsan_acquire(thread->in);
    if (work) work(*current->warp, mask);
    in_order(together);
    for (Thread* thread : together) worker(*thread).wake();
  }
  slot.lock.unlock();
  depart();
}

int run(Launch& launch) {
  const std::uint64_t count =
      std::uint64_t{launch.grid.x} * launch.grid.y * launch.grid.z;
  launch.message[0] = 0;
  launched = &launch;
  for (std::uint64_t first = 0; first < count; first += launch.resident)
    run_together(launch, first, std::min(count, first + launch.resident));
  return 0;
}

}  // namespace ssm
