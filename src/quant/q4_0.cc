// SPDX-License-Identifier: Apache-2.0
#include "quant/q4_0.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "quant/encode_util.h"

namespace mlxn::quant {

namespace {

constexpr int kHalf = BlockQ4_0::kElements / 2;

uint8_t code_of(float x, float inverse_d) {
  // The sum is never negative but by rounding; the comparison also turns NaN into code 0.
  const float shifted = x * inverse_d + 8.5f;
  return static_cast<uint8_t>(shifted > 0.0f ? std::min(shifted, 15.0f) : 0.0f);
}

}  // namespace

void decode_row_q4_0(const std::byte* blocks, int64_t k, float* out) {
  for (int64_t i = 0; i < k; i += BlockQ4_0::kElements, blocks += sizeof(BlockQ4_0)) {
    BlockQ4_0 block;
    std::memcpy(&block, blocks, sizeof(block));
    const float d = to_float(block.d);
    for (int j = 0; j < kHalf; ++j) {
      out[i + j] = static_cast<float>((block.qs[j] & 15) - 8) * d;
      out[i + j + kHalf] = static_cast<float>((block.qs[j] >> 4) - 8) * d;
    }
  }
}

void encode_row_q4_0(const float* in, int64_t k, std::byte* blocks) {
  check_encode_input("q4_0", in, k, BlockQ4_0::kElements);
  for (int64_t i = 0; i < k; i += BlockQ4_0::kElements, blocks += sizeof(BlockQ4_0)) {
    const float* x = in + i;
    float edge = 0.0f;
    for (int j = 0; j < BlockQ4_0::kElements; ++j) {
      if (std::fabs(x[j]) > std::fabs(edge)) edge = x[j];
    }
    const float d = edge / -8.0f;
    const float inverse_d = d != 0.0f ? 1.0f / d : 0.0f;
    BlockQ4_0 block;
    block.d = to_f16(d);
    for (int j = 0; j < kHalf; ++j) {
      const int low = code_of(x[j], inverse_d);
      const int high = code_of(x[j + kHalf], inverse_d);
      block.qs[j] = static_cast<uint8_t>(low | (high << 4));
    }
    std::memcpy(blocks, &block, sizeof(block));
  }
}

}  // namespace mlxn::quant
