// SPDX-License-Identifier: Apache-2.0
// Weights of every format for tests: random values, encoded, in views that start inside their
// allocation.
#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include "kernels/common/test_kit.h"
#include "mlxn/weight.h"
#include "quant/affine.h"
#include "quant/mlx_fp.h"
#include "quant/random_blocks.h"
#include "quant/registry.h"
#include "quant/weight_view.h"

namespace mlxn::testing {

struct WeightKind {
  Format format;
  int bits = 0;
  int group_size = 0;
  DType scale_dtype = DType::kF32;
  bool with_biases = true;

  // Row lengths are multiples of this.
  int64_t unit() const {
    return has_scale_array() ? std::max(group_size, 32) : quant::traits_of(format).block_elements;
  }
  bool has_scale_array() const { return quant::has_scale_array(format); }
  std::string text() const {
    std::string text(name(format));
    if (format != Format::kAffine) return text;
    return text + " " + std::to_string(bits) + " bits, group " + std::to_string(group_size) + ", " +
           std::string(name(scale_dtype)) + (with_biases ? "" : ", no biases");
  }
};

// Every format; every affine width, group size and scale dtype.
inline std::vector<WeightKind> weight_kinds() {
  std::vector<WeightKind> kinds;
  for (const quant::FormatTraits& traits : quant::formats()) {
    if (quant::is_mlx_fp(traits.format)) {
      const quant::FpMode mode = quant::fp_mode(traits.format);
      kinds.push_back({traits.format, mode.bits, mode.group_size, u8, false});
    } else if (traits.format != Format::kAffine) {
      kinds.push_back({traits.format});
    }
  }
  for (const int bits : {2, 3, 4, 5, 6, 8}) {
    for (const int group_size : {32, 64, 128}) {
      for (const DType dtype : {f32, f16, bf16}) {
        kinds.push_back({Format::kAffine, bits, group_size, dtype, true});
      }
    }
    kinds.push_back({Format::kAffine, bits, 64, bf16, false});
  }
  return kinds;
}

// Every format; affine in groups of 64 under bf16 scales.
inline std::vector<WeightKind> bench_kinds() {
  std::vector<WeightKind> kinds;
  for (const WeightKind& kind : weight_kinds()) {
    const bool usual = kind.group_size == 64 && kind.scale_dtype == bf16 && kind.with_biases;
    if (kind.format != Format::kAffine || usual) kinds.push_back(kind);
  }
  return kinds;
}

inline Buffer offset_buffer(const Device& device, DType dtype, const Shape& shape,
                            size_t offset = 12) {
  const int64_t bytes = count_of(shape) * static_cast<int64_t>(size_of(dtype));
  return device.alloc(DType::kU8, {bytes + static_cast<int64_t>(offset)})
      .slice(offset, bytes)
      .view_as(dtype, shape);
}

inline Weight empty_weight(const Device& device, const WeightKind& kind, const Shape& shape) {
  Weight weight;
  weight.format = kind.format;
  weight.shape = shape;
  Shape rows = shape;
  const int64_t row_bytes = quant::row_bytes(kind.format, kind.bits, shape.back());
  if (!kind.has_scale_array()) {
    const DType dtype = kind.format == Format::kF32    ? f32
                        : kind.format == Format::kF16  ? f16
                        : kind.format == Format::kBF16 ? bf16
                                                       : u8;
    rows.back() = row_bytes / static_cast<int64_t>(size_of(dtype));
    weight.data = offset_buffer(device, dtype, rows);
    return weight;
  }
  weight.bits = kind.bits;
  weight.group_size = kind.group_size;
  rows.back() = row_bytes / 4;
  weight.data = offset_buffer(device, u32, rows);
  rows.back() = shape.back() / kind.group_size;
  weight.scales = offset_buffer(device, kind.scale_dtype, rows);
  if (kind.format == Format::kAffine) {
    weight.biases = offset_buffer(device, kind.scale_dtype, rows, 20);
  }
  return weight;
}

inline Weight random_weight(const Device& device, const WeightKind& kind, const Shape& shape,
                            Random& random) {
  Weight weight = empty_weight(device, kind, shape);
  const int64_t cols = shape.back();
  const int64_t rows = count_of(shape) / cols;
  const int64_t row_bytes = quant::row_bytes(kind.format, kind.bits, cols);
  for (int64_t row = 0; row < rows; ++row) {
    const auto values = random.normals(cols);
    std::byte* data = weight.data.data() + row * row_bytes;
    if (!kind.has_scale_array()) {
      const quant::FormatTraits& traits = quant::traits_of(kind.format);
      if (traits.encode_row != nullptr) {
        traits.encode_row(values.data(), cols, data);
      } else {
        quant::random_blocks(traits, cols, static_cast<uint32_t>(random.integer(0, 1 << 30)), data);
      }
      continue;
    }
    const int64_t scale_bytes =
        cols / kind.group_size * static_cast<int64_t>(size_of(kind.scale_dtype));
    if (kind.format != Format::kAffine) {
      quant::encode_row_mlx_fp(kind.format, values.data(), cols, data,
                               weight.scales.data() + row * scale_bytes);
      continue;
    }
    quant::encode_row_affine(
        values.data(), cols, quant::AffineRecipe::kMetal,
        {data, weight.scales.data() + row * scale_bytes, weight.biases.data() + row * scale_bytes,
         kind.scale_dtype, kind.bits, kind.group_size});
  }
  if (!kind.with_biases) weight.biases = Buffer();
  return weight;
}

// Codes, scales and biases of any bits: NaN, infinities and subnormals among them.
inline Weight random_bytes_weight(const Device& device, const WeightKind& kind, const Shape& shape,
                                  Random& random) {
  Weight weight = empty_weight(device, kind, shape);
  for (const Buffer* buffer : {&weight.data, &weight.scales, &weight.biases}) {
    for (size_t i = 0; i < buffer->byte_len(); ++i) {
      buffer->data()[i] = static_cast<std::byte>(random.integer(0, 255));
    }
  }
  if (!kind.with_biases) weight.biases = Buffer();
  return weight;
}

// Equal bits, or both NaN.
inline void expect_same_floats(const std::vector<float>& found, const std::vector<float>& expected,
                               const std::string& what) {
  ASSERT_EQ(found.size(), expected.size()) << what;
  for (size_t i = 0; i < found.size(); ++i) {
    const bool both_nan = std::isnan(found[i]) && std::isnan(expected[i]);
    ASSERT_TRUE(both_nan || std::memcmp(&found[i], &expected[i], 4) == 0)
        << what << " at " << i << ": found " << found[i] << ", expected " << expected[i];
  }
}

// What a store to `dtype` makes of f32 values, widened again.
inline std::vector<float> rounded_to(DType dtype, std::vector<float> values) {
  for (float& value : values) {
    if (dtype == DType::kF16) value = to_float(to_f16(value));
    if (dtype == DType::kBF16) value = to_float(to_bf16(value));
  }
  return values;
}

}  // namespace mlxn::testing
