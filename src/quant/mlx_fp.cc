// SPDX-License-Identifier: Apache-2.0
#include "quant/mlx_fp.h"

#include <algorithm>
#include <cmath>

#include "quant/encode_util.h"
#include "quant/fp_codes.h"

namespace mlxn::quant {

namespace {

float decode_scale(Format format, std::byte scale) {
  const auto bits = static_cast<uint8_t>(scale);
  return format == Format::kMlxNvfp4 ? from_e4m3(bits) : from_e8m0(bits);
}

// The codes' values, in order.
struct Values {
  float of[256];
  int count;
  explicit Values(Format format) : count(format == Format::kMlxMxfp8 ? 256 : 16) {
    for (int i = 0; i < count; ++i) {
      of[i] = count == 16 ? std::copysign(0.5f * static_cast<float>(kE2m1Doubled[i]), 7.5f - i)
                          : from_e4m3(static_cast<uint8_t>(i));
    }
  }
};

std::byte encode_scale(Format format, float largest) {
  const float scale = largest / (format == Format::kMlxMxfp8 ? 448.0f : 6.0f);
  if (format == Format::kMlxNvfp4) return static_cast<std::byte>(to_e4m3(scale));
  int exponent = 0;
  // scale = f * 2^exponent, f in [0.5, 1): only 0.5 is a power of two.
  if (std::frexp(scale, &exponent) == 0.5f) --exponent;
  return static_cast<std::byte>(std::clamp(exponent, -127, 127) + 127);
}

int nearest_fp4(float x) {
  int best = 0;
  float best_error = std::fabs(x);
  for (int code = 1; code < 16; ++code) {
    const float error = std::fabs(x - 0.5f * static_cast<float>(kE2m1Doubled[code]));
    if (error < best_error) {
      best = code;
      best_error = error;
    }
  }
  return best;
}

}  // namespace

void decode_row_mlx_fp(Format format, const std::byte* codes, const std::byte* scales, int64_t k,
                       float* out) {
  const FpMode mode = fp_mode(format);
  const Values values(format);
  for (int64_t i = 0; i < k; ++i) {
    const float scale = decode_scale(format, scales[i / mode.group_size]);
    const auto byte = static_cast<uint8_t>(codes[i * mode.bits / 8]);
    const int code = mode.bits == 8 ? byte : (byte >> (4 * (i % 2))) & 15;
    out[i] = scale * values.of[code];
  }
}

void encode_row_mlx_fp(Format format, const float* in, int64_t k, std::byte* codes,
                       std::byte* scales) {
  const FpMode mode = fp_mode(format);
  check_encode_input(name(format), in, k, 32);
  for (int64_t g = 0; g < k / mode.group_size; ++g) {
    const float* x = in + g * mode.group_size;
    float largest = 0.0f;
    for (int j = 0; j < mode.group_size; ++j) largest = std::max(largest, std::fabs(x[j]));
    scales[g] = encode_scale(format, largest);
    const float scale = decode_scale(format, scales[g]);
    for (int j = 0; j < mode.group_size; ++j) {
      const int64_t i = g * mode.group_size + j;
      const float value = scale == 0.0f ? 0.0f : x[j] / scale;
      if (mode.bits == 8) {
        codes[i] = static_cast<std::byte>(to_e4m3(value));
        continue;
      }
      const int code = nearest_fp4(value);
      std::byte& byte = codes[i / 2];
      byte = i % 2 == 0 ? static_cast<std::byte>(code) : byte | static_cast<std::byte>(code << 4);
    }
  }
}

}  // namespace mlxn::quant
