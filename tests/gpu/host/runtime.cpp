// Runs a launch on one thread of the system: each CUDA thread is a fiber.

#include "runtime.h"

#include <algorithm>
#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <memory>
#include <utility>
#include <vector>

#include "collective.h"
#include "copies.h"
#include "faults.h"
#include "fibers.h"
#include "schedule.h"
#include "shared.h"

namespace ssm {

Thread* current = nullptr;
char fences;
const Launch* launched = nullptr;

namespace {

struct Fiber : Thread {
  Context fiber;
  Stack stack;
  Copies own_copies;
};

// Threads and shared memory of a block that is in work, taken again by the next one.
struct Slot : Block {
  std::vector<Fiber*> threads;
  std::vector<Warp> warps;
  unsigned first_warp = 0;  // in the schedule
  unsigned live = 0, at_barrier = 0;
  Shared memory;
};

struct Run {
  Launch& launch;
  Schedule schedule;
  std::vector<std::unique_ptr<Slot>> slots = {};
  std::vector<Warp*> warps = {};  // of all slots, as the schedule counts them
  Context caller = {};
  std::uint64_t next_block = 0, polls = 0;
  bool failed = false;
  Slot* finished = nullptr;
};

Run* running = nullptr;

// Fibers are kept from launch to launch: their stacks cost more than they do.
std::vector<std::unique_ptr<Fiber>>& pool() {
  static std::vector<std::unique_ptr<Fiber>> fibers;
  return fibers;
}

std::size_t threads_per_block(const Launch& launch) {
  return std::size_t{launch.block.x} * launch.block.y * launch.block.z;
}

std::uint64_t blocks(const Launch& launch) {
  return std::uint64_t{launch.grid.x} * launch.grid.y * launch.grid.z;
}

uint3 position(std::uint64_t number, const uint3& size) {
  return {static_cast<unsigned>(number % size.x),
          static_cast<unsigned>(number / size.x % size.y),
          static_cast<unsigned>(number / size.x / size.y)};
}

Slot& slot_of(const Thread& thread) { return static_cast<Slot&>(*thread.block); }
Fiber& fiber_of(Thread& thread) { return static_cast<Fiber&>(thread); }

unsigned warp_number(const Thread& thread) {
  return slot_of(thread).first_warp + thread.number / WARP;
}

void make_ready(Thread& thread) {
  thread.state = State::ready;
  running->schedule.add(warp_number(thread), thread.lane);
}

Thread& chosen() {
  return *running->warps[running->schedule.warp()]->lanes[running->schedule.lane()];
}

[[noreturn]] void back_to_caller() {
  change(fiber_of(*current).fiber, running->caller, true);
  __builtin_unreachable();
}

void describe(const Thread& thread, char* text, std::size_t room) {
  const char* where = thread.state == State::at_barrier ? "__syncthreads"
                      : thread.state == State::ready    ? "nothing"
                                                        : thread.what;
  std::snprintf(text, room, "thread %u of block (%u,%u,%u) waits for %s in line %d",
                thread.number, thread.block->index.x, thread.block->index.y,
                thread.block->index.z, where, thread.site.line);
}

// A thread that waits, and not where `like` does, if there is one.
Thread* waiting_elsewhere(const Thread& like) {
  for (const auto& slot : running->slots)
    for (Fiber* thread : slot->threads)
      if (slot->live && thread->state != State::exited &&
          (thread->state != like.state || thread->site.line != like.site.line))
        return thread;
  return nullptr;
}

// Fail if two lanes wait for each other, but in different collectives.
void check_agreement(const Thread& thread) {
  if (thread.state != State::at_collective) return;
  for (const Thread* other : thread.warp->lanes)
    if (other && other->state == State::at_collective &&
        !mean_the_same(thread, *other) && thread.mask >> other->lane & 1 &&
        other->mask >> thread.lane & 1)
      disagree(thread, *other);
}

[[noreturn]] void deadlock() {
  for (const auto& slot : running->slots)
    for (const Fiber* thread : slot->threads)
      if (slot->live) check_agreement(*thread);
  // The message is about one that waits, which the last one to exit does not.
  if (current->state == State::exited) current = waiting_elsewhere(*current);
  char text[256] = "all others have exited or wait for the same";
  if (const Thread* other = waiting_elsewhere(*current))
    describe(*other, text, sizeof text);
  const char* what =
      current->state == State::at_barrier ? "__syncthreads" : current->what;
  fail(current->site, "deadlock: no thread can go on; this one waits in %s; %s", what,
       text);
}

// Let the next thread run, while the current one is not to.
void give_way(bool polling) {
  Thread* me = current;
  if (!running->schedule.choose(polling)) deadlock();
  Thread& next = chosen();
  if (&next == me) return;
  ++running->launch.switches;
  current = &next;
  change(fiber_of(*me).fiber, fiber_of(next).fiber);
  current = me;
}

void wait(State state, Site site) {
  current->state = state;
  current->site = site;
  running->schedule.remove(warp_number(*current), current->lane);
  give_way(false);
}

void open_barrier(Slot& slot) {
  slot.at_barrier = 0;
  for (Fiber* thread : slot.threads)
    if (thread->state == State::at_barrier) make_ready(*thread);
}

void check_barrier(const Slot& slot, Site site) {
  for (const Fiber* thread : slot.threads)
    if (thread->state == State::at_barrier && thread->site.line != site.line)
      fail(site,
           "threads of a block meet at different __syncthreads: thread %u waits"
           " in line %d",
           thread->number, thread->site.line);
}

void check_nobody_waits_for(const Thread& gone) {
  for (const Thread* lane : gone.warp->lanes)
    if (lane && lane->state == State::at_collective && lane->mask >> gone.lane & 1)
      fail(lane->site, "the mask %08x of %s names lane %u, which has exited",
           lane->mask, lane->what, gone.lane);
}

[[noreturn]] void leave() {
  Slot& slot = slot_of(*current);
  current->copies->check_finished();
  current->state = State::exited;
  check_nobody_waits_for(*current);
  progress();
  running->schedule.remove(warp_number(*current), current->lane);
  if (--slot.live == 0) {
    running->finished = &slot;
    back_to_caller();
  }
  if (slot.at_barrier == slot.live) open_barrier(slot);
  give_way(false);
  __builtin_unreachable();
}

void enter() {
  arrived(&fiber_of(*current).fiber);
  running->launch.body(running->launch.arguments);
  leave();
}

void start(Slot& slot) {
  slot.index = position(running->next_block++, running->launch.grid);
  slot.shared = slot.memory.fresh();
  slot.live = static_cast<unsigned>(slot.threads.size());
  slot.at_barrier = 0;
  for (Fiber* thread : slot.threads) {
    thread->fiber = {};
    thread->fiber.saved = prepare(thread->stack, enter);
    thread->fiber.low = thread->stack.low();
    thread->fiber.size = Stack::SIZE;
    make_ready(*thread);
  }
}

void furnish(Slot& slot, const Launch& launch, std::size_t first) {
  const std::size_t count = threads_per_block(launch);
  slot.memory.resize(launch.shared);
  slot.warps.assign((count + WARP - 1) / WARP, Warp{});
  slot.first_warp = static_cast<unsigned>(first * slot.warps.size());
  for (std::size_t i = 0; i < count; ++i) {
    if (pool().size() <= first * count + i) pool().push_back(std::make_unique<Fiber>());
    Fiber* thread = pool()[first * count + i].get();
    thread->index = position(i, launch.block);
    thread->number = static_cast<unsigned>(i);
    thread->lane = thread->number % WARP;
    thread->warp = &slot.warps[i / WARP];
    thread->block = &slot;
    thread->own_copies = {};
    thread->copies = &thread->own_copies;
    thread->warp->lanes[thread->lane] = thread;
    slot.threads.push_back(thread);
  }
}

void finish(Slot& slot) {
  if (const char* what = slot.memory.overrun()) {
    running->failed = true;
    std::snprintf(running->launch.message, sizeof running->launch.message,
                  "block (%u,%u,%u) wrote %s its %llu bytes of shared memory",
                  slot.index.x, slot.index.y, slot.index.z, what,
                  static_cast<unsigned long long>(running->launch.shared));
  }
  if (running->next_block < blocks(running->launch)) start(slot);
}

void work() {
  for (const auto& slot : running->slots) start(*slot);
  while (!running->failed && running->schedule.choose()) {
    current = &chosen();
    change(running->caller, fiber_of(*current).fiber);
    current = nullptr;
    if (Slot* slot = std::exchange(running->finished, nullptr)) finish(*slot);
  }
}

}  // namespace

#if !defined(__SANITIZE_ADDRESS__)
void Faults::report(int number, siginfo_t* info, void*) {
  if (!current) std::abort();
  const Site site = {"kernel", current->site.line};
  if (number == SIGFPE) fail(site, "integer division by zero");
  if (fiber_of(*current).stack.guards(info->si_addr))
    fail(site, "more than %zu bytes of stack", Stack::SIZE);
  fail(site,
       "touched memory at %p, which is not there, or is misaligned for a vector;"
       " AddressSanitizer tells the line",
       info->si_addr);
}
#endif

void fail(Site site, const char* format, ...) {
  char* text = running->launch.message;
  const std::size_t room = sizeof running->launch.message;
  int used = std::snprintf(text, room, "%s:%d: ", site.file, site.line);
  va_list values;
  va_start(values, format);
  used += std::vsnprintf(text + used, room - used, format, values);
  va_end(values);
  if (static_cast<std::size_t>(used) < room)
    std::snprintf(
        text + used, room - used, " (block %u,%u,%u, thread %u = warp %u lane %u)",
        current->block->index.x, current->block->index.y, current->block->index.z,
        current->number, current->number / WARP, current->lane);
  running->failed = true;
  back_to_caller();
}

void progress() { running->polls = 0; }

void wait_for_block(Site site) {
  Slot& slot = slot_of(*current);
  progress();
  if (slot.at_barrier + 1 == slot.live) {
    check_barrier(slot, site);
    open_barrier(slot);
    return;
  }
  ++slot.at_barrier;
  wait(State::at_barrier, site);
}

void meet(unsigned mask, const char* what, Work work, Site site) {
  current->mask = mask;
  current->what = what;
  current->site = site;
  if (!(mask >> current->lane & 1))
    fail(site, "a lane calls %s with mask %08x, which does not name it", what, mask);
  progress();
  current->state = State::at_collective;
  if (!complete(*current)) return wait(State::at_collective, site);
  if (work) work(*current->warp, mask);
  for (unsigned lane = 0; lane < WARP; ++lane)
    if (mask >> lane & 1) make_ready(*current->warp->lanes[lane]);
}

void pause(Site site) {
  if (++running->polls > running->launch.patience)
    fail(site, "livelock: threads have polled %llu times and nothing happened",
         static_cast<unsigned long long>(running->launch.patience));
  current->site = site;
  give_way(true);
}

int run(Launch& launch) {
  const std::uint64_t count = blocks(launch);
  const std::size_t slots = std::min<std::uint64_t>(launch.resident, count);
  const std::size_t warps = (threads_per_block(launch) + WARP - 1) / WARP;
  launch.message[0] = 0;
  launch.switches = 0;
  if (!slots) return 0;
  Run run{launch,
          Schedule(static_cast<unsigned>(slots * warps), launch.greedy, launch.seed)};
  running = &run;
  launched = &launch;
  for (std::size_t i = 0; i < slots; ++i) {
    run.slots.push_back(std::make_unique<Slot>());
    furnish(*run.slots.back(), launch, i);
    for (Warp& warp : run.slots.back()->warps) run.warps.push_back(&warp);
  }
  {
    const Faults faults;
    work();
  }
  running = nullptr;
  return run.failed;
}

}  // namespace ssm
