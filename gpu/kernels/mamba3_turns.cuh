// How far a token of Mamba-3 turns its pairs of coordinates.
#pragma once
#include "activations.cuh"
#include "angles.cuh"
#include "io.cuh"
#include "segments.cuh"

// pi tanh(x) dt, in turns, to within 2^-22: of a float exactly, and within half a turn; of
// fewer bits by two approximations, tanh(x) / 2 being 1/2 - 1 / (1 + e^2x).
__device__ __forceinline__ float turn_of(IO x, float dt) {
  if constexpr (sizeof(IO) == 4)
    return within_a_turn(0.5f * tanhf(to_float(x)) * dt);
  else
    return (0.5f - rcp_approx(1.f + ex2(2.f * LOG2_E * to_float(x)))) * dt;
}

// Sine and cosine of an angle of at most a few turns, as good as numbers of IO need. Of
// fewer bits than float by polynomials on half a turn, to within 2^-20: fewer steps, and
// nothing to choose but the sign, since half a turn more changes both signs.
__device__ __forceinline__ void sines_of(float turns, float& sine, float& cosine) {
  if constexpr (sizeof(IO) == 4) {
    sincos_turns(turns, sine, cosine);
  } else {
    // Rounding to halves by a large number leaves their count in the last bit.
    const float shifted = turns + 6291456.f, t = turns - (shifted - 6291456.f);
    const unsigned sign = __float_as_uint(shifted) << 31;
    const float q = t * t;
    float s = fmaf(q, -70.99342f, 81.34077f);
    s = fmaf(q, s, -41.337143f);
    s = t * fmaf(q, s, 6.283164f);
    float c = fmaf(q, 56.242382f, -85.24033f);
    c = fmaf(q, c, 64.93459f);
    c = fmaf(q, c, -19.739172f);
    c = fmaf(q, c, 0.99999994f);
    sine = __uint_as_float(__float_as_uint(s) ^ sign);
    cosine = __uint_as_float(__float_as_uint(c) ^ sign);
  }
}
