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
  int block_elements;  // 1: dense; 0: affine, whose codes, scales and biases are separate arrays
  int block_bytes;     // 0: affine
  int alignment;       // of the first byte of a weight
  int gguf_type;       // tensor type id in GGUF files; -1: not a GGUF type
  // `row` holds k / block_elements blocks; null: affine.
  void (*decode_row)(const std::byte* row, int64_t k, float* out);
  void (*encode_row)(const float* in, int64_t k, std::byte* row);
};

std::span<const FormatTraits> formats();

const FormatTraits& traits_of(Format format);
const FormatTraits* find_format(std::string_view name);  // null if there is none
const FormatTraits* find_gguf_type(int gguf_type);       // null if we do not decode it

// Bytes of the codes or blocks of one row of `cols` elements, a whole number of blocks or groups.
// `bits` is read for affine only. Throws kInvalidArgument if the size does not fit 63 bits.
int64_t row_bytes(Format format, int bits, int64_t cols);

}  // namespace mlxn::quant
