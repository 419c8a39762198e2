// SPDX-License-Identifier: Apache-2.0
// What a kernel sees of a weight: raw pointers, byte strides and the block format. A view owns
// nothing and is valid while the buffers of the weight it was made from live.
#pragma once

#include <cstddef>
#include <cstdint>

#include "mlxn/weight.h"

namespace mlxn::quant {

// [num_experts, rows, cols], quantised along cols. Row r of expert e starts at
//   data   + e * expert_bytes       + r * row_bytes
//   scales + e * expert_scale_bytes + r * row_scale_bytes   (affine only; biases likewise)
struct WeightView {
  Format format = Format::kF32;
  DType scale_dtype = DType::kF32;    // affine: of scales and biases
  int bits = 0;                       // per code beside a scale array
  int group_size = 0;                 // elements per scale of the array
  int64_t rows = 0;                   // N
  int64_t cols = 0;                   // K
  int64_t num_experts = 1;            // E
  const std::byte* data = nullptr;    // dense rows, affine codes or blocks
  const std::byte* scales = nullptr;  // affine: cols / group_size per row
  const std::byte* biases = nullptr;  // affine: null means zero
  const std::byte* packed = nullptr;  // what prepare() made, or null
  size_t packed_bytes = 0;
  int64_t row_bytes = 0;
  int64_t row_scale_bytes = 0;
  int64_t expert_bytes = 0;        // rows * row_bytes
  int64_t expert_scale_bytes = 0;  // rows * row_scale_bytes

  const std::byte* row_data(int64_t expert, int64_t row) const {
    return data + expert * expert_bytes + row * row_bytes;
  }
  const std::byte* row_scales(int64_t expert, int64_t row) const {
    return scales + expert * expert_scale_bytes + row * row_scale_bytes;
  }
  const std::byte* row_biases(int64_t expert, int64_t row) const {
    return biases == nullptr ? nullptr
                             : biases + expert * expert_scale_bytes + row * row_scale_bytes;
  }
};

// The weight must satisfy check_weight().
WeightView view_of(const Weight& weight);

// Element (expert, row, k) for every k, evaluated in f32. `row` counts over experts too: expert e's
// row r is e * rows + r. out: [cols].
void decode_row(const WeightView& view, int64_t row, float* out);
void decode_weight_row(const Weight& weight, int64_t row, float* out);

}  // namespace mlxn::quant
