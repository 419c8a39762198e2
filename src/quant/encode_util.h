// SPDX-License-Identifier: Apache-2.0
// What the encoders share.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string_view>

namespace mlxn::quant {

// Throws kInvalidArgument unless k is a positive multiple of `block_elements` and every input is
// finite. A block of an encoded row never holds a NaN or an infinity that was not an overflow of
// its 16-bit scale.
void check_encode_input(std::string_view format, const float* in, int64_t k, int block_elements);

// Nearest integer, halves to even, clamped to [low, high]; NaN gives low. |low|, |high| <= 2^21.
inline int round_even(float value, int low, int high) {
  const float clamped =
      std::min(std::max(static_cast<float>(low), value), static_cast<float>(high));
  constexpr float kIntegerUlp = 12582912.0f;  // 1.5 * 2^23: sums beside it have no fraction bits
  return static_cast<int>((clamped + kIntegerUlp) - kIntegerUlp);
}

}  // namespace mlxn::quant
