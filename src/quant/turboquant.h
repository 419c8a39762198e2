// SPDX-License-Identifier: Apache-2.0
// TurboQuant's formats as kernels want them. Layout of a cache: codes [batch, kv heads, capacity,
// row_bytes], norms [batch, kv heads, capacity, norm_count]; eight codes make code_bits bytes.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "mlxn/ops/turboquant.h"

namespace mlxn::quant {

inline constexpr int kTqMaxDim = 512;
inline constexpr int kTqSignWords = kTqMaxDim / 32;

// The levels of 4 bits are integers times this.
inline constexpr float kTqStep4 = 49.0f / 4096.0f;

// Norms up to this count as 0.
inline constexpr float kTqZeroNorm = 1e-10f;

struct TqTable {
  int32_t bits;
  int32_t code_bits;    // from one code to the next: bits, or 8
  float scale_factor;   // not 0
  bool sign_magnitude;  // the order of codes; else they ascend
  bool has_half;        // level = half * half_unit, exactly
  float half_unit;
  bool half_mirrors;               // half[2^bits - 1 - i] = -half[i] < 0 for i from 2^(bits - 1) on
  std::array<float, 256> levels;   // by code; beyond 2^bits they repeat
  std::array<uint16_t, 256> half;  // f16, if has_half
  std::array<float, 256> bounds;   // [2^bits - 1] between ascending levels, then infinity
  std::array<uint32_t, kTqSignWords> signs;  // bit j: s_j = -1

  // The code of ascending index i.
  uint32_t code_of(uint32_t i) const {
    const uint32_t middle = 1u << (bits - 1);
    if (!sign_magnitude) return i;
    return i >= middle ? i - middle : 2 * middle - 1 - i;
  }
};

// A usable format; its codebook and signs have been checked.
TqTable make_tq_table(const ops::TqFormat& format);
// Bit j of the table's bytes as words; missing bytes are 0.
std::array<uint32_t, kTqSignWords> tq_sign_words(const std::vector<uint8_t>& signs);

// What a level is multiplied by to give an element, for a row with this norm.
inline float tq_norm_factor(float norm, int64_t dim, float scale_factor) {
  return dim == kTqMaxDim ? norm / scale_factor : norm / __builtin_sqrtf(static_cast<float>(dim));
}

}  // namespace mlxn::quant
