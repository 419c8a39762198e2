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
  uint8_t scales[12];  // 8 pairs of 6 bits; see k_scale_min() of k_fit.h
  uint8_t qs[128];     // sub-blocks 2c and 2c + 1: low and high nibbles of qs[32c .. 32c + 31]
};
static_assert(sizeof(BlockQ4_K) == 144 && alignof(BlockQ4_K) == 2);

// k elements, a multiple of 256. decode: the formula above in f32, in the order of the parentheses.
// encode: a weighted fit of scale and minimum per sub-block, 21 trials each.
void decode_row_q4_k(const std::byte* blocks, int64_t k, float* out);
void encode_row_q4_k(const float* in, int64_t k, std::byte* blocks);

}  // namespace mlxn::quant
