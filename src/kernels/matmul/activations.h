// SPDX-License-Identifier: Apache-2.0
// Activations for the integer kernels. 32 elements become integers of at most 15.99 bits under one
// f32 scale: x = scale * q, |q| <= kMaxLevel, so the rounding is at most 2^-15.99 of the block's
// largest magnitude.
#pragma once

#include <cstdint>

#include "kernels/matmul/params.h"

namespace mlxn::kernels::matmul {

inline constexpr int kBlock = 32;
// 127 * 256 + 127: the largest number that is also two signed 8-bit digits, for machines whose dot
// products take bytes.
inline constexpr int kMaxLevel = 32639;

struct ActivationBlock {
  int16_t q[kBlock];
  float scale;        // NaN if an element is NaN or infinite (then q is zero)
  float sum;          // of q; exact
  int32_t offset[2];  // code_factor * sum over each half; [0] the total if the format has one scale
                      // per block
};
static_assert(sizeof(ActivationBlock) == 80);

// What staging must know of the format of the weight.
struct ActivationLayout {
  // The 32 integers are stored as 16 pairs, each of which meets one vector of weight codes: pair t
  // of a group of 2 * pair_distance elements is (t, t + pair_distance). Elements that fill no group
  // follow in order.
  int pair_distance;
  int code_factor;  // -8: a weight code c means c - 8; 1: the halves have biases
  bool has_halves;  // scales per 16 elements
};
ActivationLayout activation_layout(const quant::WeightView& weight);

int64_t activation_row_bytes(const MatmulParams& p);
// Stage functions of tile.h, all giving the same bits.
void quantise_avx512(const MatmulParams& p, int64_t begin, int64_t end, std::byte* staged);
void quantise_avx2(const MatmulParams& p, int64_t begin, int64_t end, std::byte* staged);
void quantise_baseline(const MatmulParams& p, int64_t begin, int64_t end, std::byte* staged);

// x as f32 rows that do not all begin at the same place of a page, where they would crowd each
// other out of the first-level cache; 0 bytes for few rows of f32, which are used as they are.
int64_t widened_row_bytes(const MatmulParams& p);
void widen_avx512(const MatmulParams& p, int64_t begin, int64_t end, std::byte* staged);
void widen_avx2(const MatmulParams& p, int64_t begin, int64_t end, std::byte* staged);
void widen_baseline(const MatmulParams& p, int64_t begin, int64_t end, std::byte* staged);

}  // namespace mlxn::kernels::matmul
