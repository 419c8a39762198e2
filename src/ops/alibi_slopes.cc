// SPDX-License-Identifier: Apache-2.0
#include <bit>
#include <cmath>

#include "base/no_memory.h"
#include "mlxn/ops/attention.h"
#include "ops/check.h"

namespace mlxn::ops {

std::vector<float> alibi_slopes(int64_t num_heads) try {
  check_range("alibi_slopes", "num_heads", num_heads, 1, int64_t{1} << 21);
  const auto power = static_cast<int64_t>(std::bit_floor(static_cast<uint64_t>(num_heads)));
  std::vector<float> slopes;
  for (int64_t h = 0; h < num_heads; ++h) {
    const double step = h < power ? -8.0 * static_cast<double>(h + 1)
                                  : -4.0 * static_cast<double>(2 * (h - power) + 1);
    slopes.push_back(static_cast<float>(std::exp2(step / static_cast<double>(power))));
  }
  return slopes;
} catch (const std::bad_alloc&) {
  base::throw_no_memory();
}

}  // namespace mlxn::ops
