// N numbers per thread and access: vectors where rows are aligned, single numbers
// (N = 1) where they are not.
#pragma once
#include "io.cuh"

template <int N, class T>
__device__ __forceinline__ void load_lanes(float (&x)[N], const T* p) {
  if constexpr (N * sizeof(T) % 4 == 0) load<N>(x, p);
  else load_some<N>(x, p, N);
}

template <int N, class T>
__device__ __forceinline__ void store_lanes(T* p, const float (&x)[N]) {
  if constexpr (N * sizeof(T) % 4 == 0) store<N>(p, x);
  else store_some<N>(p, x, N);
}

// N numbers as they lie in memory, in fewer registers than as float.
template <int N, class T>
struct Packed {
  static constexpr bool WHOLE = N * sizeof(T) % 4 == 0;
  unsigned words[WHOLE ? N * sizeof(T) / 4 : N];

  __device__ __forceinline__ void load(const T* p) {
    if constexpr (WHOLE) {
      using Vector = typename Words<N * sizeof(T) / 4>::type;
      spread(words, *reinterpret_cast<const Vector*>(p));
    } else {
#pragma unroll
      for (int i = 0; i < N; ++i) words[i] = p[i].bits;
    }
  }

  __device__ __forceinline__ void unpack(float (&x)[N]) const {
    constexpr int EACH = WHOLE ? 4 / sizeof(T) : 1;
#pragma unroll
    for (int i = 0; i < N; i += EACH) {
      if constexpr (WHOLE) from_word<T>(x + i, words[i / EACH]);
      else x[i] = to_float(T{static_cast<unsigned short>(words[i])});
    }
  }
};

template <int N>
__device__ __forceinline__ void fill(float (&x)[N], float value) {
#pragma unroll
  for (int i = 0; i < N; ++i) x[i] = value;
}

// One vector of each of the rows p to p + R of `count` rows, `size` numbers from row to
// row; beyond the last row it is that row again.
template <int R, int N>
__device__ __forceinline__ void load_rows(float (&x)[R][N], const float* first, int p,
                                          int count, int size) {
#pragma unroll
  for (int i = 0; i < R; ++i)
    load_lanes<N>(x[i], first + static_cast<long long>(min(p + i, count - 1)) * size);
}

template <int R, int N>
__device__ __forceinline__ void store_rows(float* first, const float (&x)[R][N], int p,
                                           int count, int size) {
#pragma unroll
  for (int i = 0; i < R; ++i)
    if (p + i < count)
      store_lanes<N>(first + static_cast<long long>(p + i) * size, x[i]);
}
