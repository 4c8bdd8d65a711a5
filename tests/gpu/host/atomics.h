// Atomics, fences and polling. Each is a place where other threads may come first, so
// that a loop that waits for them ends.
//
// Atomics are relaxed, as on a GPU. ThreadSanitizer knows no fences; here a fence is
// ordered after every earlier one, which finds a fence that is missing altogether.
#pragma once

#include "runtime.h"

#ifdef SSM_THREADS
extern "C" {
void __tsan_acquire(void* token);
void __tsan_release(void* token);
}
#endif

namespace ssm {

extern char fences;  // what all fences synchronise with

template <class T>
inline bool replace_if(T* place, T& expected, T value) {
  return __atomic_compare_exchange_n(place, &expected, value, false, __ATOMIC_RELAXED,
                                     __ATOMIC_RELAXED);
}

template <class T, class F>
inline T update(T* place, Site site, F change) {
  pause(site);
  T old = __atomic_load_n(place, __ATOMIC_RELAXED);
  while (!replace_if(place, old, change(old))) {
  }
  if (change(old) != old) progress();
  return old;
}

}  // namespace ssm

#define SSM_ATOMIC(NAME, T, RESULT)                                      \
  inline T NAME(T* place, T value, ssm::Site site = ssm::Site::here()) { \
    return ssm::update(place, site, [=](T old) -> T { return RESULT; }); \
  }
SSM_ATOMIC(atomicAdd, unsigned, old + value)
SSM_ATOMIC(atomicAdd, unsigned long long, old + value)
SSM_ATOMIC(atomicExch, unsigned, ((void)old, value))
SSM_ATOMIC(atomicMax, unsigned, old > value ? old : value)
SSM_ATOMIC(atomicMin, unsigned, old < value ? old : value)
SSM_ATOMIC(atomicOr, unsigned, old | value)
SSM_ATOMIC(atomicAnd, unsigned, (old & value))
SSM_ATOMIC(atomicAdd, int, static_cast<int>(static_cast<unsigned>(old) + value))
SSM_ATOMIC(atomicExch, int, ((void)old, value))
SSM_ATOMIC(atomicMax, int, old > value ? old : value)
SSM_ATOMIC(atomicMin, int, old < value ? old : value)
#undef SSM_ATOMIC

template <class T>
inline T atomicCAS(T* place, T expected, T value, ssm::Site site = ssm::Site::here()) {
  ssm::pause(site);
  if (ssm::replace_if(place, expected, value)) ssm::progress();
  return expected;
}

inline void __threadfence() {
#ifdef SSM_THREADS
  __tsan_release(&ssm::fences);
  __tsan_acquire(&ssm::fences);
#endif
}
inline void __threadfence_block() { __threadfence(); }

inline void __nanosleep(unsigned, ssm::Site site = ssm::Site::here()) {
  ssm::pause(site);
}

template <class T>
inline T ld_acquire(const T* place, ssm::Site site = ssm::Site::here()) {
  ssm::pause(site);
  return __atomic_load_n(place, __ATOMIC_ACQUIRE);
}

template <class T>
inline void st_release(T* place, T value, ssm::Site site = ssm::Site::here()) {
  ssm::pause(site);
  __atomic_store_n(place, value, __ATOMIC_RELEASE);
  ssm::progress();
}
