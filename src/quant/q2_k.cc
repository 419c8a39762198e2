// SPDX-License-Identifier: Apache-2.0
#include "quant/q2_k.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "quant/encode_util.h"
#include "quant/k_fit.h"

namespace mlxn::quant {

namespace {

constexpr int kGroup = BlockQ2_K::kGroupSize;
constexpr int kGroups = BlockQ2_K::kElements / kGroup;
constexpr int kMaxScale = 15;
constexpr FitOptions kFit = {
    .size = kGroup, .max_code = 3, .trials = 16, .first_step = -0.5f, .absolute = true};

// Element i: bits shift, shift + 1 of qs[byte].
constexpr int byte_of(int i) { return 32 * (i / 128) + i % 32; }
constexpr int shift_of(int i) { return 2 * (i % 128 / 32); }

void encode_block(const float* x, BlockQ2_K* block) {
  uint8_t codes[BlockQ2_K::kElements];
  Fit fits[kGroups];
  float largest_scale = 0.0f;
  float largest_min = 0.0f;
  for (int j = 0; j < kGroups; ++j) {
    float weights[kGroup];
    for (int i = 0; i < kGroup; ++i) weights[i] = std::fabs(x[j * kGroup + i]);
    fits[j] = fit_group(kFit, x + j * kGroup, weights, codes + j * kGroup);
    largest_scale = std::max(largest_scale, fits[j].scale);
    largest_min = std::max(largest_min, -fits[j].low);
  }
  const float scale_steps = largest_scale > 0.0f ? kMaxScale / largest_scale : 0.0f;
  const float min_steps = largest_min > 0.0f ? kMaxScale / largest_min : 0.0f;
  block->d = to_f16(largest_scale / kMaxScale);
  block->dmin = to_f16(largest_min / kMaxScale);
  for (int j = 0; j < kGroups; ++j) {
    const int scale = round_even(scale_steps * fits[j].scale, 0, kMaxScale);
    const int min = round_even(min_steps * -fits[j].low, 0, kMaxScale);
    block->scales[j] = static_cast<uint8_t>(scale | min << 4);
    // The codes that suit the scale and minimum as stored.
    const float d = to_float(block->d) * static_cast<float>(scale);
    if (d == 0.0f) continue;
    const float dmin = to_float(block->dmin) * static_cast<float>(min);
    for (int i = j * kGroup; i < (j + 1) * kGroup; ++i) {
      codes[i] = static_cast<uint8_t>(round_even((x[i] + dmin) / d, 0, kFit.max_code));
    }
  }
  for (int i = 0; i < BlockQ2_K::kElements; ++i) {
    block->qs[byte_of(i)] |= static_cast<uint8_t>(codes[i] << shift_of(i));
  }
}

}  // namespace

void decode_row_q2_k(const std::byte* blocks, int64_t k, float* out) {
  for (int64_t i = 0; i < k; i += BlockQ2_K::kElements, blocks += sizeof(BlockQ2_K)) {
    BlockQ2_K block;
    std::memcpy(&block, blocks, sizeof(block));
    for (int j = 0; j < BlockQ2_K::kElements; ++j) {
      const uint8_t group = block.scales[j / kGroup];
      const float d = to_float(block.d) * static_cast<float>(group & 15);
      const float min = to_float(block.dmin) * static_cast<float>(group >> 4);
      out[i + j] = d * static_cast<float>((block.qs[byte_of(j)] >> shift_of(j)) & 3) - min;
    }
  }
}

void encode_row_q2_k(const float* in, int64_t k, std::byte* blocks) {
  check_encode_input("q2_k", in, k, BlockQ2_K::kElements);
  for (int64_t i = 0; i < k; i += BlockQ2_K::kElements, blocks += sizeof(BlockQ2_K)) {
    BlockQ2_K block{};
    encode_block(in + i, &block);
    std::memcpy(blocks, &block, sizeof(block));
  }
}

}  // namespace mlxn::quant
