// SPDX-License-Identifier: Apache-2.0
// Q6_K: 256 6-bit codes in 16 groups of 16, each with a signed 8-bit scale under one f16 factor.
// w = (d * scale) * (code - 32).
#pragma once

#include <cstddef>
#include <cstdint>

#include "mlxn/dtype.h"

namespace mlxn::quant {

// Element i = 128 h + 32 t + l, with h = 0..1, t = 0..3, l = 0..31: its low 4 bits are the low
// (t < 2) or high (t >= 2) nibble of ql[64 h + 32 (t % 2) + l], its high 2 bits are bits 2t, 2t + 1
// of qh[32 h + l], its scale is scales[i / 16].
struct BlockQ6_K {
  static constexpr int kElements = 256;
  static constexpr int kGroupSize = 16;
  uint8_t ql[128];
  uint8_t qh[64];
  int8_t scales[16];
  F16 d;
};
static_assert(sizeof(BlockQ6_K) == 210 && alignof(BlockQ6_K) == 2);

// k elements, a multiple of 256. decode: the formula above in f32, in the order of the parentheses.
// encode: a fit of a signed scale per group, weighted by x^2, 19 trials each.
void decode_row_q6_k(const std::byte* blocks, int64_t k, float* out);
void encode_row_q6_k(const float* in, int64_t k, std::byte* blocks);

}  // namespace mlxn::quant
