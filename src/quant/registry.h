// SPDX-License-Identifier: Apache-2.0
// The one list of storage formats. A new format is a file beside this one, a value of Format and a
// line in the table of registry.cc.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "mlxn/weight.h"

namespace mlxn::quant {

struct FormatTraits {
  Format format;
  std::string_view name;
  int block_elements;  // 1: dense; 0: scales are an array beside the codes
  int block_bytes;     // 0: likewise
  int alignment;       // of the first byte of a weight
  int gguf_type;       // tensor type id in GGUF files; -1: not a GGUF type
  // `row` holds k / block_elements blocks. Null: scales are an array. encode_row is null too where
  // we only read: q3_k, iq4_nl, iq4_xs.
  void (*decode_row)(const std::byte* row, int64_t k, float* out);
  void (*encode_row)(const float* in, int64_t k, std::byte* row);
};

std::span<const FormatTraits> formats();

const FormatTraits& traits_of(Format format);
const FormatTraits* find_format(std::string_view name);  // null if there is none
const FormatTraits* find_gguf_type(int gguf_type);       // null if we do not decode it

// Codes and scales are separate arrays: affine and the MLX fp modes.
bool has_scale_array(Format format);
// MLX's name of a mode with a scale array ("affine", "mxfp4", "mxfp8", "nvfp4"); kF32 for others.
Format format_of_mode(std::string_view mode);

// Bytes of the codes or blocks of one row of `cols` elements, a whole number of blocks or groups.
// `bits` is read for formats with a scale array only. Throws kInvalidArgument if the size does not
// fit 63 bits.
int64_t row_bytes(Format format, int bits, int64_t cols);

}  // namespace mlxn::quant
