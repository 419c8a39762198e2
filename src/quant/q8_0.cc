// SPDX-License-Identifier: Apache-2.0
#include "quant/q8_0.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "quant/encode_util.h"

namespace mlxn::quant {

namespace {

// Half away from zero. |x * inverse_d| <= 127 but for rounding, or when 1 / d overflows.
int8_t code_of(float x, float inverse_d) {
  const float q = std::round(x * inverse_d);
  return static_cast<int8_t>(q > -127.0f ? std::min(q, 127.0f) : -127.0f);
}

}  // namespace

void decode_row_q8_0(const std::byte* blocks, int64_t k, float* out) {
  for (int64_t i = 0; i < k; i += BlockQ8_0::kElements, blocks += sizeof(BlockQ8_0)) {
    BlockQ8_0 block;
    std::memcpy(&block, blocks, sizeof(block));
    const float d = to_float(block.d);
    for (int j = 0; j < BlockQ8_0::kElements; ++j) {
      out[i + j] = static_cast<float>(block.qs[j]) * d;
    }
  }
}

void encode_row_q8_0(const float* in, int64_t k, std::byte* blocks) {
  check_encode_input("q8_0", in, k, BlockQ8_0::kElements);
  for (int64_t i = 0; i < k; i += BlockQ8_0::kElements, blocks += sizeof(BlockQ8_0)) {
    const float* x = in + i;
    float largest = 0.0f;
    for (int j = 0; j < BlockQ8_0::kElements; ++j) largest = std::max(largest, std::fabs(x[j]));
    const float d = largest / 127.0f;
    const float inverse_d = d != 0.0f ? 1.0f / d : 0.0f;
    BlockQ8_0 block;
    block.d = to_f16(d);
    for (int j = 0; j < BlockQ8_0::kElements; ++j) block.qs[j] = code_of(x[j], inverse_d);
    std::memcpy(blocks, &block, sizeof(block));
  }
}

}  // namespace mlxn::quant
