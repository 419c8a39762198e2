// SPDX-License-Identifier: Apache-2.0
// Blocks of a format that has no encoder, for tests and benchmarks: random codes and inner scales
// under f16 factors that keep values within a few units.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <random>

#include "mlxn/dtype.h"
#include "quant/blocks.h"
#include "quant/registry.h"

namespace mlxn::quant {

// row: k / block_elements blocks. For q3_k, iq4_nl and iq4_xs.
inline void random_blocks(const FormatTraits& traits, int64_t k, uint32_t seed, std::byte* row) {
  const bool q3_k = traits.format == Format::kQ3_K;
  const size_t factor_at = q3_k ? offsetof(BlockQ3_K, d) : 0;
  // The largest product of inner scale and code: 32 * 4, 127, 32 * 127.
  const float limit = traits.format == Format::kIQ4_XS ? 1e-3f : 2e-2f;
  std::mt19937 random(seed);
  std::uniform_real_distribution<float> factor(-limit, limit);
  for (int64_t b = 0; b < k / traits.block_elements; ++b, row += traits.block_bytes) {
    for (int i = 0; i < traits.block_bytes; ++i) row[i] = static_cast<std::byte>(random());
    const F16 d = to_f16(factor(random));
    std::memcpy(row + factor_at, &d, sizeof(d));
  }
}

}  // namespace mlxn::quant
