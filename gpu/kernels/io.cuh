// Numbers between memory and registers, whatever their type: registers hold float.
//
// load<N>(x, p), store<N>(p, x)         p is aligned to the N numbers, to at most 16 bytes:
//                                       as few instructions as 16 bytes each allow
// load_some<N>(x, p, count, rest)       any p; the first `count` exist, others are `rest`
// store_some<N>(p, x, count)            any p; only the first `count` are written
// per_vector<T>()                       how many T fit into 16 bytes
#pragma once
#include "port.cuh"

template <class T>
__device__ constexpr int per_vector() {
  return 16 / static_cast<int>(sizeof(T));
}

// How wide one access is: WORDS words of 32 bits.
template <int WORDS>
struct Words;
template <>
struct Words<1> {
  using type = unsigned;
};
template <>
struct Words<2> {
  using type = uint2;
};
template <>
struct Words<4> {
  using type = uint4;
};

__device__ __forceinline__ void spread(unsigned (&w)[1], unsigned v) { w[0] = v; }
__device__ __forceinline__ void spread(unsigned (&w)[2], uint2 v) {
  w[0] = v.x, w[1] = v.y;
}
__device__ __forceinline__ void spread(unsigned (&w)[4], uint4 v) {
  w[0] = v.x, w[1] = v.y, w[2] = v.z, w[3] = v.w;
}
__device__ __forceinline__ unsigned gather(const unsigned (&w)[1]) { return w[0]; }
__device__ __forceinline__ uint2 gather(const unsigned (&w)[2]) {
  return make_uint2(w[0], w[1]);
}
__device__ __forceinline__ uint4 gather(const unsigned (&w)[4]) {
  return make_uint4(w[0], w[1], w[2], w[3]);
}

template <class T>
__device__ __forceinline__ void from_word(float* x, unsigned word) {
  unpack2<T>(word, x[0], x[1]);
}
template <>
__device__ __forceinline__ void from_word<float>(float* x, unsigned word) {
  x[0] = __uint_as_float(word);
}
template <class T>
__device__ __forceinline__ unsigned to_word(const float* x) {
  return pack2<T>(x[0], x[1]);
}
template <>
__device__ __forceinline__ unsigned to_word<float>(const float* x) {
  return __float_as_uint(x[0]);
}

template <int N, class T>
__device__ __forceinline__ void load(float (&x)[N], const T* p) {
  constexpr int BYTES = N * static_cast<int>(sizeof(T));
  static_assert(BYTES % 4 == 0, "load<N> needs whole words; see load_some");
  constexpr int WORDS = BYTES % 16 == 0 ? 4 : BYTES % 8 == 0 ? 2 : 1;
  constexpr int PER_WORD = 4 / static_cast<int>(sizeof(T));
  using Vector = typename Words<WORDS>::type;
#pragma unroll
  for (int i = 0; i < BYTES / (4 * WORDS); ++i) {
    unsigned words[WORDS];
    spread(words, reinterpret_cast<const Vector*>(p)[i]);
#pragma unroll
    for (int k = 0; k < WORDS; ++k)
      from_word<T>(x + (i * WORDS + k) * PER_WORD, words[k]);
  }
}

template <int N, class T>
__device__ __forceinline__ void store(T* p, const float (&x)[N]) {
  constexpr int BYTES = N * static_cast<int>(sizeof(T));
  static_assert(BYTES % 4 == 0, "store<N> needs whole words; see store_some");
  constexpr int WORDS = BYTES % 16 == 0 ? 4 : BYTES % 8 == 0 ? 2 : 1;
  constexpr int PER_WORD = 4 / static_cast<int>(sizeof(T));
  using Vector = typename Words<WORDS>::type;
#pragma unroll
  for (int i = 0; i < BYTES / (4 * WORDS); ++i) {
    unsigned words[WORDS];
#pragma unroll
    for (int k = 0; k < WORDS; ++k)
      words[k] = to_word<T>(x + (i * WORDS + k) * PER_WORD);
    reinterpret_cast<Vector*>(p)[i] = gather(words);
  }
}

template <int N, class T>
__device__ __forceinline__ void load_some(float (&x)[N], const T* p, int count,
                                          float rest = 0.f) {
#pragma unroll
  for (int i = 0; i < N; ++i) x[i] = i < count ? to_float(p[i]) : rest;
}

template <int N, class T>
__device__ __forceinline__ void store_some(T* p, const float (&x)[N], int count) {
#pragma unroll
  for (int i = 0; i < N; ++i)
    if (i < count) p[i] = from_float<T>(x[i]);
}
