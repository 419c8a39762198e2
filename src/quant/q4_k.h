// SPDX-License-Identifier: Apache-2.0
// Q4_K: 256 unsigned 4-bit codes in 8 sub-blocks of 32, each with a 6-bit scale and a 6-bit minimum
// under two f16 factors. w = (d * scale) * code - (dmin * min).
#pragma once

#include <cstddef>
#include <cstdint>

#include "mlxn/dtype.h"

namespace mlxn::quant {

struct BlockQ4_K {
  static constexpr int kElements = 256;
  static constexpr int kSubBlocks = 8;
  F16 d;
  F16 dmin;
  uint8_t scales[12];  // 8 pairs of 6 bits; see q4_k_scale_min()
  uint8_t qs[128];     // sub-blocks 2c and 2c + 1: low and high nibbles of qs[32c .. 32c + 31]
};
static_assert(sizeof(BlockQ4_K) == 144 && alignof(BlockQ4_K) == 2);

struct ScaleMin {
  uint8_t scale;  // 0..63
  uint8_t min;    // 0..63
};

// Sub-block j, 0..7. The first four scales and mins are the low 6 bits of bytes 0..3 and 4..7; the
// others have their low 4 bits in bytes 8..11 and their high 2 bits on top of bytes 0..7.
inline ScaleMin q4_k_scale_min(const uint8_t* scales, int j) {
  if (j < 4) {
    return {static_cast<uint8_t>(scales[j] & 63), static_cast<uint8_t>(scales[j + 4] & 63)};
  }
  return {static_cast<uint8_t>((scales[j + 4] & 15) | ((scales[j - 4] >> 6) << 4)),
          static_cast<uint8_t>((scales[j + 4] >> 4) | ((scales[j] >> 6) << 4))};
}

// k elements, a multiple of 256. decode: the formula above in f32, in the order of the parentheses.
// encode: a weighted fit of scale and minimum per sub-block, 21 trials each.
void decode_row_q4_k(const std::byte* blocks, int64_t k, float* out);
void encode_row_q4_k(const float* in, int64_t k, std::byte* blocks);

}  // namespace mlxn::quant
