// SPDX-License-Identifier: Apache-2.0
// Q5_0: 32 signed 5-bit codes under one f16 scale. w = (code - 16) * d.
#pragma once

#include <cstddef>
#include <cstdint>

#include "mlxn/dtype.h"

namespace mlxn::quant {

struct BlockQ5_0 {
  static constexpr int kElements = 32;
  F16 d;
  uint8_t qh[4];   // bit i % 8 of qh[i / 8]: the fifth bit of element i
  uint8_t qs[16];  // element i < 16: low nibble of qs[i]; i >= 16: high nibble of qs[i - 16]
};
static_assert(sizeof(BlockQ5_0) == 22 && alignof(BlockQ5_0) == 2);

// k elements, a multiple of 32. decode: out[i] = (code - 16) * d in f32.
// encode: the entry of largest magnitude (the first on ties) becomes code 0, d = entry / -16.
void decode_row_q5_0(const std::byte* blocks, int64_t k, float* out);
void encode_row_q5_0(const float* in, int64_t k, std::byte* blocks);

}  // namespace mlxn::quant
