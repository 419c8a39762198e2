// SPDX-License-Identifier: Apache-2.0
// What the encoders of the K formats with minima share: a weighted fit x ~ scale * code + low.
#pragma once

#include <cstdint>

namespace mlxn::quant {

struct FitOptions {
  int size;      // elements of a group, at most 32
  int max_code;  // codes are 0..max_code
  int trials;    // inverse scales (max_code + first_step + 0.1 t) / range, t < trials
  float first_step;
  bool absolute;  // weigh |difference| and not its square
};

// scale >= 0, low <= 0.
struct Fit {
  float scale = 0.0f;
  float low = 0.0f;
  float error = 0.0f;
};

// Fits one group and leaves the codes of the best trial.
Fit fit_group(const FitOptions& options, const float* x, const float* weights, uint8_t* codes);

// Weights of Q4_K and Q5_K: root of the mean square plus |x|.
void rms_weights(const float* x, int size, float* weights);

struct ScaleMin {
  uint8_t scale;  // 0..63
  uint8_t min;    // 0..63
};

// Sub-block j, 0..7, of Q4_K and Q5_K. The first four scales and mins are the low 6 bits of bytes
// 0..3 and 4..7; the others have their low 4 bits in bytes 8..11 and their high 2 bits on top of
// bytes 0..7.
inline ScaleMin k_scale_min(const uint8_t* scales, int j) {
  if (j < 4) {
    return {static_cast<uint8_t>(scales[j] & 63), static_cast<uint8_t>(scales[j + 4] & 63)};
  }
  return {static_cast<uint8_t>((scales[j + 4] & 15) | ((scales[j - 4] >> 6) << 4)),
          static_cast<uint8_t>((scales[j + 4] >> 4) | ((scales[j] >> 6) << 4))};
}
// Into bytes that were zero.
void store_k_scale_min(uint8_t* scales, int j, int scale, int min);

// One block of 256 as Q4_K and Q5_K fit it: eight scales and minima of 6 bits under two f16
// factors, and the codes that suit them as stored.
struct KBlock {
  uint16_t d;
  uint16_t dmin;
  uint8_t scales[12];
  uint8_t codes[256];
};
KBlock fit_k_block(const FitOptions& options, const float* x);

}  // namespace mlxn::quant
