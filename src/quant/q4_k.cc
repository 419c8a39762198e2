// SPDX-License-Identifier: Apache-2.0
#include "quant/q4_k.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "quant/encode_util.h"

namespace mlxn::quant {

namespace {

constexpr int kSubSize = BlockQ4_K::kElements / BlockQ4_K::kSubBlocks;
constexpr int kMaxCode = 15;
constexpr int kMaxScale = 63;
constexpr int kTrials = 21;  // inverse scales from (kMaxCode - 1) to (kMaxCode + 1) over the range

// x ~ scale * code + low, with low <= 0.
struct Fit {
  float scale = 0.0f;
  float low = 0.0f;
  float error = 0.0f;
};

void nearest_codes(const float* x, float inverse_scale, float low, uint8_t* codes) {
  for (int i = 0; i < kSubSize; ++i) {
    codes[i] = static_cast<uint8_t>(round_even(inverse_scale * (x[i] - low), 0, kMaxCode));
  }
}

float weighted_error(const float* x, const float* weights, const uint8_t* codes, float scale,
                     float low) {
  float error = 0.0f;
  for (int i = 0; i < kSubSize; ++i) {
    const float difference = scale * static_cast<float>(codes[i]) + low - x[i];
    error += weights[i] * (difference * difference);
  }
  return error;
}

// The weighted least-squares scale and minimum for fixed codes; false if they do not determine one.
// sum_w and sum_x are the sums of weights and of weights * x.
bool least_squares(const float* x, const float* weights, const uint8_t* codes, float sum_w,
                   float sum_x, Fit* fit) {
  float sum_l = 0.0f;
  float sum_ll = 0.0f;
  float sum_xl = 0.0f;
  for (int i = 0; i < kSubSize; ++i) {
    const float l = static_cast<float>(codes[i]);
    sum_l += weights[i] * l;
    sum_ll += weights[i] * l * l;
    sum_xl += weights[i] * l * x[i];
  }
  const float determinant = sum_w * sum_ll - sum_l * sum_l;
  if (!(determinant > 0.0f)) return false;
  fit->scale = (sum_w * sum_xl - sum_x * sum_l) / determinant;
  fit->low = (sum_ll * sum_x - sum_l * sum_xl) / determinant;
  if (fit->low > 0.0f) {
    fit->low = 0.0f;
    fit->scale = sum_xl / sum_ll;
  }
  return true;
}

// Fits one sub-block and leaves the codes of the best trial. A trial that wins moves `low`, which
// the later trials start from.
Fit fit_sub_block(const float* x, uint8_t* codes) {
  float sum_squares = 0.0f;
  for (int i = 0; i < kSubSize; ++i) sum_squares += x[i] * x[i];
  const float rms = std::sqrt(sum_squares / kSubSize);
  float weights[kSubSize];
  for (int i = 0; i < kSubSize; ++i) weights[i] = rms + std::fabs(x[i]);

  float high = x[0];
  Fit best{.low = x[0]};
  float sum_w = weights[0];
  float sum_x = sum_w * x[0];
  for (int i = 1; i < kSubSize; ++i) {
    best.low = std::min(best.low, x[i]);
    high = std::max(high, x[i]);
    sum_w += weights[i];
    sum_x += weights[i] * x[i];
  }
  best.low = std::min(best.low, 0.0f);
  if (best.low == high) {
    std::fill_n(codes, kSubSize, uint8_t{0});
    return best;
  }
  const float inverse_scale = kMaxCode / (high - best.low);
  best.scale = 1.0f / inverse_scale;
  nearest_codes(x, inverse_scale, best.low, codes);
  best.error = weighted_error(x, weights, codes, best.scale, best.low);

  for (int t = 0; t < kTrials; ++t) {
    const float steps = -1.0f + 0.1f * static_cast<float>(t) + kMaxCode;
    uint8_t trial_codes[kSubSize];
    nearest_codes(x, steps / (high - best.low), best.low, trial_codes);
    Fit trial;
    if (!least_squares(x, weights, trial_codes, sum_w, sum_x, &trial)) continue;
    trial.error = weighted_error(x, weights, trial_codes, trial.scale, trial.low);
    if (trial.error < best.error) {
      best = trial;
      std::copy_n(trial_codes, kSubSize, codes);
    }
  }
  return best;
}

void store_scale_min(uint8_t* scales, int j, int scale, int min) {
  if (j < 4) {
    scales[j] = static_cast<uint8_t>(scale);
    scales[j + 4] = static_cast<uint8_t>(min);
  } else {
    scales[j + 4] = static_cast<uint8_t>((scale & 15) | ((min & 15) << 4));
    scales[j - 4] |= static_cast<uint8_t>((scale >> 4) << 6);
    scales[j] |= static_cast<uint8_t>((min >> 4) << 6);
  }
}

void encode_block(const float* x, BlockQ4_K* block) {
  uint8_t codes[BlockQ4_K::kElements];
  Fit fits[BlockQ4_K::kSubBlocks];
  float largest_scale = 0.0f;
  float largest_min = 0.0f;
  for (int j = 0; j < BlockQ4_K::kSubBlocks; ++j) {
    fits[j] = fit_sub_block(x + j * kSubSize, codes + j * kSubSize);
    largest_scale = std::max(largest_scale, fits[j].scale);
    largest_min = std::max(largest_min, -fits[j].low);
  }
  const float scale_steps = largest_scale > 0.0f ? kMaxScale / largest_scale : 0.0f;
  const float min_steps = largest_min > 0.0f ? kMaxScale / largest_min : 0.0f;
  block->d = to_f16(largest_scale / kMaxScale);
  block->dmin = to_f16(largest_min / kMaxScale);
  for (int j = 0; j < BlockQ4_K::kSubBlocks; ++j) {
    store_scale_min(block->scales, j, round_even(scale_steps * fits[j].scale, 0, kMaxScale),
                    round_even(min_steps * -fits[j].low, 0, kMaxScale));
  }

  // The codes that suit the scales and minimums as stored.
  for (int j = 0; j < BlockQ4_K::kSubBlocks; ++j) {
    const ScaleMin stored = q4_k_scale_min(block->scales, j);
    const float d = to_float(block->d) * stored.scale;
    if (d == 0.0f) continue;
    const float min = to_float(block->dmin) * stored.min;
    for (int i = j * kSubSize; i < (j + 1) * kSubSize; ++i) {
      codes[i] = static_cast<uint8_t>(round_even((x[i] + min) / d, 0, kMaxCode));
    }
  }
  for (int i = 0; i < BlockQ4_K::kElements / 2; ++i) {
    const int low = (i / kSubSize) * 2 * kSubSize + i % kSubSize;
    block->qs[i] = static_cast<uint8_t>(codes[low] | (codes[low + kSubSize] << 4));
  }
}

}  // namespace

void decode_row_q4_k(const std::byte* blocks, int64_t k, float* out) {
  for (int64_t i = 0; i < k; i += BlockQ4_K::kElements, blocks += sizeof(BlockQ4_K)) {
    BlockQ4_K block;
    std::memcpy(&block, blocks, sizeof(block));
    for (int j = 0; j < BlockQ4_K::kSubBlocks; ++j) {
      const ScaleMin stored = q4_k_scale_min(block.scales, j);
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
    BlockQ4_K block{};
    encode_block(in + i, &block);
    std::memcpy(blocks, &block, sizeof(block));
  }
}

}  // namespace mlxn::quant
