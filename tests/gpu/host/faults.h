// Signals of the processor become messages of the launch: null pointers, misaligned
// vectors, the guard page of a stack, a division by zero.
#pragma once

#include <csignal>
#include <cstdlib>

#include "runtime.h"

namespace ssm {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)

// The sanitizers say more.
struct Faults {
  ~Faults() {}
};

#else

// Set while a launch runs, given back afterwards: pytest and Python have their own.
class Faults {
 public:
  Faults() {
    stack_.ss_size = 64 * 1024;
    stack_.ss_sp = std::malloc(stack_.ss_size);
    sigaltstack(&stack_, &old_stack_);
    struct sigaction action{};
    action.sa_sigaction = report;
    // The handler does not return, so that signals must not stay blocked.
    action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
    for (int i = 0; i < COUNT; ++i) sigaction(SIGNALS[i], &action, &old_[i]);
  }
  Faults(const Faults&) = delete;
  Faults& operator=(const Faults&) = delete;
  ~Faults() {
    for (int i = 0; i < COUNT; ++i) sigaction(SIGNALS[i], &old_[i], nullptr);
    sigaltstack(&old_stack_, nullptr);
    std::free(stack_.ss_sp);
  }

 private:
  static constexpr int COUNT = 3;
  static constexpr int SIGNALS[COUNT] = {SIGSEGV, SIGBUS, SIGFPE};

  static void report(int number, siginfo_t* info, void*);

  stack_t stack_{}, old_stack_{};
  struct sigaction old_[COUNT]{};
};

#endif

}  // namespace ssm
