// SPDX-License-Identifier: Apache-2.0
// MXFP4 as GGUF stores it: 32 codes of E2M1 under one power of two. w = 2^(e - 128) * table[code].
// The same values as MLX's mxfp4 (mlx_fp.h) in another order of nibbles. OCP Microscaling Formats.
#pragma once

#include <cstddef>
#include <cstdint>

#include "mlxn/dtype.h"

namespace mlxn::quant {

struct BlockMXFP4 {
  static constexpr int kElements = 32;
  uint8_t e;
  uint8_t qs[16];  // element i < 16: low nibble of qs[i]; i >= 16: high nibble of qs[i - 16]
};
static_assert(sizeof(BlockMXFP4) == 17 && alignof(BlockMXFP4) == 1);

// k elements, a multiple of 32. encode: e = floor(log2(max |x|)) - 2 + 127, the nearest code, the
// first on ties.
void decode_row_mxfp4(const std::byte* blocks, int64_t k, float* out);
void encode_row_mxfp4(const float* in, int64_t k, std::byte* blocks);

}  // namespace mlxn::quant
