// cp.async: the destination is poison until the thread that copies waits.
#pragma once

#include "runtime.h"

namespace ssm {

// Announce a copy of `read` bytes; the rest of the `bytes` becomes zero.
void copy_async(void* to, const void* from, unsigned bytes, unsigned read, Site site);
void commit_copies();
// Perform all groups but the `keep` latest.
void wait_for_copies(unsigned keep);

}  // namespace ssm
