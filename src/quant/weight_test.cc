// SPDX-License-Identifier: Apache-2.0
// check_weight, and rows of a weight through a view.
#include "mlxn/weight.h"

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "mlxn/error.h"
#include "quant/affine.h"
#include "quant/panels.h"
#include "quant/registry.h"
#include "quant/weight_view.h"

namespace mlxn {
namespace {

// A view of `byte_len` bytes at `offset` of an allocation of its own.
Buffer make_buffer(DType dtype, Shape shape, size_t byte_len, size_t offset = 0) {
  auto bytes = std::make_shared<std::vector<uint64_t>>((byte_len + offset) / 8 + 1);
  auto allocation = std::make_shared<Allocation>();
  allocation->data = reinterpret_cast<std::byte*>(bytes->data());
  allocation->byte_len = bytes->size() * 8;
  allocation->owner = bytes;
  return Buffer(allocation, offset, byte_len, dtype, std::move(shape));
}

Weight affine_weight(int64_t experts, int64_t rows, int64_t cols, int bits, int group_size,
                     DType scale_dtype) {
  Weight weight;
  weight.format = Format::kAffine;
  weight.shape = {experts, rows, cols};
  weight.bits = bits;
  weight.group_size = group_size;
  const int64_t words = cols * bits / 32;
  const int64_t groups = cols / group_size;
  const size_t scale_bytes = experts * rows * groups * size_of(scale_dtype);
  weight.data = make_buffer(u32, {experts, rows, words}, experts * rows * words * 4, 8);
  weight.scales = make_buffer(scale_dtype, {experts, rows, groups}, scale_bytes, 4);
  weight.biases = make_buffer(scale_dtype, {experts, rows, groups}, scale_bytes, 12);
  return weight;
}

Weight block_weight(Format format, int64_t rows, int64_t cols, size_t offset = 0) {
  Weight weight;
  weight.format = format;
  weight.shape = {rows, cols};
  const int64_t bytes = rows * quant::row_bytes(format, 0, cols);
  weight.data = make_buffer(u8, {bytes}, bytes, offset);
  return weight;
}

// The parameter that check_weight names, or "" if it accepts the weight.
std::string refused(const Weight& weight) {
  try {
    check_weight(weight, "w");
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kInvalidArgument);
    EXPECT_EQ(error.detail().where, "w");
    EXPECT_FALSE(error.detail().found.empty());
    EXPECT_FALSE(error.detail().required.empty());
    return error.detail().parameter;
  }
  return "";
}

TEST(CheckWeight, AcceptsEveryFormat) {
  EXPECT_EQ(refused(affine_weight(1, 3, 64, 4, 32, f16)), "");
  EXPECT_EQ(refused(affine_weight(2, 3, 128, 3, 128, f32)), "");
  EXPECT_EQ(refused(block_weight(Format::kQ4_0, 3, 64)), "");
  EXPECT_EQ(refused(block_weight(Format::kQ8_0, 3, 64, 6)), "");
  EXPECT_EQ(refused(block_weight(Format::kQ4_K, 1, 512)), "");
  EXPECT_EQ(refused(block_weight(Format::kQ6_K, 5, 256)), "");
  Weight no_biases = affine_weight(1, 3, 64, 8, 64, bf16);
  no_biases.biases = Buffer();
  EXPECT_EQ(refused(no_biases), "");
}

TEST(CheckWeight, NamesWhatIsWrong) {
  const auto with = [](const std::function<void(Weight&)>& change) {
    Weight weight = affine_weight(2, 3, 64, 4, 32, f16);
    change(weight);
    return refused(weight);
  };
  EXPECT_EQ(with([](Weight& w) { w.shape = {64}; }), "shape");
  EXPECT_EQ(with([](Weight& w) { w.shape = {2, 0, 64}; }), "shape");
  EXPECT_EQ(with([](Weight& w) { w.shape = {2, -3, 64}; }), "shape");
  EXPECT_EQ(with([](Weight& w) { w.shape = {1 << 30, int64_t{1} << 31, 64}; }), "shape");
  EXPECT_EQ(with([](Weight& w) { w.bits = 7; }), "bits");
  EXPECT_EQ(with([](Weight& w) { w.group_size = 16; }), "group_size");
  EXPECT_EQ(with([](Weight& w) { w.shape[2] = 48; }), "row length");
  EXPECT_EQ(with([](Weight& w) { w.shape[1] = 4; }), "data");
  EXPECT_EQ(with([](Weight& w) { w.data = Buffer(); }), "data");
  EXPECT_EQ(with([](Weight& w) { w.data = w.scales; }), "data");
  EXPECT_EQ(with([](Weight& w) { w.data = make_buffer(u32, {2, 3, 8}, 192, 2); }), "data");
  EXPECT_EQ(with([](Weight& w) { w.scales = Buffer(); }), "scales");
  EXPECT_EQ(with([](Weight& w) { w.scales = w.data; }), "scales");
  EXPECT_EQ(with([](Weight& w) { w.scales = make_buffer(f16, {11}, 22); }), "scales");
  EXPECT_EQ(with([](Weight& w) { w.scales = make_buffer(f16, {12}, 24, 1); }), "scales");
  EXPECT_EQ(with([](Weight& w) { w.biases = make_buffer(bf16, {12}, 24); }), "biases");
  EXPECT_EQ(with([](Weight& w) { w.biases = make_buffer(f16, {11}, 22); }), "biases");

  Weight blocks = block_weight(Format::kQ4_K, 2, 256);
  blocks.shape = {2, 128};
  EXPECT_EQ(refused(blocks), "row length");
  EXPECT_EQ(refused(block_weight(Format::kQ4_0, 2, 64, 1)), "data");
  Weight dense;
  dense.shape = {2, 3};
  dense.data = make_buffer(f16, {2, 3}, 12);
  EXPECT_EQ(refused(dense), "data");
  dense.format = Format::kF16;
  EXPECT_EQ(refused(dense), "");
}

TEST(CheckWeight, WhatPrepareMade) {
  Weight weight = affine_weight(2, 3, 64, 4, 32, f16);
  const int64_t bytes = quant::panel_layout(quant::view_of(weight)).total_bytes;
  const auto with = [&](DType dtype, int64_t byte_len, size_t offset) {
    weight.packed = make_buffer(dtype, {byte_len / static_cast<int64_t>(size_of(dtype))},
                                static_cast<size_t>(byte_len), offset);
    return refused(weight);
  };
  EXPECT_EQ(with(u8, bytes, 0), "");
  EXPECT_EQ(with(u8, bytes, 32), "");
  EXPECT_EQ(with(u8, bytes, 8), "packed");
  EXPECT_EQ(with(u8, bytes, 1), "packed");
  EXPECT_EQ(with(u32, bytes, 0), "packed");
  EXPECT_EQ(with(u8, bytes - 16, 0), "packed");
  EXPECT_EQ(with(u8, bytes + 16, 0), "packed");
  Weight dense{.format = Format::kF16, .shape = {2, 3}, .data = make_buffer(f16, {2, 3}, 12)};
  dense.packed = weight.packed;
  EXPECT_EQ(refused(dense), "packed");
}

TEST(WeightView, RowsOfAnExpertStack) {
  const int64_t experts = 3, rows = 5, cols = 128;
  for (const DType dtype : {f32, f16, bf16}) {
    for (const bool with_bias : {true, false}) {
      Weight weight = affine_weight(experts, rows, cols, 5, 64, dtype);
      std::vector<std::vector<float>> sources;
      const quant::WeightView before = quant::view_of(weight);
      for (int64_t row = 0; row < experts * rows; ++row) {
        std::vector<float> values(cols);
        for (int64_t i = 0; i < cols; ++i) {
          values[i] = static_cast<float>((row * 7 + i * 13) % 31) - 9.0f;
        }
        const int64_t e = row / rows, r = row % rows;
        quant::encode_row_affine(values.data(), cols, quant::AffineRecipe::kMetal,
                                 {const_cast<std::byte*>(before.row_data(e, r)),
                                  const_cast<std::byte*>(before.row_scales(e, r)),
                                  const_cast<std::byte*>(before.row_biases(e, r)), dtype, 5, 64});
        sources.push_back(std::move(values));
      }
      if (!with_bias) weight.biases = Buffer();
      check_weight(weight, "w");
      for (int64_t row = 0; row < experts * rows; ++row) {
        std::vector<float> out(cols), expected(cols);
        quant::decode_weight_row(weight, row, out.data());
        const int64_t bytes = cols * 5 / 8, scale_bytes = cols / 64 * size_of(dtype);
        quant::decode_row_affine(
            {weight.data.data() + row * bytes, weight.scales.data() + row * scale_bytes,
             with_bias ? weight.biases.data() + row * scale_bytes : nullptr, dtype, 5, 64},
            cols, expected.data());
        EXPECT_EQ(out, expected) << row;
        if (with_bias) {
          for (int64_t i = 0; i < cols; ++i) EXPECT_NEAR(out[i], sources[row][i], 0.6f);
        }
      }
    }
  }
}

TEST(WeightView, RowsOfBlocksAndPackedBytes) {
  Weight weight = block_weight(Format::kQ8_0, 4, 64, 2);
  const auto& traits = quant::traits_of(Format::kQ8_0);
  for (int64_t row = 0; row < 4; ++row) {
    const std::vector<float> values(64, static_cast<float>(row + 1));
    traits.encode_row(values.data(), 64, weight.data.data() + row * 68);
  }
  weight.packed = make_buffer(u8, {40}, 40);
  const quant::WeightView view = quant::view_of(weight);
  EXPECT_EQ(view.row_bytes, 68);
  EXPECT_EQ(view.expert_bytes, 272);
  EXPECT_EQ(view.packed, weight.packed.data());
  EXPECT_EQ(view.packed_bytes, 40u);
  EXPECT_EQ(stored_bytes(weight), 272u);
  for (int64_t row = 0; row < 4; ++row) {
    float out[64];
    quant::decode_row(view, row, out);
    for (const float value : out) EXPECT_NEAR(value, static_cast<float>(row + 1), 4e-3f);
  }
}

}  // namespace
}  // namespace mlxn
