// The host's half of port.cuh: what a kernel takes from CUDA, for a CPU.
//
// Included before a kernel and its macros; NVRTC sees nothing of this.
#pragma once
#ifndef SSM_NAMES_ONLY  // set to find out which kernels there are

#include "approximate.h"
#include "async_copy.h"
#include "atomics.h"
#include "entry.h"
#include "matrix.h"
#include "numbers.h"
#include "warp.h"

#define SSM_CP_ASYNC(BYTES)                                                      \
  inline void cp_async##BYTES(void* to, const void* from,                        \
                              ssm::Site site = ssm::Site::here()) {              \
    ssm::copy_async(to, from, BYTES, BYTES, site);                               \
  }                                                                              \
  /* The first `read` bytes; zeros behind them. */                               \
  inline void cp_async##BYTES##_zfill(void* to, const void* from, unsigned read, \
                                      ssm::Site site = ssm::Site::here()) {      \
    ssm::copy_async(to, from, BYTES, read, site);                                \
  }
SSM_CP_ASYNC(16)
SSM_CP_ASYNC(8)
SSM_CP_ASYNC(4)
#undef SSM_CP_ASYNC

inline void cp_async_commit() { ssm::commit_copies(); }
template <int N>
inline void cp_async_wait() {
  ssm::wait_for_copies(N);
}

#endif
