// SPDX-License-Identifier: Apache-2.0
// Where codecs read kRows weight rows from: rows as the file has them, or prepared panels
// (quant/panels.h). Written over Lanes; included inside the same anonymous namespace.
//
// A codec names the bytes of its block:
//   kUnitElements   elements of one block
//   kUnitBytes      bytes of one block in the file
//   kWords, kWordsAt, kSideAt   32-bit words of a block, their first byte, and that of the 1 or 2
//                               bytes beside them
//   kLeadWords      if any: last words of a block that come first in a panel
// and reads a span of up to 256 elements through
//   words<n>(unit, word, out)   n words from `word` on of block `unit` of the span
//   side_f16(unit), side_u8(unit)
//   scale(group), bias(group), scale_u8(group)   of the scale array
#pragma once

using Int = Lanes::Int;
using Float = Lanes::Float;
constexpr int kRows = Lanes::kRows;
constexpr int kSpanBlocks = quant::PanelLayout::kSpanElements / kBlock;

// kRows scales that lie side by side.
inline Float load_scales(const std::byte* at, DType dtype) {
  if (dtype == DType::kF32) return Lanes::load(reinterpret_cast<const float*>(at));
  if (dtype == DType::kF16) return Lanes::load_f16(at);
  return Lanes::bits_to_float(Lanes::shift_left_32(Lanes::load_u16(at), 16));
}

// kRows rows of a weight as stored; past its end the last row repeats.
struct Rows {
  const std::byte* data[kRows];
  const std::byte* scales[kRows];
  const std::byte* biases[kRows];  // biases[0] null: zero
  DType scale_dtype;
  int group_size;
  int bits;
};

template <class Codec>
class RowSpan {
 public:
  RowSpan(const Rows& rows, int64_t first_block)
      : rows_(rows),
        unit_(first_block * kBlock / Codec::kUnitElements),
        group_(rows.group_size == 0 ? 0 : first_block * kBlock / rows.group_size) {}

  int group_size() const { return rows_.group_size; }
  template <int kN>
  void words(int unit, int word, Int* out) const {
    const int64_t at = (unit_ + unit) * Codec::kUnitBytes + Codec::kWordsAt + 4 * word;
    constexpr int kWhole = kN / 4 * 4;
#pragma GCC unroll 8
    for (int i = 0; i < kWhole; i += 4) Lanes::gather_16_bytes(rows_.data, at + 4 * i, out + i);
#pragma GCC unroll 4
    for (int i = kWhole; i < kN; ++i) out[i] = Lanes::gather_word(rows_.data, at + 4 * i);
  }
  Float side_f16(int unit) const {
    return Lanes::gather_f16(rows_.data, (unit_ + unit) * Codec::kUnitBytes + Codec::kSideAt);
  }
  Int side_u8(int unit) const {
    return bytes_at(rows_.data, (unit_ + unit) * Codec::kUnitBytes + Codec::kSideAt);
  }
  Float scale(int group) const { return scales_at(rows_.scales, group); }
  Float bias(int group) const {
    return rows_.biases[0] == nullptr ? Lanes::splat(0.0f) : scales_at(rows_.biases, group);
  }
  Int scale_u8(int group) const { return bytes_at(rows_.scales, group_ + group); }

 private:
  Float scales_at(const std::byte* const* rows, int group) const {
    alignas(64) float values[kRows];
    for (int r = 0; r < kRows; ++r) {
      values[r] = quant::load_scale(rows[r], rows_.scale_dtype, group_ + group);
    }
    return Lanes::load(values);
  }
  static Int bytes_at(const std::byte* const* rows, int64_t at) {
    alignas(64) int32_t values[kRows];
    for (int r = 0; r < kRows; ++r) values[r] = static_cast<int32_t>(rows[r][at]);
    return Lanes::load(values);
  }

  const Rows& rows_;
  int64_t unit_, group_;
};

// kRows lanes of one prepared panel, from lane `lane` on.
struct PanelLanes {
  const std::byte* panel;
  const quant::PanelLayout* layout;
  int64_t full_span_bytes;
  DType scale_dtype;
  int lane;
};

template <class Codec>
class PanelSpan {
 public:
  PanelSpan(const PanelLanes& lanes, int64_t first_block)
      : lanes_(lanes), head_(lanes.panel + first_block / kSpanBlocks * lanes.full_span_bytes) {
    const quant::PanelLayout& layout = *lanes.layout;
    const int64_t elements =
        std::min<int64_t>(quant::PanelLayout::kSpanElements, layout.cols - first_block * kBlock);
    words_ = head_ + layout.head_bytes(elements) + 4 * lanes.lane;
    if (layout.has_biases) biases_ = head_ + layout.biases_at(elements);
  }

  int group_size() const { return lanes_.layout->group_size; }
  template <int kN>
  void words(int unit, int word, Int* out) const {
    if constexpr (requires { Codec::kLeadWords; }) {
      constexpr int kFirstLead = Codec::kWords - Codec::kLeadWords;
      word += word < kFirstLead ? Codec::kLeadWords : -kFirstLead;
    }
    const std::byte* at = words_ + (unit * Codec::kWords + word) * kWordBytes;
#pragma GCC unroll 32
    for (int i = 0; i < kN; ++i) {
      out[i] = Lanes::load_once(reinterpret_cast<const int32_t*>(at + i * kWordBytes));
    }
  }
  Float side_f16(int unit) const {
    return Lanes::load_f16(head_ + (unit * kPanelRows + lanes_.lane) * 2);
  }
  Int side_u8(int unit) const { return Lanes::load_u8(head_ + unit * kPanelRows + lanes_.lane); }
  Float scale(int group) const { return scales_at(head_, group); }
  Float bias(int group) const {
    return biases_ == nullptr ? Lanes::splat(0.0f) : scales_at(biases_, group);
  }
  Int scale_u8(int group) const { return Lanes::load_u8(head_ + group * kPanelRows + lanes_.lane); }

 private:
  static constexpr int kPanelRows = quant::PanelLayout::kRows, kWordBytes = 4 * kPanelRows;

  Float scales_at(const std::byte* first, int group) const {
    const auto size = static_cast<int>(size_of(lanes_.scale_dtype));
    return load_scales(first + (group * kPanelRows + lanes_.lane) * size, lanes_.scale_dtype);
  }

  const PanelLanes& lanes_;
  const std::byte* head_;
  const std::byte* words_;
  const std::byte* biases_ = nullptr;
};
