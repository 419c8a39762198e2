// SPDX-License-Identifier: Apache-2.0
#include "quant/mxfp4.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "quant/encode_util.h"
#include "quant/fp_codes.h"

namespace mlxn::quant {

namespace {

constexpr int kHalf = BlockMXFP4::kElements / 2;

int nearest_code(float x, float scale) {
  int best = 0;
  float best_error = std::fabs(x);
  for (int code = 1; code < 16; ++code) {
    const float error = std::fabs(static_cast<float>(kE2m1Doubled[code]) * scale - x);
    if (error < best_error) {
      best = code;
      best_error = error;
    }
  }
  return best;
}

}  // namespace

void decode_row_mxfp4(const std::byte* blocks, int64_t k, float* out) {
  for (int64_t i = 0; i < k; i += BlockMXFP4::kElements, blocks += sizeof(BlockMXFP4)) {
    BlockMXFP4 block;
    std::memcpy(&block, blocks, sizeof(block));
    const float d = half_e8m0(block.e);
    for (int j = 0; j < kHalf; ++j) {
      out[i + j] = d * static_cast<float>(kE2m1Doubled[block.qs[j] & 15]);
      out[i + j + kHalf] = d * static_cast<float>(kE2m1Doubled[block.qs[j] >> 4]);
    }
  }
}

void encode_row_mxfp4(const float* in, int64_t k, std::byte* blocks) {
  check_encode_input("mxfp4", in, k, BlockMXFP4::kElements);
  for (int64_t i = 0; i < k; i += BlockMXFP4::kElements, blocks += sizeof(BlockMXFP4)) {
    const float* x = in + i;
    float largest = 0.0f;
    for (int j = 0; j < BlockMXFP4::kElements; ++j) largest = std::max(largest, std::fabs(x[j]));
    const int e = largest > 0.0f ? static_cast<int>(std::floor(std::log2(largest))) - 2 + 127 : 0;
    BlockMXFP4 block;
    block.e = static_cast<uint8_t>(std::max(e, 0));
    const float d = half_e8m0(block.e);
    for (int j = 0; j < kHalf; ++j) {
      block.qs[j] =
          static_cast<uint8_t>(nearest_code(x[j], d) | nearest_code(x[j + kHalf], d) << 4);
    }
    std::memcpy(blocks, &block, sizeof(block));
  }
}

}  // namespace mlxn::quant
