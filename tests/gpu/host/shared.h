// The dynamic shared memory of a block: exactly as large as the launch says.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <new>

#include "copies.h"

namespace ssm {

// Poisoned for each block. What lies before and behind it is checked afterwards, or by
// AddressSanitizer on the spot. The address is a multiple of 16 and of no more.
class Shared {
 public:
  Shared() = default;
  Shared(const Shared&) = delete;
  Shared& operator=(const Shared&) = delete;
  ~Shared() { std::free(base_); }

  void resize(std::size_t size) {
    std::free(base_);
    size_ = size;
    base_ = static_cast<unsigned char*>(std::malloc(size + 2 * ZONE));
    if (!base_) throw std::bad_alloc();
  }

  unsigned char* fresh() {
    std::memset(base_, UNTOUCHED, ZONE);
    std::memset(base_ + ZONE, POISON, size_);
    std::memset(base_ + ZONE + size_, UNTOUCHED, ZONE);
    return base_ + ZONE;
  }

  // On which side somebody wrote where nothing is; null if nobody did.
  const char* overrun() const {
    if (touched(base_)) return "before";
    return touched(base_ + ZONE + size_) ? "beyond" : nullptr;
  }

 private:
#if defined(__SANITIZE_ADDRESS__)
  static constexpr std::size_t ZONE = 0;
#else
  static constexpr std::size_t ZONE = 256;
#endif
  static constexpr int UNTOUCHED = 0xa5;

  static bool touched(const unsigned char* zone) {
    for (std::size_t i = 0; i < ZONE; ++i)
      if (zone[i] != UNTOUCHED) return true;
    return false;
  }

  unsigned char* base_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace ssm
