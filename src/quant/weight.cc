// SPDX-License-Identifier: Apache-2.0
// The checks of a weight and the views that kernels take of it.
#include "mlxn/weight.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/checked.h"
#include "mlxn/error.h"
#include "quant/affine.h"
#include "quant/mlx_fp.h"
#include "quant/panels.h"
#include "quant/registry.h"
#include "quant/weight_view.h"

namespace mlxn {

namespace {

DType data_dtype(Format format) {
  switch (format) {
    case Format::kF32:
      return DType::kF32;
    case Format::kF16:
      return DType::kF16;
    case Format::kBF16:
      return DType::kBF16;
    default:
      return quant::has_scale_array(format) ? DType::kU32 : DType::kU8;
  }
}

// Reports everything about one weight under the caller's name for it.
class WeightCheck {
 public:
  WeightCheck(const Weight& weight, std::string_view what)
      : weight_(weight), traits_(quant::traits_of(weight.format)), what_(what) {}

  void run() const {
    check_shape();
    if (quant::has_scale_array(weight_.format)) check_groups();
    check_row_length();
    const int64_t row_bytes = quant::row_bytes(weight_.format, weight_.bits, weight_.cols());
    check_buffer("data", weight_.data, data_dtype(weight_.format), total(row_bytes),
                 traits_.alignment);
    if (quant::has_scale_array(weight_.format)) check_scales();
    if (weight_.packed.valid()) check_packed();
  }

 private:
  void check_scales() const {
    const DType dtype = weight_.scales.dtype();
    const auto scale_size = static_cast<int64_t>(size_of(dtype));
    const int64_t scale_bytes = total(weight_.cols() / weight_.group_size * scale_size);
    const bool affine = weight_.format == Format::kAffine;
    if (affine ? !is_float(dtype) : dtype != DType::kU8) {
      fail("scales", std::string(name(dtype)), affine ? "f32, f16 or bf16" : "u8");
    }
    check_buffer("scales", weight_.scales, dtype, scale_bytes, static_cast<int>(scale_size));
    if (!affine && weight_.biases.valid()) {
      fail("biases", "a buffer", fmt::format("none for {}", traits_.name));
    }
    if (weight_.biases.valid()) {
      check_buffer("biases", weight_.biases, dtype, scale_bytes, static_cast<int>(scale_size));
    }
  }

  void check_packed() const {
    if (!quant::has_panels(weight_.format)) {
      fail("packed", "a buffer", fmt::format("none for {}", traits_.name));
    }
    if (weight_.packed.dtype() != DType::kU8) {
      fail("packed", std::string(name(weight_.packed.dtype())), "u8");
    }
    const int64_t bytes = quant::panel_layout(quant::view_of(weight_)).total_bytes;
    if (weight_.packed.byte_len() != static_cast<size_t>(bytes)) {
      fail("packed", fmt::format("{} bytes", weight_.packed.byte_len()),
           fmt::format("{}, as prepare() makes", bytes));
    }
    check_address("packed", weight_.packed, quant::PanelLayout::kAlignment);
  }

  [[noreturn]] void fail(std::string_view parameter, std::string found,
                         std::string required) const {
    throw Error(ErrorKind::kInvalidArgument, ErrorDetail{std::string(what_), std::string(parameter),
                                                         std::move(found), std::move(required)});
  }

  void check_shape() const {
    if (weight_.shape.size() != 2 && weight_.shape.size() != 3) {
      fail("shape", to_string(weight_.shape), "[N, K] or [E, N, K]");
    }
    for (const int64_t extent : weight_.shape) {
      if (extent <= 0) fail("shape", to_string(weight_.shape), "positive extents");
    }
  }

  void check_groups() const {
    if (quant::is_mlx_fp(weight_.format)) {
      const quant::FpMode mode = quant::fp_mode(weight_.format);
      if (weight_.bits != mode.bits) {
        fail("bits", std::to_string(weight_.bits), std::to_string(mode.bits));
      }
      if (weight_.group_size != mode.group_size) {
        fail("group_size", std::to_string(weight_.group_size), std::to_string(mode.group_size));
      }
      return;
    }
    if (!quant::is_affine_bits(weight_.bits)) {
      fail("bits", std::to_string(weight_.bits), "2, 3, 4, 5, 6 or 8");
    }
    if (!quant::is_affine_group_size(weight_.group_size)) {
      fail("group_size", std::to_string(weight_.group_size), "32, 64 or 128");
    }
  }

  void check_row_length() const {
    // A whole number of words of codes: 32 elements at least.
    const bool array = quant::has_scale_array(weight_.format);
    const int64_t unit = array ? std::max(weight_.group_size, 32) : traits_.block_elements;
    if (weight_.cols() % unit != 0) {
      fail("row length", std::to_string(weight_.cols()),
           fmt::format("a multiple of {} ({})", unit, traits_.name));
    }
  }

  int64_t total(int64_t bytes_per_row) const {
    const int64_t extents[] = {weight_.num_experts(), weight_.rows(), bytes_per_row};
    const auto bytes = base::checked_product(extents);
    if (!bytes) fail("shape", to_string(weight_.shape), "fewer than 2^63 bytes");
    return *bytes;
  }

  void check_buffer(std::string_view part, const Buffer& buffer, DType dtype, int64_t bytes,
                    int alignment) const {
    if (!buffer.valid()) fail(part, "no buffer", fmt::format("{} bytes", bytes));
    if (buffer.dtype() != dtype) {
      fail(part, std::string(name(buffer.dtype())), std::string(name(dtype)));
    }
    if (buffer.byte_len() < static_cast<size_t>(bytes)) {
      fail(part, fmt::format("{} bytes", buffer.byte_len()),
           fmt::format("at least {} for {} {}", bytes, traits_.name, to_string(weight_.shape)));
    }
    check_address(part, buffer, alignment);
  }

  void check_address(std::string_view part, const Buffer& buffer, int alignment) const {
    const auto address =
        reinterpret_cast<uintptr_t>(buffer.allocation()->data) + buffer.byte_offset();
    if (address % static_cast<uintptr_t>(alignment) != 0) {
      fail(part, fmt::format("byte offset {}", buffer.byte_offset()),
           fmt::format("an address aligned to {} bytes", alignment));
    }
  }

  const Weight& weight_;
  const quant::FormatTraits& traits_;
  std::string_view what_;
};

}  // namespace

void check_weight(const Weight& weight, std::string_view what) { WeightCheck(weight, what).run(); }

size_t stored_bytes(const Weight& weight) {
  return weight.data.byte_len() + weight.scales.byte_len() + weight.biases.byte_len();
}

namespace quant {

WeightView view_of(const Weight& weight) {
  WeightView view;
  view.format = weight.format;
  view.rows = weight.rows();
  view.cols = weight.cols();
  view.num_experts = weight.num_experts();
  view.data = weight.data.data();
  view.row_bytes = row_bytes(weight.format, weight.bits, view.cols);
  view.expert_bytes = view.rows * view.row_bytes;
  if (has_scale_array(weight.format)) {
    view.bits = weight.bits;
    view.group_size = weight.group_size;
    view.scale_dtype = weight.scales.dtype();
    view.scales = weight.scales.data();
    view.biases = weight.biases.valid() ? weight.biases.data() : nullptr;
    view.row_scale_bytes =
        view.cols / weight.group_size * static_cast<int64_t>(size_of(view.scale_dtype));
    view.expert_scale_bytes = view.rows * view.row_scale_bytes;
  }
  if (weight.packed.valid()) {
    view.packed = weight.packed.data();
    view.packed_bytes = weight.packed.byte_len();
  }
  return view;
}

void decode_row(const WeightView& view, int64_t row, float* out) {
  const int64_t expert = row / view.rows;
  const int64_t inner = row % view.rows;
  if (is_mlx_fp(view.format)) {
    return decode_row_mlx_fp(view.format, view.row_data(expert, inner),
                             view.row_scales(expert, inner), view.cols, out);
  }
  if (view.format != Format::kAffine) {
    traits_of(view.format).decode_row(view.row_data(expert, inner), view.cols, out);
    return;
  }
  decode_row_affine({.codes = view.row_data(expert, inner),
                     .scales = view.row_scales(expert, inner),
                     .biases = view.row_biases(expert, inner),
                     .scale_dtype = view.scale_dtype,
                     .bits = view.bits,
                     .group_size = view.group_size},
                    view.cols, out);
}

void decode_weight_row(const Weight& weight, int64_t row, float* out) {
  decode_row(view_of(weight), row, out);
}

}  // namespace quant

}  // namespace mlxn
