// SPDX-License-Identifier: Apache-2.0
// Makes allocations of this process fail, on any thread: operator new in all its forms, and
// aligned_alloc and mmap as far as the objects of this program call them.
#pragma once

#include <cstddef>

namespace mlxn::testing {

enum class Failing {
  kOne,        // the n-th allocation only
  kAllBeyond,  // the n-th and every one after it
};

// While one of these lives, allocations are counted and fail as asked; n = 0: none does. One at a
// time.
class FailingMemory {
 public:
  explicit FailingMemory(size_t n, Failing mode = Failing::kOne);
  ~FailingMemory();
  FailingMemory(const FailingMemory&) = delete;
  FailingMemory& operator=(const FailingMemory&) = delete;

  // Of the latest one.
  static size_t asked();         // allocations
  static size_t asked_mapped();  // of these, by aligned_alloc and mmap
};

// Mappings made and not yet undone.
size_t live_mappings();

}  // namespace mlxn::testing
