// Tensor cores: ldmatrix and mma.sync, by the fragments that the PTX ISA draws.
#pragma once

#include <cmath>
#include <cstring>

#include "numbers.h"
#include "words.h"

namespace ssm {

// Lane 8 m + r of the mask has the address of row r of the m-th matrix of 8 x 8 halves.
// Lane l gets halves 2 (l mod 4) and the next one of row l / 4, or of that column.
template <int COUNT, bool TRANSPOSED>
inline void load_matrices(Warp& warp, unsigned) {
  for (unsigned lane = 0; lane < WARP; ++lane)
    for (unsigned matrix = 0; matrix < COUNT; ++matrix) {
      std::uint16_t halves[2];
      for (unsigned half = 0; half < 2; ++half) {
        const unsigned outer = lane / 4, inner = lane % 4 * 2 + half;
        const unsigned row = TRANSPOSED ? inner : outer;
        const unsigned column = TRANSPOSED ? outer : inner;
        const char* start;
        std::memcpy(&start, warp.lanes[8 * matrix + row]->in, sizeof start);
        std::memcpy(&halves[half], start + 2 * column, 2);
      }
      warp.lanes[lane]->out[matrix] = halves[0] | std::uint32_t{halves[1]} << 16;
    }
}

inline void check_row(const void* row, const char* what, Site site) {
  const auto* byte = static_cast<const unsigned char*>(row);
  const unsigned char* shared = current->block->shared;
  if (reinterpret_cast<std::uintptr_t>(row) % 16)
    fail(site, "%s with a row at an address that is not a multiple of 16", what);
  if (byte < shared || byte + 16 > shared + launched->shared)
    fail(site, "%s with a row outside of the block's shared memory", what);
}

template <int COUNT, bool TRANSPOSED>
inline void ldmatrix(unsigned* registers, const void* row, const char* what,
                     Site site) {
  // Lanes beyond the matrices give no address.
  if (current->lane < 8 * COUNT) check_row(row, what, site);
  std::memcpy(current->in, &row, sizeof row);
  meet(SSM_FULL, what, load_matrices<COUNT, TRANSPOSED>, site);
  std::memcpy(registers, current->out, COUNT * sizeof(unsigned));
}

// d = sum of the products + d, as measured on tensor cores (Fasi, Higham, Mikaitis and
// Pranesh, "Numerical behavior of NVIDIA tensor cores", 2021): addends are cut off to
// 24 bits below the largest one, their sum is exact, and it is rounded towards zero.
inline float accumulate(const double* addends, int count) {
  int largest = -149;
  bool finite = true;
  double sum = 0;
  for (int i = 0; i < count; ++i) {
    finite = finite && std::isfinite(addends[i]);
    sum += addends[i];
    if (addends[i] != 0) largest = ::max(largest, std::ilogb(addends[i]));
  }
  if (!finite) return static_cast<float>(sum);
  const double unit = std::ldexp(1.0, largest - 23);
  sum = 0;
  for (int i = 0; i < count; ++i) sum += std::trunc(addends[i] / unit);
  sum *= unit;
  const float nearest = static_cast<float>(sum);
  return std::fabs(nearest) > std::fabs(sum) ? std::nextafterf(nearest, 0.0f) : nearest;
}

// A is 16 x K and B is K x 8; a register of 4 bytes holds PER numbers along K. Row
// g = lane / 4 and column c = lane mod 4: A has rows g, g + 8 in turn, then K / 2
// further.
template <class Format>
struct Mma {
  static constexpr int K = Format::K, PER = Format::PER, HALF = K / 2;

  static float a(const Warp& warp, int row, int k) {
    const int lane = row % 8 * 4 + k % HALF / PER;
    const int word = row / 8 + k / HALF * 2;
    return Format::number(warp.lanes[lane]->in[word], k % PER);
  }
  static float b(const Warp& warp, int k, int column) {
    const int lane = column * 4 + k % HALF / PER;
    return Format::number(warp.lanes[lane]->in[4 + k / HALF], k % PER);
  }

  static void work(Warp& warp, unsigned) {
    float left[16][K], right[8][K];
    for (int k = 0; k < K; ++k) {
      for (int row = 0; row < 16; ++row) left[row][k] = a(warp, row, k);
      for (int column = 0; column < 8; ++column) right[column][k] = b(warp, k, column);
    }
    for (int lane = 0; lane < 32; ++lane)
      for (int i = 0; i < 4; ++i) {
        const float* x = left[lane / 4 + i / 2 * 8];
        const float* y = right[lane % 4 * 2 + i % 2];
        // The accumulators come and go in `out`.
        auto& word = warp.lanes[lane]->out[i];
        float sum = __uint_as_float(word);
        for (int k = 0; k < K; k += 8) sum = dot8(x + k, y + k, sum);
        word = __float_as_uint(sum);
      }
  }

  static float dot8(const float* x, const float* y, float sum) {
    double addends[9];
    for (int k = 0; k < 8; ++k) addends[k] = static_cast<double>(x[k]) * y[k];
    addends[8] = sum;
    return accumulate(addends, 9);
  }
};

template <class T>
struct Halves {
  static constexpr int K = 16, PER = 2;
  static float number(std::uint32_t word, int i) {
    return to_float(T{static_cast<unsigned short>(word >> 16 * i)});
  }
};

// tf32 has 10 bits behind the point: the tensor cores do not see the others.
struct Tf32 {
  static constexpr int K = 8, PER = 1;
  static float number(std::uint32_t word, int) {
    return __uint_as_float(word & 0xffffe000u);
  }
};

template <class Format>
inline void mma(float* d, const unsigned* a, const unsigned* b, const char* what,
                Site site) {
  std::memcpy(current->in, a, 4 * sizeof(unsigned));
  std::memcpy(current->in + 4, b, 2 * sizeof(unsigned));
  std::memcpy(current->out, d, 4 * sizeof(float));
  meet(SSM_FULL, what, Mma<Format>::work, site);
  std::memcpy(d, current->out, 4 * sizeof(float));
}

}  // namespace ssm

#define SSM_LDMATRIX(NAME, COUNT, TRANSPOSED)                      \
  inline void NAME(unsigned (&registers)[COUNT], const void* row,  \
                   ssm::Site site = ssm::Site::here()) {           \
    ssm::ldmatrix<COUNT, TRANSPOSED>(registers, row, #NAME, site); \
  }
SSM_LDMATRIX(ldmatrix_x1, 1, false)
SSM_LDMATRIX(ldmatrix_x2, 2, false)
SSM_LDMATRIX(ldmatrix_x4, 4, false)
SSM_LDMATRIX(ldmatrix_x1_trans, 1, true)
SSM_LDMATRIX(ldmatrix_x2_trans, 2, true)
SSM_LDMATRIX(ldmatrix_x4_trans, 4, true)
#undef SSM_LDMATRIX

template <class T>
inline void mma_m16n8k16(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2],
                         ssm::Site site = ssm::Site::here()) {
  ssm::mma<ssm::Halves<T>>(d, a, b, "mma_m16n8k16", site);
}

inline void mma_m16n8k8_tf32(float (&d)[4], const unsigned (&a)[4],
                             const unsigned (&b)[2],
                             ssm::Site site = ssm::Site::here()) {
  ssm::mma<ssm::Tf32>(d, a, b, "mma_m16n8k8_tf32", site);
}
