// Fibers: stacks with a guard page, and the switch from one to another.
//
// The switch saves what the calling convention lets a function keep, on the stack that
// it leaves, and takes it from the one that it enters. x86-64 and aarch64 in assembly,
// about a hundred times as fast as swapcontext, which asks the kernel for the signal
// mask.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <new>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif

// Elsewhere the C library switches; SSM_UCONTEXT asks for it here as well.
#if !defined(__x86_64__) && !defined(__aarch64__) && !defined(SSM_UCONTEXT)
#define SSM_UCONTEXT
#endif
#ifdef SSM_UCONTEXT
#include <ucontext.h>
#endif

namespace ssm {

// One stack. Below it lies a page that nobody may touch.
class Stack {
 public:
#if defined(__SANITIZE_ADDRESS__)
  static constexpr std::size_t SIZE = 256 * 1024;
#else
  static constexpr std::size_t SIZE = 64 * 1024;
#endif

  Stack() {
    const std::size_t guard = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
    void* found = mmap(nullptr, guard + SIZE, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (found == MAP_FAILED || mprotect(found, guard, PROT_NONE))
      throw std::bad_alloc();
    low_ = static_cast<char*>(found) + guard;
  }
  Stack(const Stack&) = delete;
  Stack& operator=(const Stack&) = delete;
  // Stacks live as long as the process: the next launch takes them again.

  char* low() const { return low_; }
  char* high() const { return low_ + SIZE; }
  // Whether an address is in the guard page: the stack was too small.
  bool guards(const void* address) const {
    const char* byte = static_cast<const char*>(address);
    return byte < low_ && byte >= low_ - sysconf(_SC_PAGESIZE);
  }

 private:
  char* low_;
};

#if defined(SSM_UCONTEXT)

inline void ssm_switch(void** from, void* to) {
  ucontext_t here;
  *from = &here;
  swapcontext(&here, static_cast<ucontext_t*>(to));
}

inline void* prepare(const Stack& stack, void (*entry)()) {
  // The first context lies at the high end of its own stack.
  const std::size_t room = (sizeof(ucontext_t) + 63) / 64 * 64;
  auto* context = reinterpret_cast<ucontext_t*>(stack.high() - room);
  getcontext(context);
  context->uc_stack.ss_sp = stack.low();
  context->uc_stack.ss_size = Stack::SIZE - room;
  context->uc_link = nullptr;
  makecontext(context, entry, 0);
  return context;
}

#elif defined(__x86_64__)

extern "C" void ssm_switch(void** from, void* to);
asm(R"(
.text
.globl ssm_switch
.hidden ssm_switch
.type ssm_switch, @function
ssm_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
.size ssm_switch, .-ssm_switch
)");

// A stack on which the first switch "returns" into `entry`. The address that `entry`
// would return to is 0, and lies 8 bytes before a multiple of 16, as after a call.
inline void* prepare(const Stack& stack, void (*entry)()) {
  void** top = reinterpret_cast<void**>(stack.high());
  *--top = nullptr;
  *--top = reinterpret_cast<void*>(entry);
  for (int saved = 0; saved < 6; ++saved) *--top = nullptr;
  return top;
}

#elif defined(__aarch64__)

extern "C" void ssm_switch(void** from, void* to);
asm(R"(
.text
.globl ssm_switch
.hidden ssm_switch
.type ssm_switch, %function
ssm_switch:
    sub sp, sp, #160
    stp x19, x20, [sp, #0]
    stp x21, x22, [sp, #16]
    stp x23, x24, [sp, #32]
    stp x25, x26, [sp, #48]
    stp x27, x28, [sp, #64]
    stp x29, x30, [sp, #80]
    stp d8, d9, [sp, #96]
    stp d10, d11, [sp, #112]
    stp d12, d13, [sp, #128]
    stp d14, d15, [sp, #144]
    mov x2, sp
    str x2, [x0]
    mov sp, x1
    ldp x19, x20, [sp, #0]
    ldp x21, x22, [sp, #16]
    ldp x23, x24, [sp, #32]
    ldp x25, x26, [sp, #48]
    ldp x27, x28, [sp, #64]
    ldp x29, x30, [sp, #80]
    ldp d8, d9, [sp, #96]
    ldp d10, d11, [sp, #112]
    ldp d12, d13, [sp, #128]
    ldp d14, d15, [sp, #144]
    add sp, sp, #160
    ret
.size ssm_switch, .-ssm_switch
)");

inline void* prepare(const Stack& stack, void (*entry)()) {
  void** saved = reinterpret_cast<void**>(stack.high() - 160);
  for (int i = 0; i < 20; ++i) saved[i] = nullptr;
  saved[11] = reinterpret_cast<void*>(entry);  // x30, where the switch returns to
  return saved;
}

#endif

// Who can be switched to: a fiber, or the stack of the caller of `run`.
struct Context {
  void* saved = nullptr;
  const void* low = nullptr;  // of the stack; AddressSanitizer wants to know
  std::size_t size = 0;
  void* fake = nullptr;  // frames that AddressSanitizer keeps elsewhere
};

inline Context* left = nullptr;  // who switched to the one that runs

// What has to be done first on the stack that was switched to.
inline void arrived([[maybe_unused]] Context* here) {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(here->fake, &left->low, &left->size);
#endif
}

inline void change(Context& from, Context& to, [[maybe_unused]] bool for_good = false) {
  left = &from;
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_start_switch_fiber(for_good ? nullptr : &from.fake, to.low, to.size);
#endif
  ssm_switch(&from.saved, to.saved);
  arrived(&from);
}

}  // namespace ssm
