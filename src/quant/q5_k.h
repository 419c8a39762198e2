// SPDX-License-Identifier: Apache-2.0
// Q5_K: Q4_K with a fifth bit per code. w = (d * scale) * code - (dmin * min).
#pragma once

#include <cstddef>
#include <cstdint>

#include "mlxn/dtype.h"

namespace mlxn::quant {

struct BlockQ5_K {
  static constexpr int kElements = 256;
  static constexpr int kSubBlocks = 8;
  F16 d;
  F16 dmin;
  uint8_t scales[12];  // 8 pairs of 6 bits; see k_scale_min()
  uint8_t qh[32];      // bit j of qh[l]: the fifth bit of element l of sub-block j
  uint8_t qs[128];     // sub-blocks 2c and 2c + 1: low and high nibbles of qs[32c .. 32c + 31]
};
static_assert(sizeof(BlockQ5_K) == 176 && alignof(BlockQ5_K) == 2);

// k elements, a multiple of 256. decode: the formula above in f32, in the order of the parentheses.
// encode: a weighted fit of scale and minimum per sub-block, 16 trials each.
void decode_row_q5_k(const std::byte* blocks, int64_t k, float* out);
void encode_row_q5_k(const float* in, int64_t k, std::byte* blocks);

}  // namespace mlxn::quant
