// SPDX-License-Identifier: Apache-2.0
#include "convert/plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/checked.h"
#include "checkpoint/fail.h"

namespace mlxn::convert {

using checkpoint::fail;
using checkpoint::in_quotes;

int64_t PlannedTensor::rows() const {
  if (shape.empty()) return 1;
  const auto count = base::checked_product(std::span(shape).first(shape.size() - 1));
  const auto total = count ? base::checked_mul(*count, cols()) : std::nullopt;
  // No format needs more than 16 bytes for an element.
  if (!total || *total > (int64_t{1} << 58)) {
    fail(ErrorKind::kInvalidArgument, "quantize", "tensor " + in_quotes(name), to_string(shape),
         "fewer than 2^58 elements");
  }
  return *count;
}

int64_t PlannedTensor::row_bytes() const {
  return quant::row_bytes(encoding.format, encoding.bits, cols());
}

int64_t PlannedTensor::row_groups() const {
  return encoding.is_mlx() ? cols() / encoding.group_size : 0;
}

uint64_t PlannedTensor::scale_bytes() const {
  return static_cast<uint64_t>(rows() * row_groups()) * size_of(encoding.scale_dtype);
}

std::string_view mode_name(Format format) {
  for (const char* mode : {"mxfp4", "mxfp8", "nvfp4"}) {
    if (quant::format_of_mode(mode) == format) return mode;
  }
  return "affine";
}

std::string describe(const Encoding& encoding) {
  if (!encoding.is_mlx()) return std::string(name(encoding.format));
  return fmt::format("{} {}-bit, group {}", mode_name(encoding.format), encoding.bits,
                     encoding.group_size);
}

bool is_float(Format format) {
  return format == Format::kF32 || format == Format::kF16 || format == Format::kBF16;
}

const quant::FormatTraits* stored_format(const checkpoint::StoredTensor& tensor) {
  std::string name = tensor.type_name;
  std::transform(name.begin(), name.end(), name.begin(), [](char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  });
  const quant::FormatTraits* traits = quant::find_format(name);
  return traits != nullptr && traits->decode_row != nullptr ? traits : nullptr;
}

void check_source(const PlannedTensor& tensor) {
  if (tensor.source.stored == nullptr) return;
  const checkpoint::StoredTensor& stored = *tensor.source.stored;
  const auto reject = [&](std::string found, std::string required) {
    fail(ErrorKind::kUnsupportedDtype, stored.file->path(),
         "tensor " + in_quotes(tensor.source.name), std::move(found), std::move(required));
  };
  const quant::FormatTraits* traits = stored_format(stored);
  const bool is_copy = traits != nullptr && traits->format == tensor.encoding.format;
  if (traits == nullptr || !(is_float(traits->format) || is_copy)) {
    reject(stored.type_name + ", quantised already", "F32, F16 or BF16");
  }
  // A safetensors file may use the name of a block format, whose size its reader does not know.
  const int64_t cols = stored.shape.empty() ? 1 : stored.shape.back();
  const auto count = base::checked_product(stored.shape);
  const auto bytes =
      count ? base::checked_mul(*count / traits->block_elements, int64_t{traits->block_bytes})
            : std::nullopt;
  if (cols % traits->block_elements != 0 || !bytes ||
      static_cast<uint64_t>(*bytes) != stored.bytes.size()) {
    reject(fmt::format("{} bytes of {}", stored.bytes.size(), stored.type_name),
           fmt::format("whole blocks for {}", to_string(stored.shape)));
  }
}

}  // namespace mlxn::convert
