// SPDX-License-Identifier: Apache-2.0
#include "quant/q6_k.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "quant/encode_util.h"

namespace mlxn::quant {

namespace {

constexpr int kGroup = BlockQ6_K::kGroupSize;
constexpr int kGroups = BlockQ6_K::kElements / kGroup;
constexpr int kZero = 32;        // code of 0.0
constexpr int kTrials = 9;       // on either side of the first
constexpr float kTiny = 1e-15f;  // magnitudes below count as zero

// Where element i of a block keeps its bits; see the struct.
struct Place {
  int ql, ql_shift, qh, qh_shift;
};
constexpr Place place_of(int i) {
  const int half = i / 128;
  const int t = (i % 128) / 32;
  const int l = i % 32;
  return {64 * half + 32 * (t % 2) + l, 4 * (t / 2), 32 * half + l, 2 * t};
}

// The signed scale s that makes sum x^2 (x - s * code)^2 smallest among a few roundings of x;
// leaves the codes (biased by kZero) of the winner.
float fit_group(const float* x, uint8_t* codes) {
  float edge = 0.0f;
  for (int i = 0; i < kGroup; ++i) {
    if (std::fabs(x[i]) > std::fabs(edge)) edge = x[i];
  }
  if (std::fabs(edge) < kTiny) {
    std::fill_n(codes, kGroup, uint8_t{0});
    return 0.0f;
  }
  float scale = 0.0f;
  float best = 0.0f;
  const auto attempt = [&](int trial) {
    const float inverse_scale = -(kZero + 0.1f * static_cast<float>(trial)) / edge;
    int rounded[kGroup];
    float sum_xl = 0.0f;
    float sum_ll = 0.0f;
    for (int i = 0; i < kGroup; ++i) {
      rounded[i] = round_even(inverse_scale * x[i], -kZero, kZero - 1);
      const float l = static_cast<float>(rounded[i]);
      const float weight = x[i] * x[i];
      sum_xl += weight * x[i] * l;
      sum_ll += weight * l * l;
    }
    const bool better = trial == 0 || (sum_ll > 0.0f && sum_xl * sum_xl > best * sum_ll);
    if (!better) return;
    scale = sum_ll > 0.0f ? sum_xl / sum_ll : 0.0f;
    best = scale * sum_xl;
    for (int i = 0; i < kGroup; ++i) codes[i] = static_cast<uint8_t>(rounded[i] + kZero);
  };
  attempt(0);
  for (int trial = -kTrials; trial <= kTrials; ++trial) {
    if (trial != 0) attempt(trial);
  }
  return scale;
}

void encode_block(const float* x, BlockQ6_K* block) {
  uint8_t codes[BlockQ6_K::kElements];
  float scales[kGroups];
  float largest = 0.0f;
  for (int j = 0; j < kGroups; ++j) {
    scales[j] = fit_group(x + j * kGroup, codes + j * kGroup);
    if (std::fabs(scales[j]) > std::fabs(largest)) largest = scales[j];
  }
  if (std::fabs(largest) < kTiny) return;  // the caller's block is all zero
  const float steps = -128.0f / largest;
  block->d = to_f16(1.0f / steps);
  for (int j = 0; j < kGroups; ++j) {
    block->scales[j] = static_cast<int8_t>(round_even(steps * scales[j], -128, 127));
    const float d = to_float(block->d) * static_cast<float>(block->scales[j]);
    if (d == 0.0f) continue;
    for (int i = j * kGroup; i < (j + 1) * kGroup; ++i) {
      codes[i] = static_cast<uint8_t>(round_even(x[i] / d, -kZero, kZero - 1) + kZero);
    }
  }
  for (int i = 0; i < BlockQ6_K::kElements; ++i) {
    const Place place = place_of(i);
    block->ql[place.ql] |= static_cast<uint8_t>((codes[i] & 15) << place.ql_shift);
    block->qh[place.qh] |= static_cast<uint8_t>((codes[i] >> 4) << place.qh_shift);
  }
}

}  // namespace

void decode_row_q6_k(const std::byte* blocks, int64_t k, float* out) {
  for (int64_t i = 0; i < k; i += BlockQ6_K::kElements, blocks += sizeof(BlockQ6_K)) {
    BlockQ6_K block;
    std::memcpy(&block, blocks, sizeof(block));
    const float d = to_float(block.d);
    for (int j = 0; j < kGroups; ++j) {
      const float scale = d * static_cast<float>(block.scales[j]);
      // A group lies within one run of 32 elements, so its bits lie side by side.
      const Place place = place_of(j * kGroup);
      float* group = out + i + j * kGroup;
      for (int l = 0; l < kGroup; ++l) {
        const int low = (block.ql[place.ql + l] >> place.ql_shift) & 15;
        const int high = (block.qh[place.qh + l] >> place.qh_shift) & 3;
        group[l] = scale * static_cast<float>((low | (high << 4)) - kZero);
      }
    }
  }
}

void encode_row_q6_k(const float* in, int64_t k, std::byte* blocks) {
  check_encode_input("q6_k", in, k, BlockQ6_K::kElements);
  for (int64_t i = 0; i < k; i += BlockQ6_K::kElements, blocks += sizeof(BlockQ6_K)) {
    BlockQ6_K block{};
    encode_block(in + i, &block);
    std::memcpy(blocks, &block, sizeof(block));
  }
}

}  // namespace mlxn::quant
