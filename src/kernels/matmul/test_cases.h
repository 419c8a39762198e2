// SPDX-License-Identifier: Apache-2.0
// Random weights of every format, for tests and benchmarks.
#pragma once

#include <algorithm>
#include <bit>
#include <string>
#include <vector>

#include "kernels/common/test_kit.h"
#include "mlxn/weight.h"
#include "quant/affine.h"
#include "quant/mlx_fp.h"
#include "quant/random_blocks.h"
#include "quant/registry.h"

namespace mlxn::testing {

struct WeightKind {
  Format format;
  int bits = 0;
  int group_size = 0;
  DType scale_dtype = f32;
  bool biases = true;

  bool has_scale_array() const { return quant::has_scale_array(format); }
  // What a row is a multiple of.
  int64_t block() const {
    return has_scale_array() ? std::max(group_size, 32) : quant::traits_of(format).block_elements;
  }
  std::string name() const {
    std::string text(mlxn::name(format));
    if (format != Format::kAffine) return text;
    return text + "_" + std::to_string(bits) + "_g" + std::to_string(group_size) + "_" +
           std::string(mlxn::name(scale_dtype)) + (biases ? "" : "_no_bias");
  }
};

// Every format of codes and scales; affine in a choice of widths, groups and scale types.
inline const std::vector<WeightKind>& coded_kinds() {
  static const std::vector<WeightKind> kinds = [] {
    std::vector<WeightKind> all = {
        {Format::kAffine, 4, 64, bf16},       {Format::kAffine, 4, 32, f16},
        {Format::kAffine, 4, 128, f32},       {Format::kAffine, 8, 64, f16},
        {Format::kAffine, 8, 32, f32, false}, {Format::kAffine, 8, 128, bf16},
        {Format::kAffine, 2, 32, f16},        {Format::kAffine, 3, 64, bf16},
        {Format::kAffine, 5, 64, f32},        {Format::kAffine, 6, 128, f16},
    };
    for (const quant::FormatTraits& traits : quant::formats()) {
      if (quant::is_mlx_fp(traits.format)) {
        const quant::FpMode mode = quant::fp_mode(traits.format);
        all.push_back({traits.format, mode.bits, mode.group_size, u8, false});
      } else if (traits.block_elements > 1) {
        all.push_back({traits.format});
      }
    }
    return all;
  }();
  return kinds;
}

// A weight of this kind out of f32 rows; each buffer holds exactly its bytes.
inline Weight encode_weight(const Device& device, const WeightKind& kind, const Shape& shape,
                            std::span<const float> values) {
  Weight w{.format = kind.format, .shape = shape};
  const int64_t k = w.cols(), rows = w.num_experts() * w.rows();
  const int64_t row_bytes = quant::row_bytes(kind.format, kind.bits, k);
  Shape lead(shape.begin(), shape.end() - 1);
  const auto with = [&](int64_t last) {
    Shape full = lead;
    full.push_back(last);
    return full;
  };
  if (!kind.has_scale_array()) {
    const bool dense = kind.block() == 1;
    const DType dtype = kind.format == Format::kF32    ? f32
                        : kind.format == Format::kF16  ? f16
                        : kind.format == Format::kBF16 ? bf16
                                                       : u8;
    w.data = device.alloc(dtype, dense ? shape : with(row_bytes));
    for (int64_t r = 0; r < rows; ++r) {
      const auto encode = quant::traits_of(kind.format).encode_row;
      std::byte* row = w.data.data() + r * row_bytes;
      if (encode != nullptr) {
        encode(values.data() + r * k, k, row);
      } else {
        quant::random_blocks(quant::traits_of(kind.format), k,
                             std::bit_cast<uint32_t>(values[r * k]), row);
      }
    }
    return w;
  }
  w.bits = kind.bits;
  w.group_size = kind.group_size;
  w.data = device.alloc(u32, with(row_bytes / 4));
  w.scales = device.alloc(kind.scale_dtype, with(k / kind.group_size));
  if (kind.format != Format::kAffine) {
    for (int64_t r = 0; r < rows; ++r) {
      quant::encode_row_mlx_fp(kind.format, values.data() + r * k, k, w.data.data() + r * row_bytes,
                               w.scales.data() + r * (k / kind.group_size));
    }
    return w;
  }
  const Buffer biases = device.alloc(kind.scale_dtype, with(k / kind.group_size));
  const int64_t scale_bytes = k / kind.group_size * static_cast<int64_t>(size_of(kind.scale_dtype));
  for (int64_t r = 0; r < rows; ++r) {
    quant::encode_row_affine(values.data() + r * k, k, quant::AffineRecipe::kMetal,
                             {.codes = w.data.data() + r * row_bytes,
                              .scales = w.scales.data() + r * scale_bytes,
                              .biases = biases.data() + r * scale_bytes,
                              .scale_dtype = kind.scale_dtype,
                              .bits = kind.bits,
                              .group_size = kind.group_size});
  }
  if (kind.biases) w.biases = biases;
  return w;
}

inline Weight random_weight(const Device& device, const WeightKind& kind, const Shape& shape,
                            Random& random) {
  return encode_weight(device, kind, shape, random.normals(count_of(shape)));
}

}  // namespace mlxn::testing
