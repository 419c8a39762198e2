// SPDX-License-Identifier: Apache-2.0
// Q3_K: 256 signed 3-bit codes in 16 groups of 16, each with a signed 6-bit scale under one f16
// factor. w = (d * (scale - 32)) * (code - 4).
#pragma once

#include <cstddef>
#include <cstdint>

#include "mlxn/dtype.h"

namespace mlxn::quant {

struct BlockQ3_K {
  static constexpr int kElements = 256;
  static constexpr int kGroupSize = 16;
  uint8_t hmask[32];  // bit i / 32 of hmask[i % 32]: the third bit of element i
  uint8_t qs[64];     // element i: bits 2t, 2t + 1 of qs[32 * (i / 128) + i % 32], t = i % 128 / 32
  uint8_t scales[12];  // 16 of 6 bits; see q3_k_scale()
  F16 d;
};
static_assert(sizeof(BlockQ3_K) == 110 && alignof(BlockQ3_K) == 2);

// Scale of group j, 0..63: its low 4 bits are in a nibble of bytes 0..7, its high 2 bits in bytes
// 8..11.
inline int q3_k_scale(const uint8_t* scales, int j) {
  const int low = j < 8 ? scales[j] & 15 : scales[j - 8] >> 4;
  return low | ((scales[8 + j % 4] >> (2 * (j / 4))) & 3) << 4;
}

// k elements, a multiple of 256. The formula above in f32, in the order of the parentheses.
void decode_row_q3_k(const std::byte* blocks, int64_t k, float* out);

}  // namespace mlxn::quant
