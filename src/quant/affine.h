// SPDX-License-Identifier: Apache-2.0
// MLX affine: unsigned codes of 2, 3, 4, 5, 6 or 8 bits with a scale and a bias per group of
// inputs. w = scale * code + bias. Codes, scales and biases are three separate arrays.
//
// The codes of a row are one little-endian bit stream, least significant bit first: code i occupies
// bits [i * bits, (i + 1) * bits), and bit n is bit n % 8 of byte n / 8. With 4 bits code 2j is the
// low nibble of byte j; with 8 bits code j is byte j; 3, 5 and 6 bits straddle bytes and words. A
// group of 32 or more codes is a whole number of bytes.
#pragma once

#include <cstddef>
#include <cstdint>

#include "mlxn/dtype.h"

namespace mlxn::quant {

constexpr bool is_affine_bits(int bits) {
  return bits == 2 || bits == 3 || bits == 4 || bits == 5 || bits == 6 || bits == 8;
}
constexpr bool is_affine_group_size(int group_size) {
  return group_size == 32 || group_size == 64 || group_size == 128;
}

// k codes, a multiple of 32.
void unpack_codes(const std::byte* packed, int64_t k, int bits, uint8_t* codes);
void pack_codes(const uint8_t* codes, int64_t k, int bits, std::byte* packed);

// Element `index` of a f32, f16 or bf16 array, widened.
float load_scale(const std::byte* values, DType dtype, int64_t index);

// One row. `scales` and `biases` hold k / group_size elements of `scale_dtype`; a null `biases`
// means zero. Two f32 roundings per element, product then sum, as MLX's CPU backend does.
struct AffineRow {
  const std::byte* codes;
  const std::byte* scales;
  const std::byte* biases;
  DType scale_dtype;
  int bits;
  int group_size;
};
void decode_row_affine(const AffineRow& row, int64_t k, float* out);

// The two recipes found in the wild; published checkpoints were made by the Metal one.
enum class AffineRecipe : uint8_t {
  kMetal,  // rounds halves away from zero; an all-negative group is fitted over [min, 0]
  kCpu,    // rounds halves to even; the true minimum and maximum
};

// Writes k * bits / 8 bytes of codes and k / group_size scales and biases. Codes follow from the
// scale and bias before they are rounded to `scale_dtype`.
struct AffineRowOut {
  std::byte* codes;
  std::byte* scales;
  std::byte* biases;
  DType scale_dtype;
  int bits;
  int group_size;
};
void encode_row_affine(const float* in, int64_t k, AffineRecipe recipe, const AffineRowOut& row);

}  // namespace mlxn::quant
