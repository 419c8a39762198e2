// SPDX-License-Identifier: Apache-2.0
#include "quant/q3_k.h"

#include <cstring>

namespace mlxn::quant {

void decode_row_q3_k(const std::byte* blocks, int64_t k, float* out) {
  for (int64_t i = 0; i < k; i += BlockQ3_K::kElements, blocks += sizeof(BlockQ3_K)) {
    BlockQ3_K block;
    std::memcpy(&block, blocks, sizeof(block));
    for (int j = 0; j < BlockQ3_K::kElements; ++j) {
      const int scale = q3_k_scale(block.scales, j / BlockQ3_K::kGroupSize) - 32;
      const int low = (block.qs[32 * (j / 128) + j % 32] >> (2 * (j % 128 / 32))) & 3;
      const int code = low | ((block.hmask[j % 32] >> (j / 32)) & 1) << 2;
      out[i + j] = to_float(block.d) * static_cast<float>(scale) * static_cast<float>(code - 4);
    }
  }
}

}  // namespace mlxn::quant
