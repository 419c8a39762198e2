// SPDX-License-Identifier: Apache-2.0
// Q5_1: 32 unsigned 5-bit codes with an f16 scale and an f16 minimum. w = code * d + m.
#pragma once

#include <cstddef>
#include <cstdint>

#include "mlxn/dtype.h"

namespace mlxn::quant {

struct BlockQ5_1 {
  static constexpr int kElements = 32;
  F16 d;
  F16 m;
  uint8_t qh[4];   // bit i % 8 of qh[i / 8]: the fifth bit of element i
  uint8_t qs[16];  // element i < 16: low nibble of qs[i]; i >= 16: high nibble of qs[i - 16]
};
static_assert(sizeof(BlockQ5_1) == 24 && alignof(BlockQ5_1) == 2);

// k elements, a multiple of 32. decode: f32, product then sum.
// encode: d = (max - min) / 31, m = min.
void decode_row_q5_1(const std::byte* blocks, int64_t k, float* out);
void encode_row_q5_1(const float* in, int64_t k, std::byte* blocks);

}  // namespace mlxn::quant
