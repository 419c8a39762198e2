// SPDX-License-Identifier: Apache-2.0
// What will be written, tensor by tensor, before a byte is.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "checkpoint/tensor_table.h"
#include "mlxn/quantize.h"
#include "mlxn/weight.h"
#include "quant/affine.h"
#include "quant/registry.h"

namespace mlxn::convert {

// How the rows of an output tensor are stored.
struct Encoding {
  Format format = Format::kF32;
  int bits = 0;                     // affine and fp modes
  int group_size = 0;               // affine and fp modes
  DType scale_dtype = DType::kF32;  // affine; fp modes: u8
  quant::AffineRecipe recipe = {};  // affine

  bool is_affine() const { return format == Format::kAffine; }
  // Codes and scales are arrays of their own, as MLX has them.
  bool is_mlx() const { return quant::has_scale_array(format); }
};

// Where the rows come from: a stored tensor or a few values. Output row r is stored row
// (r / rows_taken) * rows_stored + first_row + r % rows_taken, so that half of a stack of fused
// matrices is a source too.
struct RowSource {
  const checkpoint::StoredTensor* stored = nullptr;
  std::string name;           // in the source, for errors
  std::vector<float> values;  // without `stored`
  float offset = 0.0f;        // added to every value
  int64_t rows_taken = 1;
  int64_t rows_stored = 1;
  int64_t first_row = 0;

  int64_t stored_row(int64_t row) const {
    return row / rows_taken * rows_stored + first_row + row % rows_taken;
  }
};

struct PlannedTensor {
  std::string name;  // as stored; codes with scales: the module path
  Shape shape;       // outermost first; rank 0 is one value
  Encoding encoding;
  RowSource source;
  // Where its arrays start: file of the output, byte offsets in it.
  size_t file = 0;
  uint64_t data_at = 0;
  uint64_t scales_at = 0;
  uint64_t biases_at = 0;

  int64_t cols() const { return shape.empty() ? 1 : shape.back(); }
  int64_t rows() const;        // product of all extents but the last
  int64_t row_bytes() const;   // of codes, blocks or values
  int64_t row_groups() const;  // codes with scales: scales of a row
  uint64_t data_bytes() const { return static_cast<uint64_t>(rows() * row_bytes()); }
  uint64_t scale_bytes() const;  // of the scales; the biases of affine have as many
  uint64_t total_bytes() const {
    return data_bytes() + (encoding.is_affine() ? 2 : 1) * scale_bytes();
  }
};

// MLX's name of the mode: "affine", "mxfp4", "mxfp8", "nvfp4".
std::string_view mode_name(Format format);

// "q4_k", "affine 4-bit, group 64".
std::string describe(const Encoding& encoding);

// The format of a stored tensor; nullptr if it is not one that rows are decoded from (MLX codes,
// integers, block formats that are not known).
const quant::FormatTraits* stored_format(const checkpoint::StoredTensor& tensor);
bool is_float(Format format);

// Throws kUnsupportedDtype if the rows of the source can be neither decoded as floats nor copied.
void check_source(const PlannedTensor& tensor);

}  // namespace mlxn::convert
