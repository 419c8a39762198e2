// SPDX-License-Identifier: Apache-2.0
// Which compiled variant of a Highway kernel an entry of the table runs. A kernel file is compiled
// once per target by hwy/foreach_target.h; HWY_EXPORT(Fn) makes the table of variants.
#pragma once

#include <hwy/highway.h>

#include "mlxn/device.h"

namespace mlxn::kernels {

// The Highway target that serves an instruction set. kBaseline is what every processor of the
// architecture has, which on 64-bit Arm is NEON.
constexpr int64_t hwy_target(Isa isa) {
  switch (isa) {
    case Isa::kAvx512Vnni:
    case Isa::kAvx512:
      return HWY_AVX3;
    case Isa::kAvx2:
      return HWY_AVX2;
    case Isa::kBaseline:
      break;
  }
  return HWY_STATIC_TARGET;
}

// Pointer to the variant for `isa` out of HWY_DISPATCH_TABLE(Fn). Highway numbers its targets from
// the best one down; slot 0 chooses on first call and the last slot is the architecture's fallback.
template <typename Fn>
Fn variant(const Fn* table, Isa isa) {
  // With a single target, as on Arm, there is no table to choose from.
  if constexpr ((HWY_TARGETS & (HWY_TARGETS - 1)) == 0) return table[0];
  const uint64_t mask = static_cast<uint64_t>(HWY_CHOSEN_TARGET_SHIFT(hwy_target(isa)));
  const size_t slot = mask == 0 ? HWY_MAX_DYNAMIC_TARGETS + 1 : __builtin_ctzll(mask);
  return table[slot];
}

}  // namespace mlxn::kernels
