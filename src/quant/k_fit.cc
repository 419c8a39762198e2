// SPDX-License-Identifier: Apache-2.0
#include "quant/k_fit.h"

#include <algorithm>
#include <cmath>

#include "mlxn/dtype.h"
#include "quant/encode_util.h"

namespace mlxn::quant {

namespace {

constexpr int kMaxSize = 32, kSubBlocks = 8, kMaxScale = 63;

// One group under its weights.
class Group {
 public:
  Group(const FitOptions& options, const float* x, const float* weights)
      : options_(options), x_(x), weights_(weights) {
    low_ = high_ = x[0];
    sum_w_ = weights[0];
    sum_x_ = sum_w_ * x[0];
    for (int i = 1; i < options.size; ++i) {
      low_ = std::min(low_, x[i]);
      high_ = std::max(high_, x[i]);
      sum_w_ += weights[i];
      sum_x_ += weights[i] * x[i];
    }
    low_ = std::min(low_, 0.0f);
  }

  float low() const { return low_; }
  float high() const { return high_; }

  void nearest_codes(float inverse_scale, float low, uint8_t* codes) const {
    for (int i = 0; i < options_.size; ++i) {
      codes[i] =
          static_cast<uint8_t>(round_even(inverse_scale * (x_[i] - low), 0, options_.max_code));
    }
  }
  float error(const uint8_t* codes, float scale, float low) const {
    float error = 0.0f;
    for (int i = 0; i < options_.size; ++i) {
      const float difference = scale * static_cast<float>(codes[i]) + low - x_[i];
      error += weights_[i] * (options_.absolute ? std::fabs(difference) : difference * difference);
    }
    return error;
  }
  // The least-squares scale and minimum for fixed codes; false if they do not determine one.
  bool least_squares(const uint8_t* codes, Fit* fit) const {
    float sum_l = 0.0f;
    float sum_ll = 0.0f;
    float sum_xl = 0.0f;
    for (int i = 0; i < options_.size; ++i) {
      const float l = static_cast<float>(codes[i]);
      sum_l += weights_[i] * l;
      sum_ll += weights_[i] * l * l;
      sum_xl += weights_[i] * l * x_[i];
    }
    const float determinant = sum_w_ * sum_ll - sum_l * sum_l;
    if (!(determinant > 0.0f)) return false;
    fit->scale = (sum_w_ * sum_xl - sum_x_ * sum_l) / determinant;
    fit->low = (sum_ll * sum_x_ - sum_l * sum_xl) / determinant;
    if (fit->low > 0.0f) {
      fit->low = 0.0f;
      fit->scale = sum_xl / sum_ll;
    }
    return true;
  }

 private:
  const FitOptions& options_;
  const float* x_;
  const float* weights_;
  float low_, high_;
  float sum_w_, sum_x_;
};

}  // namespace

Fit fit_group(const FitOptions& options, const float* x, const float* weights, uint8_t* codes) {
  const Group group(options, x, weights);
  Fit best{.low = group.low()};
  if (best.low == group.high()) {
    std::fill_n(codes, options.size, uint8_t{0});
    return best;
  }
  const float max_code = static_cast<float>(options.max_code);
  const float inverse_scale = max_code / (group.high() - best.low);
  best.scale = 1.0f / inverse_scale;
  group.nearest_codes(inverse_scale, best.low, codes);
  best.error = group.error(codes, best.scale, best.low);
  for (int t = 0; t < options.trials; ++t) {
    // A trial that won has moved `low`, which the later ones start from.
    const float steps = options.first_step + 0.1f * static_cast<float>(t) + max_code;
    uint8_t trial_codes[kMaxSize];
    group.nearest_codes(steps / (group.high() - best.low), best.low, trial_codes);
    Fit trial;
    if (!group.least_squares(trial_codes, &trial)) continue;
    trial.error = group.error(trial_codes, trial.scale, trial.low);
    if (trial.error < best.error) {
      best = trial;
      std::copy_n(trial_codes, options.size, codes);
    }
  }
  return best;
}

void rms_weights(const float* x, int size, float* weights) {
  float sum_squares = 0.0f;
  for (int i = 0; i < size; ++i) sum_squares += x[i] * x[i];
  const float rms = std::sqrt(sum_squares / static_cast<float>(size));
  for (int i = 0; i < size; ++i) weights[i] = rms + std::fabs(x[i]);
}

void store_k_scale_min(uint8_t* scales, int j, int scale, int min) {
  if (j < 4) {
    scales[j] = static_cast<uint8_t>(scale);
    scales[j + 4] = static_cast<uint8_t>(min);
  } else {
    scales[j + 4] = static_cast<uint8_t>((scale & 15) | ((min & 15) << 4));
    scales[j - 4] |= static_cast<uint8_t>((scale >> 4) << 6);
    scales[j] |= static_cast<uint8_t>((min >> 4) << 6);
  }
}

KBlock fit_k_block(const FitOptions& options, const float* x) {
  KBlock block{};
  Fit fits[kSubBlocks];
  float largest_scale = 0.0f;
  float largest_min = 0.0f;
  for (int j = 0; j < kSubBlocks; ++j) {
    float weights[kMaxSize];
    rms_weights(x + j * kMaxSize, kMaxSize, weights);
    fits[j] = fit_group(options, x + j * kMaxSize, weights, block.codes + j * kMaxSize);
    largest_scale = std::max(largest_scale, fits[j].scale);
    largest_min = std::max(largest_min, -fits[j].low);
  }
  const float scale_steps = largest_scale > 0.0f ? kMaxScale / largest_scale : 0.0f;
  const float min_steps = largest_min > 0.0f ? kMaxScale / largest_min : 0.0f;
  const F16 d = to_f16(largest_scale / kMaxScale), dmin = to_f16(largest_min / kMaxScale);
  block.d = d.bits;
  block.dmin = dmin.bits;
  for (int j = 0; j < kSubBlocks; ++j) {
    store_k_scale_min(block.scales, j, round_even(scale_steps * fits[j].scale, 0, kMaxScale),
                      round_even(min_steps * -fits[j].low, 0, kMaxScale));
  }
  for (int j = 0; j < kSubBlocks; ++j) {
    const ScaleMin stored = k_scale_min(block.scales, j);
    const float scale = to_float(d) * stored.scale;
    if (scale == 0.0f) continue;
    const float min = to_float(dmin) * stored.min;
    for (int i = j * kMaxSize; i < (j + 1) * kMaxSize; ++i) {
      block.codes[i] = static_cast<uint8_t>(round_even((x[i] + min) / scale, 0, options.max_code));
    }
  }
  return block;
}

}  // namespace mlxn::quant
