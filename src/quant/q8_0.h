// SPDX-License-Identifier: Apache-2.0
// Q8_0: 32 signed bytes under one f16 scale. w = q * d.
#pragma once

#include <cstddef>
#include <cstdint>

#include "mlxn/dtype.h"

namespace mlxn::quant {

struct BlockQ8_0 {
  static constexpr int kElements = 32;
  F16 d;
  int8_t qs[32];
};
static_assert(sizeof(BlockQ8_0) == 34 && alignof(BlockQ8_0) == 2);

// k elements, a multiple of 32. decode: out[i] = q * d in f32; a NaN or infinite d shows.
// encode: d = max|x| / 127, q = round half away from zero of x * (1 / d).
void decode_row_q8_0(const std::byte* blocks, int64_t k, float* out);
void encode_row_q8_0(const float* in, int64_t k, std::byte* blocks);

}  // namespace mlxn::quant
