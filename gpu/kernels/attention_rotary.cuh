// Rotary positions: how far a pair of coordinates has turned at a token.
//
// Frequencies come in turns per token, as a float and what it lacks (`high` and `low`),
// so that angles of any position are as exact as float can be: golden's theta / 2 pi.
#pragma once
#include "angles.cuh"
#include "io.cuh"

struct Rotary {
  const float *high, *low;  // (dim / 2)
  int dim;                  // coordinates that turn
  bool interleaved;         // pairs are (2i, 2i + 1), else (i, i + dim / 2)

  // Of the frequency of pair i, `tokens` times, which has at most 24 bits.
  __device__ __forceinline__ float turns(float tokens, int i) const {
    const float all = tokens * high[i], lost = fmaf(tokens, high[i], -all);
    return within_a_turn(all) + fmaf(tokens, low[i], lost);
  }

  __device__ __forceinline__ void sincos(long long position, int i, float& sine,
                                         float& cosine) const {
    const long long rest = position & 0xffff;
    const float far = static_cast<float>(position - rest);
    const float near = turns(static_cast<float>(rest), i);
    sincos_turns(add_turns(far == 0.f ? 0.f : turns(far, i), near), sine, cosine);
  }

  __device__ __forceinline__ int first(int i) const { return interleaved ? 2 * i : i; }
  __device__ __forceinline__ int second(int i) const {
    return interleaved ? 2 * i + 1 : i + dim / 2;
  }

  // Coordinate j of a row, turned; j < dim.
  template <class T>
  __device__ __forceinline__ float turned(const T* row, long long position, int j) const {
    const int i = interleaved ? j / 2 : j % (dim / 2);
    const float a = to_float(row[first(i)]), b = to_float(row[second(i)]);
    float sine, cosine;
    sincos(position, i, sine, cosine);
    return j == first(i) ? a * cosine - b * sine : a * sine + b * cosine;
  }
};
