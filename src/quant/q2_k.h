// SPDX-License-Identifier: Apache-2.0
// Q2_K: 256 unsigned 2-bit codes in 16 groups of 16, each with a 4-bit scale and a 4-bit minimum
// under two f16 factors. w = (d * scale) * code - (dmin * min).
#pragma once

#include <cstddef>
#include <cstdint>

#include "mlxn/dtype.h"

namespace mlxn::quant {

struct BlockQ2_K {
  static constexpr int kElements = 256;
  static constexpr int kGroupSize = 16;
  uint8_t scales[16];  // group j: scale in the low nibble, minimum in the high one
  uint8_t qs[64];  // element i: bits 2t, 2t + 1 of qs[32 * (i / 128) + i % 32], t = i % 128 / 32
  F16 d;
  F16 dmin;
};
static_assert(sizeof(BlockQ2_K) == 84 && alignof(BlockQ2_K) == 2);

// k elements, a multiple of 256. decode: the formula above in f32, in the order of the parentheses.
// encode: a weighted fit of scale and minimum per group, 16 trials each.
void decode_row_q2_k(const std::byte* blocks, int64_t k, float* out);
void encode_row_q2_k(const float* in, int64_t k, std::byte* blocks);

}  // namespace mlxn::quant
