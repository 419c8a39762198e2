// SPDX-License-Identifier: Apache-2.0
// The memory of this machine.
#pragma once

#include <cstdint>

namespace mlxn::base {

struct SystemMemory {
  uint64_t total = 0;      // bytes; 0: unknown
  uint64_t available = 0;  // bytes that programs can get without swapping; 0: unknown
};

SystemMemory system_memory();

}  // namespace mlxn::base
