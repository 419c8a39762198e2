// SPDX-License-Identifier: Apache-2.0
// Fetching ahead in decode attention.
#pragma once

#include <hwy/base.h>

#include <cstddef>
#include <cstdint>

namespace mlxn::kernels {

// Memory that the step after this one reads. Asking for it line by line, at the pace at which this
// step reads its own, hides the latency of memory without queueing requests up.
struct Ahead {
  uintptr_t at = 0;
  uintptr_t end = 0;

  Ahead() = default;
  Ahead(const void* begin, size_t bytes)
      : at(reinterpret_cast<uintptr_t>(begin)), end(at + bytes) {}

  // Into the second-level cache: a block of rows would push the one in use out of the first. A
  // block of codes, which is smaller, may go to the first (kLocality 3).
  template <size_t kBytes, int kLocality = 1>
  HWY_INLINE void ask() {
    constexpr size_t kLine = 64;
#pragma GCC unroll 8
    for (size_t i = 0; i < kBytes; i += kLine) {
      if (at >= end) return;
      __builtin_prefetch(reinterpret_cast<const void*>(at), 0, kLocality);
      at += kLine;
    }
  }
};

}  // namespace mlxn::kernels
