// SPDX-License-Identifier: Apache-2.0
// Which kernel of each op a device would run, and why it would not run the others.
#pragma once

#include <string>
#include <vector>

#include "mlxn/device.h"
#include "mlxn/export.h"

namespace mlxn {

struct KernelReport {
  struct Entry {
    std::string name;  // "avx512", "baseline"
    DeviceKind device;
    std::string refusal;  // why it cannot run on this device; empty if it can
  };
  std::string op;              // table of implementations, such as "rms_norm"
  std::vector<Entry> entries;  // best first
  std::string chosen;          // name of the entry that runs; empty if none can
};

// One report per table, by name. A chosen entry may still refuse particular shapes or formats at a
// call; the next one that accepts them runs then.
MLXN_API std::vector<KernelReport> doctor(const Device& device);

}  // namespace mlxn
