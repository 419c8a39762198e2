// SPDX-License-Identifier: Apache-2.0
#include "quant/q4_k.h"

#include <cstring>

#include "quant/encode_util.h"
#include "quant/k_fit.h"

namespace mlxn::quant {

namespace {

constexpr int kSubSize = BlockQ4_K::kElements / BlockQ4_K::kSubBlocks;
constexpr FitOptions kFit = {
    .size = kSubSize, .max_code = 15, .trials = 21, .first_step = -1.0f, .absolute = false};

}  // namespace

void decode_row_q4_k(const std::byte* blocks, int64_t k, float* out) {
  for (int64_t i = 0; i < k; i += BlockQ4_K::kElements, blocks += sizeof(BlockQ4_K)) {
    BlockQ4_K block;
    std::memcpy(&block, blocks, sizeof(block));
    for (int j = 0; j < BlockQ4_K::kSubBlocks; ++j) {
      const ScaleMin stored = k_scale_min(block.scales, j);
      const float d = to_float(block.d) * static_cast<float>(stored.scale);
      const float min = to_float(block.dmin) * static_cast<float>(stored.min);
      const uint8_t* qs = block.qs + (j / 2) * kSubSize;
      const int shift = 4 * (j % 2);
      float* sub = out + i + j * kSubSize;
      for (int l = 0; l < kSubSize; ++l) {
        sub[l] = d * static_cast<float>((qs[l] >> shift) & 15) - min;
      }
    }
  }
}

void encode_row_q4_k(const float* in, int64_t k, std::byte* blocks) {
  check_encode_input("q4_k", in, k, BlockQ4_K::kElements);
  for (int64_t i = 0; i < k; i += BlockQ4_K::kElements, blocks += sizeof(BlockQ4_K)) {
    const KBlock fit = fit_k_block(kFit, in + i);
    BlockQ4_K block{};
    block.d = F16{fit.d};
    block.dmin = F16{fit.dmin};
    std::memcpy(block.scales, fit.scales, sizeof(block.scales));
    for (int j = 0; j < BlockQ4_K::kElements; ++j) {
      const int sub = j / kSubSize;
      block.qs[sub / 2 * kSubSize + j % kSubSize] |=
          static_cast<uint8_t>(fit.codes[j] << (4 * (sub % 2)));
    }
    std::memcpy(blocks, &block, sizeof(block));
  }
}

}  // namespace mlxn::quant
