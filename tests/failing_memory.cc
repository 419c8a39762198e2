// SPDX-License-Identifier: Apache-2.0
#include "failing_memory.h"

#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <new>

namespace mlxn::testing {
namespace {

std::atomic<bool> is_counting{false};
std::atomic<bool> beyond_too{false};
std::atomic<size_t> failing{0};
std::atomic<size_t> count{0};
std::atomic<size_t> mapped_count{0};
std::atomic<size_t> mappings{0};

bool refuse() {
  if (!is_counting.load(std::memory_order_relaxed)) return false;
  const size_t number = count.fetch_add(1, std::memory_order_relaxed) + 1;
  const size_t n = failing.load(std::memory_order_relaxed);
  return n > 0 && (beyond_too.load(std::memory_order_relaxed) ? number >= n : number == n);
}

bool refuse_mapped() {
  if (is_counting.load(std::memory_order_relaxed)) {
    mapped_count.fetch_add(1, std::memory_order_relaxed);
  }
  return refuse();
}

void* allocate(size_t size) { return refuse() ? nullptr : std::malloc(std::max<size_t>(size, 1)); }

void* allocate(size_t size, std::align_val_t alignment) {
  if (refuse()) return nullptr;
  void* memory = nullptr;
  const size_t bound = std::max(static_cast<size_t>(alignment), sizeof(void*));
  return ::posix_memalign(&memory, bound, std::max<size_t>(size, 1)) == 0 ? memory : nullptr;
}

void* or_throw(void* memory) {
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}

}  // namespace

FailingMemory::FailingMemory(size_t n, Failing mode) {
  failing = n;
  beyond_too = mode == Failing::kAllBeyond;
  count = 0;
  mapped_count = 0;
  is_counting = true;
}

FailingMemory::~FailingMemory() { is_counting = false; }
size_t FailingMemory::asked() { return count; }
size_t FailingMemory::asked_mapped() { return mapped_count; }
size_t live_mappings() { return mappings; }

}  // namespace mlxn::testing

using mlxn::testing::allocate;
using mlxn::testing::or_throw;

void* operator new(size_t size) { return or_throw(allocate(size)); }
void* operator new[](size_t size) { return or_throw(allocate(size)); }
void* operator new(size_t size, const std::nothrow_t&) noexcept { return allocate(size); }
void* operator new[](size_t size, const std::nothrow_t&) noexcept { return allocate(size); }
void* operator new(size_t size, std::align_val_t a) { return or_throw(allocate(size, a)); }
void* operator new[](size_t size, std::align_val_t a) { return or_throw(allocate(size, a)); }
void* operator new(size_t size, std::align_val_t a, const std::nothrow_t&) noexcept {
  return allocate(size, a);
}
void* operator new[](size_t size, std::align_val_t a, const std::nothrow_t&) noexcept {
  return allocate(size, a);
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete[](void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, size_t) noexcept { std::free(memory); }
void operator delete[](void* memory, size_t) noexcept { std::free(memory); }
void operator delete(void* memory, const std::nothrow_t&) noexcept { std::free(memory); }
void operator delete[](void* memory, const std::nothrow_t&) noexcept { std::free(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete(void* memory, size_t, std::align_val_t) noexcept { std::free(memory); }
void operator delete[](void* memory, size_t, std::align_val_t) noexcept { std::free(memory); }

// The linker sends calls here (--wrap) and keeps the functions themselves under the other name.
extern "C" {

void* __real_aligned_alloc(size_t alignment, size_t size);
void* __real_mmap(void* address, size_t size, int protection, int flags, int fd, off_t offset);
int __real_munmap(void* address, size_t size);

void* __wrap_aligned_alloc(size_t alignment, size_t size) {
  return mlxn::testing::refuse_mapped() ? nullptr : __real_aligned_alloc(alignment, size);
}

void* __wrap_mmap(void* address, size_t size, int protection, int flags, int fd, off_t offset) {
  if (mlxn::testing::refuse_mapped()) {
    errno = ENOMEM;
    return MAP_FAILED;
  }
  void* const mapping = __real_mmap(address, size, protection, flags, fd, offset);
  if (mapping != MAP_FAILED) ++mlxn::testing::mappings;
  return mapping;
}

int __wrap_munmap(void* address, size_t size) {
  --mlxn::testing::mappings;
  return __real_munmap(address, size);
}

}  // extern "C"
