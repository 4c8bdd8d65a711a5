// Sums that lose no digits to their size: their differences are as good as sums of few.
#pragma once
#include "port.cuh"

// A sum, and what it lacks.
struct Sum {
  float high, low;

  __device__ __forceinline__ Sum plus(const Sum& other) const {
    const float sum = high + other.high, part = sum - high;
    const float lost = (high - (sum - part)) + (other.high - part);
    const float rest = lost + (low + other.low);
    const float total = sum + rest;
    return {total, rest - (total - sum)};
  }
  __device__ __forceinline__ Sum from(int by) const {
    return {__shfl_up_sync(SSM_FULL, high, by), __shfl_up_sync(SSM_FULL, low, by)};
  }
};
