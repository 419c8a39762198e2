// SPDX-License-Identifier: Apache-2.0
// Prepared weights: sixteen rows side by side, so that one row is one lane of a 32-bit vector and a
// thread reads one stream of memory.
//
// A panel holds 16 rows, the last one repeated past the end of the weight. Along K it is cut into
// spans of 256 elements (the last may be shorter). A span is
//   scales   [groups][16]  formats with a scale array
//   biases   [groups][16]  affine with biases
//   side     [blocks][16]  the 1 or 2 bytes that a block has beside its 32-bit words: its f16 or
//                          E8M0 scale
//   (zeros up to a multiple of 64 bytes)
//   words    [blocks][words of a block][16] u32; on the CPU those that end a block of Q6_K, its
//            scales, come first: what is read first lies first, or the caches fetch ahead in vain
// and takes the bytes of the rows it stands for, but for the padding.
#pragma once

#include <cstddef>
#include <cstdint>

#include "quant/weight_view.h"

namespace mlxn::quant {

struct PanelLayout {
  static constexpr int kRows = 16;
  static constexpr int kSpanElements = 256;
  static constexpr int kQ6_KLeadWords = 4;
  static constexpr int kAlignment = 16;  // bytes: of the first panel, and so of every span

  int block_elements = 0;  // of one block; 32 for formats with a scale array
  int words = 0;           // 32-bit words per block
  int words_at = 0;        // byte offset of the words in a block of the file
  int lead_words = 0;      // last words of a block that come first in the panels of the CPU
  int side_size = 0;       // bytes beside the words: 0, 1 or 2
  int side_at = 0;
  int group_size = 0;  // elements under one scale of the array; 0: no scale array
  int scale_size = 0;
  bool has_biases = false;
  int64_t cols = 0;
  int64_t panels = 0;  // per expert
  int64_t panel_bytes = 0;
  int64_t total_bytes = 0;

  // Bytes before the words of a span of `elements`.
  int64_t head_bytes(int64_t elements) const;
  int64_t biases_at(int64_t elements) const { return elements / group_size * kRows * scale_size; }
  int64_t full_span_bytes() const;
};

// Throws kInvalidArgument for dense weights and for sizes beyond 63 bits.
PanelLayout panel_layout(const WeightView& view);
bool has_panels(Format format);

// As the CPU reads it: writes panel `index`, counted over all experts, to out + index *
// panel_bytes.
void pack_panel(const WeightView& view, const PanelLayout& layout, int64_t index, std::byte* out);

}  // namespace mlxn::quant
