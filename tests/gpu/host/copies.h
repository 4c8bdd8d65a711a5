// What the runtime knows of copies that are under way.
#pragma once

#include <vector>

#include "runtime.h"

namespace ssm {

// All ones is a NaN in every format, and no index.
constexpr int POISON = 0xff;

struct Copy {
  void* to;
  const void* from;
  unsigned bytes, read;
  std::uint64_t group;
  Site site;
};

struct Copies {
  std::vector<Copy> list;
  std::uint64_t open = 0;  // the number of the group that is not committed yet

  void check_finished() const;
};

}  // namespace ssm
