// SPDX-License-Identifier: Apache-2.0
#include "quant/iq4_nl.h"

#include <cstring>

namespace mlxn::quant {

void decode_row_iq4_nl(const std::byte* blocks, int64_t k, float* out) {
  constexpr int kHalf = BlockIQ4_NL::kElements / 2;
  for (int64_t i = 0; i < k; i += BlockIQ4_NL::kElements, blocks += sizeof(BlockIQ4_NL)) {
    BlockIQ4_NL block;
    std::memcpy(&block, blocks, sizeof(block));
    const float d = to_float(block.d);
    for (int j = 0; j < kHalf; ++j) {
      out[i + j] = d * static_cast<float>(kIq4Values[block.qs[j] & 15]);
      out[i + j + kHalf] = d * static_cast<float>(kIq4Values[block.qs[j] >> 4]);
    }
  }
}

}  // namespace mlxn::quant
