// SPDX-License-Identifier: Apache-2.0
#include "quant/q4_1.h"

#include <algorithm>
#include <cstring>

#include "quant/encode_util.h"

namespace mlxn::quant {

namespace {

constexpr int kHalf = BlockQ4_1::kElements / 2;
constexpr int kMaxCode = 15;

// Cut off, not rounded: half a step is in `shifted` already. NaN gives 0.
int code_of(float shifted) {
  return static_cast<int>(shifted > 0.0f ? std::min(shifted, static_cast<float>(kMaxCode)) : 0.0f);
}

}  // namespace

void decode_row_q4_1(const std::byte* blocks, int64_t k, float* out) {
  for (int64_t i = 0; i < k; i += BlockQ4_1::kElements, blocks += sizeof(BlockQ4_1)) {
    BlockQ4_1 block;
    std::memcpy(&block, blocks, sizeof(block));
    const float d = to_float(block.d);
    const float m = to_float(block.m);
    for (int j = 0; j < kHalf; ++j) {
      const int low = block.qs[j] & 15, high = block.qs[j] >> 4;
      out[i + j] = static_cast<float>(low) * d + m;
      out[i + j + kHalf] = static_cast<float>(high) * d + m;
    }
  }
}

void encode_row_q4_1(const float* in, int64_t k, std::byte* blocks) {
  check_encode_input("q4_1", in, k, BlockQ4_1::kElements);
  for (int64_t i = 0; i < k; i += BlockQ4_1::kElements, blocks += sizeof(BlockQ4_1)) {
    const float* x = in + i;
    // The first of equals: it decides the sign of a zero.
    const float m = *std::min_element(x, x + BlockQ4_1::kElements);
    const float d = (*std::max_element(x, x + BlockQ4_1::kElements) - m) / kMaxCode;
    const float inverse_d = d != 0.0f ? 1.0f / d : 0.0f;
    BlockQ4_1 block;
    block.d = to_f16(d);
    block.m = to_f16(m);
    for (int j = 0; j < kHalf; ++j) {
      const int low = code_of((x[j] - m) * inverse_d + 0.5f),
                high = code_of((x[j + kHalf] - m) * inverse_d + 0.5f);
      block.qs[j] = static_cast<uint8_t>(low | high << 4);
    }
    std::memcpy(blocks, &block, sizeof(block));
  }
}

}  // namespace mlxn::quant
