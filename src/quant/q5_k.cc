// SPDX-License-Identifier: Apache-2.0
#include "quant/q5_k.h"

#include <cstring>

#include "quant/encode_util.h"
#include "quant/k_fit.h"

namespace mlxn::quant {

namespace {

constexpr int kSubSize = BlockQ5_K::kElements / BlockQ5_K::kSubBlocks;
constexpr FitOptions kFit = {
    .size = kSubSize, .max_code = 31, .trials = 16, .first_step = -0.5f, .absolute = false};

}  // namespace

void decode_row_q5_k(const std::byte* blocks, int64_t k, float* out) {
  for (int64_t i = 0; i < k; i += BlockQ5_K::kElements, blocks += sizeof(BlockQ5_K)) {
    BlockQ5_K block;
    std::memcpy(&block, blocks, sizeof(block));
    for (int j = 0; j < BlockQ5_K::kSubBlocks; ++j) {
      const ScaleMin stored = k_scale_min(block.scales, j);
      const float d = to_float(block.d) * static_cast<float>(stored.scale);
      const float min = to_float(block.dmin) * static_cast<float>(stored.min);
      const uint8_t* qs = block.qs + (j / 2) * kSubSize;
      float* sub = out + i + j * kSubSize;
      for (int l = 0; l < kSubSize; ++l) {
        const int code = ((qs[l] >> (4 * (j % 2))) & 15) | ((block.qh[l] >> j) & 1) << 4;
        sub[l] = d * static_cast<float>(code) - min;
      }
    }
  }
}

void encode_row_q5_k(const float* in, int64_t k, std::byte* blocks) {
  check_encode_input("q5_k", in, k, BlockQ5_K::kElements);
  for (int64_t i = 0; i < k; i += BlockQ5_K::kElements, blocks += sizeof(BlockQ5_K)) {
    const KBlock fit = fit_k_block(kFit, in + i);
    BlockQ5_K block{};
    block.d = F16{fit.d};
    block.dmin = F16{fit.dmin};
    std::memcpy(block.scales, fit.scales, sizeof(block.scales));
    for (int j = 0; j < BlockQ5_K::kElements; ++j) {
      const int sub = j / kSubSize, l = j % kSubSize;
      const int code = fit.codes[j];
      block.qs[sub / 2 * kSubSize + l] |= static_cast<uint8_t>((code & 15) << (4 * (sub % 2)));
      block.qh[l] |= static_cast<uint8_t>((code >> 4) << sub);
    }
    std::memcpy(blocks, &block, sizeof(block));
  }
}

}  // namespace mlxn::quant
