/* Mamba-1 selective scan by AVX2 and FMA intrinsics; see selective_scan_avx512.c.
 *
 *   h[t] = exp(dt[t] A) h[t-1] + dt[t] B[t] u[t]        h[-1] = 0
 *   y[t] = C[t] h[t] + D u[t]
 *
 * Golden: ssmref/golden/mamba1.py::selective_scan, float32, with D and without z, bias,
 * softplus and states. A thread owns 8 channels of one row of the batch: their 16
 * states stay in registers as far as there are any, time is the inner loop, and y is
 * stored past the caches.
 *
 * Row-major: u, dt, y (batch, length, channels), y on a multiple of 32 bytes;
 * B, C (batch, length, 16); D (channels); rates (16, channels) = A transposed, times
 * log2(e). channels is a multiple of 8.
 */
#include <immintrin.h>

#define STATE 16
#define LANES 8

/* 2^x, by x = integer + r, |r| <= 1/2; coefficients of exp2 up to r^5, fitted for the
 * least relative error (9e-8) with a constant term of 1. */
static inline __m256 exp2_8(__m256 x) {
  x = _mm256_max_ps(x, _mm256_set1_ps(-126.0f)); /* below, the exponent would wrap */
  __m256 whole = _mm256_round_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  __m256 r = _mm256_sub_ps(x, whole);
  __m256 p = _mm256_set1_ps(1.3264715e-3f);
  p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(9.6715135e-3f));
  p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(5.5507338e-2f));
  p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(2.4022242e-1f));
  p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(6.9314698e-1f));
  p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0f));
  __m256i power = _mm256_slli_epi32(_mm256_cvtps_epi32(whole), 23);
  return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(p), power));
}

static void columns(const float *u, const float *dt, const float *rates, const float *B,
                    const float *C, const float *D, float *y, long length,
                    long channels) {
  __m256 h[STATE], rate[STATE], skip = _mm256_loadu_ps(D);
  for (int n = 0; n < STATE; n++) {
    h[n] = _mm256_setzero_ps();
    rate[n] = _mm256_loadu_ps(rates + n * channels);
  }
  for (long t = 0; t < length; t++) {
    __m256 step = _mm256_loadu_ps(dt + t * channels);
    __m256 input = _mm256_loadu_ps(u + t * channels);
    __m256 drive = _mm256_mul_ps(step, input), sum = _mm256_mul_ps(skip, input);
#pragma GCC unroll 16
    for (int n = 0; n < STATE; n++) {
      __m256 decay = exp2_8(_mm256_mul_ps(step, rate[n]));
      __m256 b = _mm256_set1_ps(B[t * STATE + n]), c = _mm256_set1_ps(C[t * STATE + n]);
      h[n] = _mm256_fmadd_ps(decay, h[n], _mm256_mul_ps(drive, b));
      sum = _mm256_fmadd_ps(h[n], c, sum);
    }
    _mm256_stream_ps(y + t * channels, sum);
  }
}

void selective_scan(const float *u, const float *dt, const float *rates, const float *B,
                    const float *C, const float *D, float *y, long batch, long length,
                    long channels, int threads) {
  long wide = channels / LANES;
#pragma omp parallel for schedule(dynamic) num_threads(threads)
  for (long i = 0; i < batch * wide; i++) {
    long row = i / wide, d = i % wide * LANES, first = row * length * channels + d;
    columns(u + first, dt + first, rates + d, B + row * length * STATE,
            C + row * length * STATE, D + d, y + first, length, channels);
  }
  _mm_sfence();
}
