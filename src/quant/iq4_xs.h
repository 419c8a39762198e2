// SPDX-License-Identifier: Apache-2.0
// IQ4_XS: 256 codes of IQ4_NL's table in 8 sub-blocks of 32, each with a signed 6-bit scale under
// one f16 factor. w = (d * (scale - 32)) * table[code].
#pragma once

#include <cstddef>
#include <cstdint>

#include "mlxn/dtype.h"

namespace mlxn::quant {

struct BlockIQ4_XS {
  static constexpr int kElements = 256;
  static constexpr int kSubBlocks = 8;
  F16 d;
  uint16_t scales_h;    // bits 2b, 2b + 1: the high bits of scale b
  uint8_t scales_l[4];  // scales 2c and 2c + 1: low and high nibble of scales_l[c]
  uint8_t qs[128];      // sub-block b: qs[16b ..], element i < 16 low nibbles, i >= 16 high ones
};
static_assert(sizeof(BlockIQ4_XS) == 136 && alignof(BlockIQ4_XS) == 2);

// k elements, a multiple of 256. The formula above in f32, in the order of the parentheses.
void decode_row_iq4_xs(const std::byte* blocks, int64_t k, float* out);

}  // namespace mlxn::quant
