// SPDX-License-Identifier: Apache-2.0
// MLX's fp modes: codes of E2M1 (two a byte, element 2j in the low nibble) or E4M3 (one a byte)
// with a u8 scale per group of inputs, in an array of its own. w = scale * value(code).
//   mlx_mxfp4: E2M1, E8M0 scale per 32
//   mlx_mxfp8: E4M3, E8M0 scale per 32
//   mlx_nvfp4: E2M1, E4M3 scale per 16
// E8M0 255 makes NaN of its group; MLX decodes it to infinity.
#pragma once

#include <cstddef>
#include <cstdint>

#include "mlxn/weight.h"

namespace mlxn::quant {

struct FpMode {
  int bits;
  int group_size;
};
constexpr bool is_mlx_fp(Format format) {
  return format == Format::kMlxMxfp4 || format == Format::kMlxMxfp8 || format == Format::kMlxNvfp4;
}
constexpr FpMode fp_mode(Format format) {
  return {format == Format::kMlxMxfp8 ? 8 : 4, format == Format::kMlxNvfp4 ? 16 : 32};
}

// k elements, a multiple of 32. codes: k * bits / 8 bytes; scales: k / group_size.
void decode_row_mlx_fp(Format format, const std::byte* codes, const std::byte* scales, int64_t k,
                       float* out);
// The scale is the largest magnitude over 6 or 448, mx modes: rounded up to a power of two, not
// below 2^-127, 1 for zeroes; codes are the nearest values, ties of E2M1 to the lower code, of E4M3
// to even. As MLX's CPU backend does where the power of two is in range.
void encode_row_mlx_fp(Format format, const float* in, int64_t k, std::byte* codes,
                       std::byte* scales);

}  // namespace mlxn::quant
