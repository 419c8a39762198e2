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

// The order of the 32 integers: the i-th pair of a block meets the i-th vector of weight codes.
enum class PairOrder : uint8_t {
  kBytes,    // each 4 elements as (0, 2), (1, 3): what 16-bit masks make of bytes
  kNibbles,  // each 8 elements as (0, 4), (1, 5), (2, 6), (3, 7): the same of nibbles
};

struct ActivationBlock {
  int16_t q[kBlock];
  float scale;        // NaN if an element is NaN or infinite (then q is zero)
  float sum;          // of q; exact
  int32_t offset[2];  // -(code offset of the format) * sum over each half; [0] the total if the
                      // format has one scale per block
};
static_assert(sizeof(ActivationBlock) == 80);

struct ActivationLayout {
  PairOrder order;
  int code_offset;    // 8: a weight code c means c - 8
  bool split_halves;  // the format has a scale per 16 elements
};
ActivationLayout activation_layout(const quant::WeightView& weight);

int64_t activation_row_bytes(const MatmulParams& p);
// Stage functions of tile.h, all giving the same bits.
void quantise_avx512(const MatmulParams& p, int64_t begin, int64_t end, std::byte* staged);
void quantise_avx2(const MatmulParams& p, int64_t begin, int64_t end, std::byte* staged);
void quantise_baseline(const MatmulParams& p, int64_t begin, int64_t end, std::byte* staged);

// x as f32 rows; 0 bytes if it is f32 already.
int64_t widened_row_bytes(const MatmulParams& p);
void widen_avx512(const MatmulParams& p, int64_t begin, int64_t end, std::byte* staged);
void widen_avx2(const MatmulParams& p, int64_t begin, int64_t end, std::byte* staged);
void widen_baseline(const MatmulParams& p, int64_t begin, int64_t end, std::byte* staged);

}  // namespace mlxn::kernels::matmul
