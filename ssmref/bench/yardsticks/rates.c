/* What the machine can do at best: memory, multiply-adds, exponentials.
 *
 * Vectors are those of the compiler (GCC and Clang), as wide as the target allows.
 */
#if defined(__AVX512F__)
#define BYTES 64
#elif defined(__AVX__)
#define BYTES 32
#else
#define BYTES 16
#endif
#if defined(__AVX__)
#include <immintrin.h>
#endif

#define CHAINS 16 /* independent sums: more than latency times throughput needs */

typedef float float_vector __attribute__((vector_size(BYTES)));
typedef double double_vector __attribute__((vector_size(BYTES)));
typedef int int_vector __attribute__((vector_size(BYTES)));

/* a = b + s c, stored through the caches. */
void triad(float *a, const float *b, const float *c, float s, long n, int threads) {
#pragma omp parallel for schedule(static) num_threads(threads)
  for (long i = 0; i < n; i++) a[i] = b[i] + s * c[i];
}

/* The same, stored past the caches: 1 where the target can, n a multiple of 16, a on a
 * multiple of 64 bytes. */
int triad_streaming(float *a, const float *b, const float *c, float s, long n,
                    int threads) {
#if defined(__AVX__)
  __m256 factor = _mm256_set1_ps(s);
#pragma omp parallel for schedule(static) num_threads(threads)
  for (long i = 0; i < n; i += 8) {
    __m256 product = _mm256_mul_ps(factor, _mm256_loadu_ps(c + i));
    _mm256_stream_ps(a + i, _mm256_add_ps(_mm256_loadu_ps(b + i), product));
  }
  _mm_sfence();
  return 1;
#else
  return 0;
#endif
}

/* Return the operations of one thread; the sums escape, so that they are computed. */
#define MULTIPLY_ADDS(name, vector, number)                                      \
  double name(long loops, int threads, number *escape) {                         \
    _Pragma("omp parallel num_threads(threads)") {                               \
      vector sum[CHAINS], x = {0}, y = {0};                                      \
      for (int i = 0; i < CHAINS; i++) sum[i] = x + (number)i;                   \
      x += (number)0.999, y += (number)0.001;                                    \
      for (long loop = 0; loop < loops; loop++) {                                \
        _Pragma("GCC unroll 16") for (int i = 0; i < CHAINS; i++)                \
            sum[i] = sum[i] * x + y;                                             \
      }                                                                          \
      for (int i = 1; i < CHAINS; i++) sum[0] += sum[i];                         \
      _Pragma("omp critical") *escape += sum[0][0];                              \
    }                                                                            \
    return 2.0 * loops * CHAINS * (BYTES / sizeof(number));                      \
  }

MULTIPLY_ADDS(multiply_adds_float32, float_vector, float)
MULTIPLY_ADDS(multiply_adds_float64, double_vector, double)

/* 2^x of `repeats` times `n` numbers in the first cache; n a multiple of 16. */
void exponentials(const float *x, float *y, long n, long repeats, int threads) {
#pragma omp parallel num_threads(threads)
  {
    float own[n] __attribute__((aligned(64)));
    for (long repeat = 0; repeat < repeats; repeat++) {
      for (long i = 0; i < n; i += BYTES / 4) {
        float_vector v, shifted, r, p;
        __builtin_memcpy(&v, x + i, BYTES);
        shifted = v + 12582912.0f; /* 1.5 2^23: rounds to an integer */
        r = v - (shifted - 12582912.0f);
        p = r * 1.3264715e-3f + 9.6715135e-3f;
        p = p * r + 5.5507338e-2f;
        p = p * r + 2.4022242e-1f;
        p = p * r + 6.9314698e-1f;
        p = p * r + 1.0f;
        p = (float_vector)((int_vector)p + ((int_vector)shifted << 23));
        __builtin_memcpy(own + i, &p, BYTES);
      }
      __asm__ volatile("" ::: "memory"); /* the next pass is not the same to it */
    }
#pragma omp critical
    __builtin_memcpy(y, own, n * sizeof(float));
  }
}
