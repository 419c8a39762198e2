// SPDX-License-Identifier: Apache-2.0
// Counts the heap of a test program. Included by one file of it, since it replaces operator new.
// Memory that is not there is no case of these tests.
#pragma once

#if defined(__APPLE__)
#include <malloc/malloc.h>
#else
#include <malloc.h>
#endif

#include <algorithm>
#include <cstddef>
#include <cstdlib>
#include <ctime>
#include <new>

namespace mlxn::base {

inline size_t live_bytes = 0;
inline size_t peak_bytes = 0;

inline size_t usable_size(void* block) {
#if defined(__APPLE__)
  return malloc_size(block);
#else
  return malloc_usable_size(block);
#endif
}

inline void* count_up(void* block) {
  if (block == nullptr) std::abort();
  live_bytes += usable_size(block);
  peak_bytes = std::max(peak_bytes, live_bytes);
  return block;
}

inline void count_down(void* block) {
  if (block != nullptr) live_bytes -= usable_size(block);
  std::free(block);
}

struct Cost {
  size_t bytes;    // most of the heap in use at once, beyond what was before
  double seconds;  // of the processor, so that a busy machine changes nothing
};

template <typename Call>
Cost cost_of(const Call& call) {
  const size_t before = live_bytes;
  peak_bytes = live_bytes;
  const std::clock_t start = std::clock();
  call();
  return {peak_bytes - before, static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC};
}

}  // namespace mlxn::base

void* operator new(size_t size) { return mlxn::base::count_up(std::malloc(size)); }
void* operator new[](size_t size) { return mlxn::base::count_up(std::malloc(size)); }
void* operator new(size_t size, const std::nothrow_t&) noexcept {
  return mlxn::base::count_up(std::malloc(size));
}
void* operator new[](size_t size, const std::nothrow_t&) noexcept {
  return mlxn::base::count_up(std::malloc(size));
}
void operator delete(void* block) noexcept { mlxn::base::count_down(block); }
void operator delete[](void* block) noexcept { mlxn::base::count_down(block); }
void operator delete(void* block, size_t) noexcept { mlxn::base::count_down(block); }
void operator delete[](void* block, size_t) noexcept { mlxn::base::count_down(block); }
