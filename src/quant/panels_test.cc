// SPDX-License-Identifier: Apache-2.0
// Every byte of a weight is in its panels, where the layout says.
#include "quant/panels.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "mlxn/error.h"
#include "quant/registry.h"

namespace mlxn::quant {
namespace {

// A weight of random bytes with its view.
struct Sample {
  std::vector<std::byte> data, scales, biases;
  WeightView view;
};

std::vector<std::byte> random_bytes(int64_t count, uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<std::byte> bytes(static_cast<size_t>(count));
  for (std::byte& b : bytes) b = static_cast<std::byte>(random());
  return bytes;
}

Sample make_blocks(Format format, int64_t experts, int64_t rows, int64_t cols) {
  Sample s;
  WeightView& v = s.view;
  v.format = format;
  v.rows = rows;
  v.cols = cols;
  v.num_experts = experts;
  v.row_bytes = row_bytes(format, 0, cols);
  v.expert_bytes = rows * v.row_bytes;
  s.data = random_bytes(experts * v.expert_bytes, 1);
  v.data = s.data.data();
  return s;
}

Sample make_affine(int bits, int group_size, DType scale_dtype, bool biases, int64_t rows,
                   int64_t cols) {
  Sample s;
  WeightView& v = s.view;
  v.format = Format::kAffine;
  v.bits = bits;
  v.group_size = group_size;
  v.scale_dtype = scale_dtype;
  v.rows = rows;
  v.cols = cols;
  v.row_bytes = row_bytes(v.format, bits, cols);
  v.expert_bytes = rows * v.row_bytes;
  v.row_scale_bytes = cols / group_size * static_cast<int64_t>(size_of(scale_dtype));
  v.expert_scale_bytes = rows * v.row_scale_bytes;
  s.data = random_bytes(v.expert_bytes, 1);
  s.scales = random_bytes(v.expert_scale_bytes, 2);
  v.data = s.data.data();
  v.scales = s.scales.data();
  if (biases) {
    s.biases = random_bytes(v.expert_scale_bytes, 3);
    v.biases = s.biases.data();
  }
  return s;
}

// Puts panels back into rows, by the text of panels.h and not by the packing code.
class Unpacker {
 public:
  explicit Unpacker(const WeightView& view) : view_(view), layout_(panel_layout(view)) {
    packed_.assign(static_cast<size_t>(layout_.total_bytes), std::byte{0xee});
    for (int64_t i = 0; i < layout_.panels * view.num_experts; ++i) {
      pack_panel(view, layout_, i, packed_.data());
    }
  }

  const PanelLayout& layout() const { return layout_; }

  void expect_row(int64_t expert, int64_t row) const {
    const int64_t panel = expert * layout_.panels + row / 16, lane = row % 16;
    const std::byte* at = packed_.data() + panel * layout_.panel_bytes;
    const int64_t block_bytes = layout_.words * 4 + layout_.side_size;
    for (int64_t k = 0; k < view_.cols; k += 256) {
      const int64_t elements = std::min<int64_t>(256, view_.cols - k);
      const int64_t blocks = elements / layout_.block_elements;
      const std::byte* head = at;
      if (layout_.group_size > 0) {
        const int64_t groups = elements / layout_.group_size;
        const int64_t first = k / layout_.group_size * layout_.scale_size;
        expect_same(head, lane, groups, layout_.scale_size, view_.row_scales(expert, row) + first,
                    layout_.scale_size);
        head += groups * 16 * layout_.scale_size;
        if (layout_.has_biases) {
          expect_same(head, lane, groups, layout_.scale_size, view_.row_biases(expert, row) + first,
                      layout_.scale_size);
          head += groups * 16 * layout_.scale_size;
        }
      }
      const std::byte* block =
          view_.row_data(expert, row) + k / layout_.block_elements * block_bytes;
      expect_same(head, lane, blocks, layout_.side_size, block + layout_.side_at, block_bytes);
      head += blocks * 16 * layout_.side_size;
      for (; (head - at) % 64 != 0; ++head) EXPECT_EQ(*head, std::byte{0});
      for (int64_t b = 0; b < blocks; ++b) {
        const std::byte* words = block + b * block_bytes + layout_.words_at;
        const int64_t lead = view_.format == Format::kQ6_K ? 4 : 0, rest = layout_.words - lead;
        expect_same(head, lane, lead, 4, words + rest * 4, 4);
        expect_same(head + 64 * lead, lane, rest, 4, words, 4);
        head += int64_t{64} * layout_.words;
      }
      at = head;
    }
    EXPECT_EQ(at, packed_.data() + (panel + 1) * layout_.panel_bytes);
  }

 private:
  static void expect_same(const std::byte* packed, int64_t lane, int64_t count, int64_t size,
                          const std::byte* row, int64_t stride) {
    for (int64_t i = 0; i < count && size > 0; ++i) {
      ASSERT_EQ(
          std::memcmp(packed + (i * 16 + lane) * size, row + i * stride, static_cast<size_t>(size)),
          0)
          << i;
    }
  }

  const WeightView& view_;
  PanelLayout layout_;
  std::vector<std::byte> packed_;
};

TEST(Panels, BlockFormats) {
  for (const FormatTraits& traits : formats()) {
    if (traits.block_elements < 32) continue;
    SCOPED_TRACE(traits.name);
    for (const int64_t rows : {1, 15, 16, 17, 33}) {
      for (const int64_t blocks : {1, 3, 9}) {
        const Sample s = make_blocks(traits.format, 2, rows, blocks * traits.block_elements);
        const Unpacker unpacker(s.view);
        for (int64_t e = 0; e < 2; ++e) {
          for (int64_t row = 0; row < rows; ++row) unpacker.expect_row(e, row);
        }
        // Beside the bytes of the rows it stands for: at most 63 of padding a span.
        const int64_t panels = 2 * unpacker.layout().panels;
        const int64_t spans = (s.view.cols + 255) / 256;
        EXPECT_GE(unpacker.layout().total_bytes, panels * 16 * s.view.row_bytes);
        EXPECT_LE(unpacker.layout().total_bytes, panels * (16 * s.view.row_bytes + spans * 63));
      }
    }
  }
}

TEST(Panels, Affine) {
  for (const int bits : {2, 3, 4, 5, 6, 8}) {
    for (const int group_size : {32, 64, 128}) {
      for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16}) {
        for (const bool biases : {true, false}) {
          const Sample s = make_affine(bits, group_size, dtype, biases, 19, 128 * 5);
          const Unpacker unpacker(s.view);
          for (int64_t row = 0; row < 19; ++row) unpacker.expect_row(0, row);
        }
      }
    }
  }
}

TEST(Panels, RefusesDenseWeightsAndHugeOnes) {
  WeightView view;
  view.format = Format::kF16;
  view.rows = view.cols = 32;
  EXPECT_THROW(panel_layout(view), Error);
  view.format = Format::kQ8_0;
  view.rows = int64_t{1} << 40;
  view.cols = int64_t{1} << 30;
  EXPECT_THROW(panel_layout(view), Error);
}

}  // namespace
}  // namespace mlxn::quant
