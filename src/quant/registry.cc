// SPDX-License-Identifier: Apache-2.0
#include "quant/registry.h"

#include "base/checked.h"
#include "mlxn/error.h"
#include "quant/blocks.h"
#include "quant/dense.h"

namespace mlxn::quant {

namespace {

template <typename Block>
constexpr FormatTraits block_format(Format format, std::string_view name, int gguf_type,
                                    decltype(FormatTraits::decode_row) decode_row,
                                    decltype(FormatTraits::encode_row) encode_row) {
  return {format,         name,      Block::kElements, sizeof(Block),
          alignof(Block), gguf_type, decode_row,       encode_row};
}

// In the order of the enumeration.
constexpr FormatTraits kFormats[] = {
    {Format::kF32, "f32", 1, 4, 4, 0, decode_row_f32, encode_row_f32},
    {Format::kF16, "f16", 1, 2, 2, 1, decode_row_f16, encode_row_f16},
    {Format::kBF16, "bf16", 1, 2, 2, 30, decode_row_bf16, encode_row_bf16},
    {Format::kAffine, "affine", 0, 0, 4, -1, nullptr, nullptr},
    block_format<BlockQ4_0>(Format::kQ4_0, "q4_0", 2, decode_row_q4_0, encode_row_q4_0),
    block_format<BlockQ8_0>(Format::kQ8_0, "q8_0", 8, decode_row_q8_0, encode_row_q8_0),
    block_format<BlockQ4_K>(Format::kQ4_K, "q4_k", 12, decode_row_q4_k, encode_row_q4_k),
    block_format<BlockQ6_K>(Format::kQ6_K, "q6_k", 14, decode_row_q6_k, encode_row_q6_k),
    block_format<BlockQ4_1>(Format::kQ4_1, "q4_1", 3, decode_row_q4_1, encode_row_q4_1),
    block_format<BlockQ5_0>(Format::kQ5_0, "q5_0", 6, decode_row_q5_0, encode_row_q5_0),
    block_format<BlockQ5_1>(Format::kQ5_1, "q5_1", 7, decode_row_q5_1, encode_row_q5_1),
    block_format<BlockQ2_K>(Format::kQ2_K, "q2_k", 10, decode_row_q2_k, encode_row_q2_k),
    block_format<BlockQ3_K>(Format::kQ3_K, "q3_k", 11, decode_row_q3_k, nullptr),
    block_format<BlockQ5_K>(Format::kQ5_K, "q5_k", 13, decode_row_q5_k, encode_row_q5_k),
    block_format<BlockIQ4_NL>(Format::kIQ4_NL, "iq4_nl", 20, decode_row_iq4_nl, nullptr),
    block_format<BlockIQ4_XS>(Format::kIQ4_XS, "iq4_xs", 23, decode_row_iq4_xs, nullptr),
    block_format<BlockMXFP4>(Format::kMXFP4, "mxfp4", 39, decode_row_mxfp4, encode_row_mxfp4),
    {Format::kMlxMxfp4, "mlx_mxfp4", 0, 0, 4, -1, nullptr, nullptr},
    {Format::kMlxMxfp8, "mlx_mxfp8", 0, 0, 4, -1, nullptr, nullptr},
    {Format::kMlxNvfp4, "mlx_nvfp4", 0, 0, 4, -1, nullptr, nullptr},
};

constexpr bool in_enum_order() {
  int index = 0;
  for (const FormatTraits& traits : kFormats) {
    if (static_cast<int>(traits.format) != index++) return false;
  }
  return true;
}
static_assert(in_enum_order());

}  // namespace

std::span<const FormatTraits> formats() { return kFormats; }

const FormatTraits& traits_of(Format format) {
  const auto index = static_cast<size_t>(format);
  if (index >= std::size(kFormats)) {
    throw Error(ErrorKind::kInvalidArgument,
                ErrorDetail{"weight", "format", std::to_string(index), "a value of Format"});
  }
  return kFormats[index];
}

const FormatTraits* find_format(std::string_view name) {
  for (const FormatTraits& traits : kFormats) {
    if (traits.name == name) return &traits;
  }
  return nullptr;
}

const FormatTraits* find_gguf_type(int gguf_type) {
  if (gguf_type < 0) return nullptr;
  for (const FormatTraits& traits : kFormats) {
    if (traits.gguf_type == gguf_type) return &traits;
  }
  return nullptr;
}

bool has_scale_array(Format format) { return traits_of(format).block_elements == 0; }

Format format_of_mode(std::string_view mode) {
  for (const FormatTraits& traits : kFormats) {
    constexpr std::string_view kPrefix = "mlx_";
    std::string_view name = traits.name;
    if (name.starts_with(kPrefix)) name.remove_prefix(kPrefix.size());
    if (traits.block_elements == 0 && name == mode) return traits.format;
  }
  return Format::kF32;
}

int64_t row_bytes(Format format, int bits, int64_t cols) {
  const FormatTraits& traits = traits_of(format);
  // Eighths of a byte per element beside a scale array, bytes per block else.
  const bool array = traits.block_elements == 0;
  const int64_t units = array ? cols : cols / traits.block_elements;
  const auto size = base::checked_mul(units, int64_t{array ? bits : traits.block_bytes});
  if (cols < 0 || !size) {
    throw Error(ErrorKind::kInvalidArgument,
                ErrorDetail{"weight", "row length", std::to_string(cols), "0 <= bytes < 2^63"});
  }
  return array ? *size / 8 : *size;
}

}  // namespace mlxn::quant

namespace mlxn {

std::string_view name(Format format) { return quant::traits_of(format).name; }

}  // namespace mlxn
