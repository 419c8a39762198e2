// SPDX-License-Identifier: Apache-2.0
// IQ4_NL: 32 codes of 4 bits that index a table of 16 signed bytes, under one f16 scale.
// w = d * table[code].
#pragma once

#include <cstddef>
#include <cstdint>

#include "mlxn/dtype.h"

namespace mlxn::quant {

inline constexpr int8_t kIq4Values[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                          1,    13,   25,  38,  53,  69,  89,  113};

struct BlockIQ4_NL {
  static constexpr int kElements = 32;
  F16 d;
  uint8_t qs[16];  // element i < 16: low nibble of qs[i]; i >= 16: high nibble of qs[i - 16]
};
static_assert(sizeof(BlockIQ4_NL) == 18 && alignof(BlockIQ4_NL) == 2);

// k elements, a multiple of 32.
void decode_row_iq4_nl(const std::byte* blocks, int64_t k, float* out);

}  // namespace mlxn::quant
