// SPDX-License-Identifier: Apache-2.0
#include "quant/iq4_xs.h"

#include <cstring>

#include "quant/iq4_nl.h"

namespace mlxn::quant {

void decode_row_iq4_xs(const std::byte* blocks, int64_t k, float* out) {
  constexpr int kHalf = 16;
  for (int64_t i = 0; i < k; i += BlockIQ4_XS::kElements, blocks += sizeof(BlockIQ4_XS)) {
    BlockIQ4_XS block;
    std::memcpy(&block, blocks, sizeof(block));
    for (int b = 0; b < BlockIQ4_XS::kSubBlocks; ++b) {
      const int low = (block.scales_l[b / 2] >> (4 * (b % 2))) & 15;
      const int scale = low | ((block.scales_h >> (2 * b)) & 3) << 4;
      const float d = to_float(block.d) * static_cast<float>(scale - 32);
      const uint8_t* qs = block.qs + kHalf * b;
      float* sub = out + i + 2 * kHalf * b;
      for (int j = 0; j < kHalf; ++j) {
        sub[j] = d * static_cast<float>(kIq4Values[qs[j] & 15]);
        sub[j + kHalf] = d * static_cast<float>(kIq4Values[qs[j] >> 4]);
      }
    }
  }
}

}  // namespace mlxn::quant
