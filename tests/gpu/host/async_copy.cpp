#include "async_copy.h"

#include <cstring>
#include <vector>

#include "copies.h"

namespace ssm {

static void check(const void* to, const void* from, unsigned bytes, unsigned read,
                  Site site) {
  const auto* shared = current->block->shared;
  const auto* byte = static_cast<const unsigned char*>(to);
  if (reinterpret_cast<std::uintptr_t>(to) % bytes)
    fail(site, "cp.async of %u bytes to an address that is not a multiple", bytes);
  if (reinterpret_cast<std::uintptr_t>(from) % bytes)
    fail(site, "cp.async of %u bytes from an address that is not a multiple", bytes);
  if (byte < shared || byte + bytes > shared + launched->shared)
    fail(site, "cp.async to an address outside of the block's shared memory");
  if (read > bytes) fail(site, "cp.async reads %u bytes of %u", read, bytes);
}

void copy_async(void* to, const void* from, unsigned bytes, unsigned read, Site site) {
  check(to, from, bytes, read, site);
  std::memset(to, POISON, bytes);
  current->copies->list.push_back({to, from, bytes, read, current->copies->open, site});
}

void commit_copies() { ++current->copies->open; }

void wait_for_copies(unsigned keep) {
  Copies& copies = *current->copies;
  std::size_t done = 0;
  for (; done < copies.list.size(); ++done) {
    const Copy& copy = copies.list[done];
    if (copy.group + keep >= copies.open) break;
    std::memcpy(copy.to, copy.from, copy.read);
    std::memset(static_cast<char*>(copy.to) + copy.read, 0, copy.bytes - copy.read);
  }
  copies.list.erase(copies.list.begin(), copies.list.begin() + done);
}

void Copies::check_finished() const {
  if (!list.empty())
    fail(list.front().site, "the thread ends while a cp.async is under way");
}

}  // namespace ssm
